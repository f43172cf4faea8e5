"""The part of a scan that matters, and the way back into the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.config import Plane
from condyle.core import Grid, LabelMap
from condyle.errors import GeometryError, LabelError
from condyle.prepare.boxes import box_of
from condyle.prepare.slices import axis_of

__all__ = [
    "Box",
    "below_slice",
    "bounding_box",
    "labelled_slices",
    "lengthwise",
    "near_slice",
    "restore",
    "slab",
]

Box = tuple[tuple[int, int, int], tuple[int, int, int]]
"""First voxel, and the one after the last, along i, j and k."""


def bounding_box(mask: NDArray[Any], margin_mm: float, grid: Grid) -> Box:
    """The smallest box about what is not 0, widened by at least a margin in mm, within the scan.

    Raises
    ------
    LabelError
        If the mask is empty.
    GeometryError
        If the mask does not lie on the grid.

    Examples
    --------
    >>> mask = np.zeros((9, 9, 9), bool)
    >>> mask[4, 4, 4] = True
    >>> bounding_box(mask, 3.0, Grid.regular((9, 9, 9), (1, 2, 4)))
    ((1, 2, 3), (8, 7, 6))
    """
    if mask.shape != grid.shape:
        raise GeometryError(f"a mask of {mask.shape} does not lie on a grid of {grid.shape}")
    box = box_of(mask)
    if box is None:
        raise LabelError("the mask is empty: it has no bounding box")
    start, stop = [], []
    for side, mm, length in zip(box, grid.spacing, grid.shape, strict=True):
        margin = int(np.ceil(margin_mm / mm - 1e-6))
        start.append(max(side.start - margin, 0))
        stop.append(min(side.stop + margin, length))
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def labelled_slices(labels: LabelMap, plane: Plane = "axial", margin: int = 0) -> Box:
    """The box of whole slices, in RAS axes, from the first that carries a label to the last.

    It is what training looks at: from the waist down, where only the legs are labelled. The scan
    is cut by ``volume.reoriented("RAS").cropped(*box)``.

    Parameters
    ----------
    margin : slices more at either end, as far as there are any.

    Raises
    ------
    LabelError
        If no slice carries a label.
    """
    axis = axis_of(plane)
    ras = labels.within(labels.known()).reoriented("RAS")
    first, last = bounding_box(ras.array, 0.0, ras.grid)
    start, stop = [0, 0, 0], list(ras.grid.shape)
    start[axis] = max(first[axis] - margin, 0)
    stop[axis] = min(last[axis] + margin, stop[axis])
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def slab(grid: Grid, first: int = 0, last: int | None = None) -> Box:
    """The box of a scan's slices from the first to the last, both in it, between feet and head.

    Parameters
    ----------
    first, last : slices of the scan's own array, along the axis that lies nearest to the body's
        length, as viewers count them; those that the scan does not have are ignored.

    Raises
    ------
    GeometryError
        If the scan has none of these slices.

    Examples
    --------
    >>> slab(Grid.regular((4, 5, 60)), last=19)
    ((0, 0, 0), (4, 5, 20))
    """
    axis = lengthwise(grid)
    count = grid.shape[axis]
    low, high = max(first, 0), count if last is None else min(last + 1, count)
    if low >= high:
        raise GeometryError(
            f"the area of slices {first} to {'the end' if last is None else last} is empty: the "
            f"scan has slices 0 to {count - 1}"
        )
    start, stop = [0, 0, 0], list(grid.shape)
    start[axis], stop[axis] = low, high
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def near_slice(grid: Grid, index: int, reach_mm: float) -> Box:
    """The box of all slices within a distance in mm of one, which must be in the scan."""
    axis = lengthwise(grid)
    if not 0 <= index < grid.shape[axis]:
        raise GeometryError(f"there is no slice {index}: the scan has 0 to {grid.shape[axis] - 1}")
    reach = int(np.ceil(reach_mm / grid.spacing[axis] - 1e-6))
    return slab(grid, index - reach, index + reach)


STEEP = 0.5
"""Cosine of the angle, 60 degrees, by which an axis may lean from the line of feet and head."""


def below_slice(grid: Grid, index: int) -> Box:
    """The box of one slice, which must be in the scan, and all those from it to the feet.

    Raises
    ------
    GeometryError
        If the scan has no such slice, or none of its axes runs from feet to head.

    Examples
    --------
    >>> below_slice(Grid.regular((4, 5, 60)), 19)      # its slices are counted from the feet
    ((0, 0, 0), (4, 5, 20))
    """
    axis = lengthwise(grid)
    upwards = float(grid.direction[2, axis])
    if abs(upwards) < STEEP:
        raise GeometryError(
            "no axis of the scan runs from feet to head: the nearest leans by "
            f"{np.degrees(np.arccos(abs(upwards))):.0f} degrees, and up to 60 it is known which "
            "slices lie below another; give `slices`"
        )
    if not 0 <= index < grid.shape[axis]:
        raise GeometryError(f"there is no slice {index}: the scan has 0 to {grid.shape[axis] - 1}")
    return slab(grid, last=index) if upwards > 0 else slab(grid, first=index)


def lengthwise(grid: Grid) -> int:
    """The array axis that lies nearest to the line from feet to head."""
    return next(axis for axis, letter in enumerate(grid.orientation) if letter in "IS")


def restore(array: NDArray[Any], box: Box, shape: tuple[int, int, int]) -> NDArray[Any]:
    """The array put back into a whole of `shape`, 0 outside its box.

    Raises
    ------
    GeometryError
        If the array does not fill the box, or the box does not lie in the whole.
    """
    start, stop = box
    sides = tuple(b - a for a, b in zip(start, stop, strict=True))
    if (
        array.shape != sides
        or min(start) < 0
        or any(b > n for b, n in zip(stop, shape, strict=True))
    ):
        raise GeometryError(f"an array of {array.shape} does not fit the box {box} in {shape}")
    whole = np.zeros(shape, array.dtype)
    whole[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = array
    return whole
