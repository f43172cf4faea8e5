"""A data set that trains in seconds: five small scans of a bright ball in noise."""

from pathlib import Path

import numpy as np

from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.io import write_nnunet


def balls(parent: Path, structure: str = "ball") -> Path:
    """The folder `balls` in `parent`: nnU-Net's layout, MR, one structure of this name."""
    scheme = LabelScheme.of({structure: 1})
    pairs = ((f"ball_{n}", *_scan(n, scheme)) for n in range(5))
    return write_nnunet(parent / "balls", "balls", pairs, scheme, ("MRI",))


def _scan(seed: int, scheme: LabelScheme):
    rng = np.random.default_rng(seed)
    grid = Grid.regular((24, 24, 16), (1.0, 1.0, 1.0))
    place = np.stack(np.indices(grid.shape), axis=-1) - rng.uniform(8, 14, 3)
    labels = (np.linalg.norm(place, axis=-1) < 6).astype(np.uint8)
    image = (100 * labels + 15 * rng.normal(size=grid.shape)).astype(np.float32)
    return (Volume(image, grid),), LabelMap(labels, grid, scheme)
