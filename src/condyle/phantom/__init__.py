"""Synthetic CT legs with exact truth, for the demo, the tests and the documentation.

Bones, muscles, vessels, fat and skin are implicit shapes in millimetres. The truth is the sign of
the bones' distances at the voxels' centres; the picture is the same shapes sampled more finely,
blurred as by a scanner, and noisy. Patients differ in size, side, pose, fat, density of bone and
contrast in the vessels; scans in spacing, orientation and obliqueness.

The kneecap, the sacrum and the lowest vertebra are in the picture and belong to no label, as in
real data: a network has to learn that bone is not always one of its structures. Of the other leg
only flesh shows, at the edge of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from condyle.core import LOWER_LIMB, LabelMap, Volume
from condyle.phantom.body import Body
from condyle.phantom.scanner import Extent, planned
from condyle.phantom.scene import Scene

__all__ = ["Extent", "cohort", "knee", "leg", "write_cohort"]


def leg(
    seed: int, *, spacing: tuple[float, float, float] | None = None, extent: Extent = "leg"
) -> tuple[Volume, LabelMap]:
    """One leg in HU (int16) and its true labels, on one grid.

    Parameters
    ----------
    seed : the patient, and the scan of the patient; the same seed gives the same numbers.
    spacing : mm along the axes nearest to right, front and head; drawn where left out.
    extent : 'leg' (pelvis to calf), 'knee' or 'hip', of the same patient.

    Examples
    --------
    >>> volume, truth = leg(3, spacing=(5, 5, 10))
    >>> truth.present(), volume.grid.same_as(truth.grid)
    ((1, 2, 3, 4), True)
    """
    body = Body.drawn(np.random.default_rng((seed, 0)))
    rng = np.random.default_rng((seed, 1))
    scan = planned(rng, body, extent, spacing)
    scene = Scene(body, scan.grid)
    hu = scan.taken(scene.picture(), scene.factors, rng)
    volume = Volume(hu, scan.grid, "CT").reoriented(scan.orientation)
    truth = LabelMap(scene.truth, scan.grid, LOWER_LIMB).reoriented(scan.orientation)
    return (
        volume.with_array(np.ascontiguousarray(volume.array)),
        truth.with_array(np.ascontiguousarray(truth.array)),
    )


def knee(seed: int) -> tuple[Volume, LabelMap]:
    """One knee in HU (int16) with millimetre voxels, and its true labels: no pelvis in view."""
    return leg(seed, extent="knee")


def cohort(n: int, seed: int = 0, **kw: Any) -> Iterator[tuple[str, Volume, LabelMap]]:
    """Name (`leg_000`, ...), scan and truth of n patients; `kw` goes to `leg`."""
    for number in range(n):
        yield (f"leg_{number:03d}", *leg(1000 * seed + number, **kw))


def write_cohort(out: Path, n: int, seed: int = 0) -> Path:
    """Write n patients as an nnU-Net raw folder; gives back the folder's path."""
    from condyle.io.datasets.layouts import write_nnunet

    pairs = ((name, (volume,), truth) for name, volume, truth in cohort(n, seed))
    return write_nnunet(out, "phantoms", pairs, LOWER_LIMB, ("CT",))
