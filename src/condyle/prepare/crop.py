"""The part of a scan that matters, and the way back into the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.config import Plane
from condyle.core import Grid, LabelMap
from condyle.errors import LabelError
from condyle.prepare.slices import AXIS

__all__ = ["Box", "bounding_box", "labelled_slices", "restore"]

Box = tuple[tuple[int, int, int], tuple[int, int, int]]
"""First voxel, and the one after the last, along i, j and k."""


def bounding_box(mask: NDArray[Any], grid: Grid, margin_mm: float = 0.0) -> Box:
    """The smallest box about what is not 0, widened by a margin in mm, within the scan."""
    if not mask.any():
        raise LabelError("there is nothing to put a box around: the mask is empty")
    start, stop = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        margin = int(np.ceil(margin_mm / grid.spacing[axis]))
        start.append(max(int(filled[0]) - margin, 0))
        stop.append(min(int(filled[-1]) + 1 + margin, grid.shape[axis]))
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def labelled_slices(labels: LabelMap, plane: Plane = "axial", margin: int = 0) -> Box:
    """The box of whole slices (RAS axes) from the first to the last that carries a label."""
    ras = labels.reoriented("RAS")
    tight = bounding_box(ras.array, ras.grid)
    start, stop = [0, 0, 0], list(ras.grid.shape)
    axis = AXIS[plane]
    start[axis] = max(tight[0][axis] - margin, 0)
    stop[axis] = min(tight[1][axis] + margin, stop[axis])
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def restore(array: NDArray[Any], box: Box, shape: tuple[int, int, int]) -> NDArray[Any]:
    """The array put back into a whole of `shape`, 0 outside its box."""
    whole = np.zeros(shape, array.dtype)
    whole[tuple(slice(a, b) for a, b in zip(*box, strict=True))] = array
    return whole
