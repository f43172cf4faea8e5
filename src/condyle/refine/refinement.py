"""Which steps clean a label map, and the label map cleaned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from condyle.config import Plane
from condyle.core import Grid, LabelMap
from condyle.errors import ConfigError, UnknownName
from condyle.refine.components import drop_small, keep_largest
from condyle.refine.holes import fill_holes
from condyle.refine.slicewise import clean_slices
from condyle.refine.smooth import TRUNCATE, smoothed

__all__ = ["Refinement", "refine"]

ACROSS = {"sagittal": "LR", "coronal": "PA", "axial": "IS"}
"""The ends of the body between which the slices of a plane lie one behind the other."""


@dataclass(frozen=True)
class Refinement:
    """The steps that clean each structure, in the order in which they are done; none by default.

    Parameters
    ----------
    slice_ratio : slice by slice, fill holes and drop parts of fewer pixels than this part of the
        structure's in that slice (0.01 in the lower-limb tool); 0: leave slices alone.
    slice_plane : axial, sagittal or coronal: the plane of those slices.
    smooth_mm : round the structure by a Gaussian of this standard deviation in mm; 0: do not.
    min_mm3 : drop connected parts of less than this volume in mm³; 0: keep all.
    keep_largest : keep only so many connected parts, the largest; 0: keep all.
    fill_holes : fill what the structure encloses in 3D.

    Raises
    ------
    ConfigError
        If a number is negative, or the ratio is not below 1.

    Examples
    --------
    >>> Refinement.from_dict({"keep_largest": 1}).keep_largest
    1
    """

    slice_ratio: float = 0.0
    slice_plane: Plane = "axial"
    smooth_mm: float = 0.0
    min_mm3: float = 0.0
    keep_largest: int = 0
    fill_holes: bool = False

    def __post_init__(self) -> None:
        for name in ("slice_ratio", "smooth_mm", "min_mm3", "keep_largest"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name} must be 0 (leave out) or above, got {value}")
        if self.slice_ratio >= 1:
            raise ConfigError(
                f"slice_ratio is a part of the structure's pixels, below 1, got {self.slice_ratio}"
            )
        if self.slice_plane not in ACROSS:
            raise UnknownName("plane", self.slice_plane, get_args(Plane))

    def to_dict(self) -> dict[str, Any]:
        """Name -> setting, as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """The refinement of `to_dict`; `UnknownName` for a step that there is not."""
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise UnknownName("refinement step", name, known)
        return cls(**settings)


def refine(labels: LabelMap, steps: Refinement) -> LabelMap:
    """A cleaned label map on the same grid: each structure for itself, by the given steps.

    What a structure gains (filled holes, rounding) comes from background only: from another
    structure no voxel is ever taken, but a voxel that another lost may be filled. Where two
    gain the same voxel, the first in the scheme has it. Absent structures stay absent; numbers
    that the scheme does not know stay as they are.
    """
    before = labels.array
    boxes = find_objects(before)
    after = before.copy()
    gains: list[tuple[int, tuple[slice, ...], NDArray[np.bool_]]] = []
    for number in labels.scheme.ids:
        tight = boxes[number - 1] if number <= len(boxes) else None
        if tight is None:
            continue
        box = _grown(tight, before.shape, steps.smooth_mm, labels.grid)
        mask = before[box] == number
        wanted = _refined(mask, steps, labels.grid)
        after[box][mask & ~wanted] = 0
        gains.append((number, box, wanted & ~mask))
    for number, box, gained in gains:
        after[box][gained & (after[box] == 0)] = number
    return labels.with_array(after)


def _refined(mask: NDArray[np.bool_], steps: Refinement, grid: Grid) -> NDArray[np.bool_]:
    """One structure after all steps."""
    if steps.slice_ratio:
        mask = clean_slices(mask, _axis_across(steps.slice_plane, grid), steps.slice_ratio)
    if steps.smooth_mm:
        mask = smoothed(mask, steps.smooth_mm, grid.spacing)
    if steps.min_mm3:
        mask = drop_small(mask, steps.min_mm3, grid.voxel_volume)
    if steps.keep_largest:
        mask = keep_largest(mask, steps.keep_largest)
    if steps.fill_holes:
        mask = fill_holes(mask)
    return mask


def _axis_across(plane: Plane, grid: Grid) -> int:
    """The array axis along which the slices of a plane lie one behind the other."""
    return next(a for a, letter in enumerate(grid.orientation) if letter in ACROSS[plane])


def _grown(
    box: tuple[slice, ...], shape: tuple[int, ...], smooth_mm: float, grid: Grid
) -> tuple[slice, ...]:
    """A box with room for smoothing on all sides, within the array."""
    room = np.ceil(TRUNCATE * smooth_mm / np.array(grid.spacing)).astype(int) + 1
    return tuple(
        slice(max(0, side.start - r), min(n, side.stop + r))
        for side, r, n in zip(box, room.tolist(), shape, strict=True)
    )
