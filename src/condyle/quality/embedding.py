"""How sure a segmenter is of a scan, and how far the scan is from those that it was trained on.

Each scan becomes one point: the encoder's deepest features, averaged over places and over slices or
windows. Distance is that to the nearest training scans, after each feature is divided by its
spread over the training set. Pooled features with nearest neighbours found out-of-distribution CT
better than Mahalanobis distances (Woodland et al., Dimensionality reduction and nearest neighbors
for improving out-of-distribution detection in medical image segmentation, MELBA 2:2006, 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from condyle.core import Volume
from condyle.errors import DatasetError
from condyle.networks import SegmentationNetwork
from condyle.networks.device import moved, pick_device
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.prepare.slices import AXIS

__all__ = ["Embedding", "TrainingEmbeddings", "embed"]

SLICES = 24
"""Slices of a scan that are embedded, evenly spread."""
TOGETHER = 8
"""Slices that go through the encoder at once."""
WINDOWS = 8
"""Windows of a scan that are embedded, evenly spread."""
NEIGHBOURS = 3

Points = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Embedding:
    """What a network gives for some slices or windows of a scan.

    Parameters
    ----------
    point : (features,), the deepest features of the encoder, averaged.
    confidence : structure -> the Dice that the network itself would expect of what it found, 0 to
        1: that of the voxels it is likeliest at with its probabilities; 0 where it found none.
    """

    point: Points
    confidence: dict[str, float]


def embed(segmenter: Segmenter, channels: tuple[Volume, ...], device: str = "auto") -> Embedding:
    """A scan as one point, and how sure the network is of each structure in it.

    Parameters
    ----------
    segmenter : whose network embeds it.
    channels : the scan's channels, all on one grid.
    device : auto, cpu, cuda or mps.

    Raises
    ------
    ConfigError
        If the segmenter is an imported model of nnU-Net's.
    """
    by_recipe = segmenter.by_recipe
    image = by_recipe.recipe.apply(channels).array
    where = pick_device(device)
    network = moved(cast(SegmentationNetwork, segmenter.network), where).eval()
    together = TOGETHER if network.spatial == 2 else 1
    parts = _parts(by_recipe, image)
    means: list[torch.Tensor] = []
    shared = torch.zeros(len(segmenter.scheme) + 1)
    whole = torch.zeros(len(segmenter.scheme) + 1)

    def keep(_: torch.nn.Module, given: Any, levels: list[torch.Tensor]) -> None:
        means.append(levels[-1].float().flatten(2).mean(dim=2).cpu())

    hook = network.encoder.register_forward_hook(keep)
    try:
        with torch.inference_mode():
            for start in range(0, len(parts), together):
                batch = torch.from_numpy(np.stack(parts[start : start + together])).to(where)
                likely = network(batch).float().softmax(dim=1).transpose(0, 1).flatten(1)
                found = likely.argmax(dim=0)
                for number in range(len(shared)):
                    mask = found == number
                    shared[number] += likely[number][mask].sum().cpu()
                    whole[number] += (likely[number].sum() + mask.sum()).cpu()
    finally:
        hook.remove()
    confidence = (2 * shared / whole.clamp(min=1e-6)).clamp(max=1).tolist()
    names = enumerate(segmenter.scheme.names, start=1)
    point = torch.cat(means).mean(dim=0).numpy()
    return Embedding(point, {name: float(confidence[number]) for number, name in names})


def _parts(by_recipe: RecipePreprocessing, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Slices (C, height, width), or windows (C, i, j, k), spread evenly over a prepared scan."""
    if by_recipe.spatial == 2:
        plane = by_recipe.plane
        axis = AXIS["axial" if plane == "all" else plane]
        stack = np.moveaxis(image, axis + 1, 0)
        return [stack[n] for n in _spread(len(stack), SLICES)]
    shape = image.shape[1:]
    size = [min(w, n) for w, n in zip(by_recipe.window or shape, shape, strict=True)]
    first = [
        np.unique(np.linspace(0, n - s, -(-n // s)).round().astype(int))
        for n, s in zip(shape, size, strict=True)
    ]
    places = list(product(*first))
    return [
        image[(slice(None), *(slice(p, p + s) for p, s in zip(places[n], size, strict=True)))]
        for n in _spread(len(places), WINDOWS)
    ]


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 0 to count, evenly spread."""
    if count <= most:
        return list(range(count))
    return [int(n) for n in (np.arange(most) + 0.5) * count / most]


@dataclass(frozen=True, eq=False)
class TrainingEmbeddings:
    """The training scans as points, and how far one of them usually lies from the others.

    Parameters
    ----------
    points : (scans, features).
    usual : the median distance of a training scan from its nearest neighbours in the set.
    farthest : the largest such distance, in units of `usual`.
    """

    points: Points
    usual: float
    farthest: float

    @classmethod
    def of(cls, points: Points) -> Self:
        """The embeddings (scans, features) of a training set.

        Raises
        ------
        DatasetError
            If there are fewer than two scans.
        """
        points = np.asarray(points, np.float32)
        if len(points) < 2:
            raise DatasetError("the distance to the training set needs two training scans or more")
        scaled = points / _spread_of(points)
        apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        own = np.sort(apart, axis=1)[:, : min(NEIGHBOURS, len(points) - 1)].mean(axis=1)
        usual = float(max(np.median(own), 1e-9))
        return cls(points, usual, float(own.max()) / usual)

    def distance(self, point: Points) -> float:
        """Mean distance of a scan to its nearest training scans; 1 is usual among these."""
        spread = _spread_of(self.points)
        apart = np.sort(np.linalg.norm((self.points - point) / spread, axis=1))
        return float(apart[: min(NEIGHBOURS, len(apart) - 1)].mean() / self.usual)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"points": [[float(f"{x:.4g}") for x in point] for point in self.points]}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """The embeddings that `to_dict` gave."""
        return cls.of(np.asarray(found["points"], np.float32))


def _spread_of(points: Points) -> Points:
    """The standard deviation of each feature; 1 where a feature does not vary."""
    spread = points.std(axis=0)
    return np.where(spread > 1e-6, spread, 1).astype(np.float32)
