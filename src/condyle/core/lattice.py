"""Label maps put on a scan's grid where their voxels are voxels of the scan, without interpolation.

Programs save the axes of an array in other orders, cut a segmentation to its extent, leave out
empty slices or pad. Each voxel then still has its one place in the scan's lattice: its grid,
carried on in all directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from condyle.core.grid import TOLERANCE_MM, Grid, Turn
from condyle.core.volume import OnGrid
from condyle.errors import GridMismatch, OutsideGrid

__all__ = ["SLICER", "Place", "covering", "on_grid", "place_of", "together"]

T = TypeVar("T", bound=OnGrid)

SLICER = (
    "export the labels on the scan's own grid (3D Slicer: Segmentations, Export/import models and "
    "labelmaps, with the scan as reference volume)"
)
FAR = 8
"""A grid of two label maps has at most so many times the voxels of both: more is a wrong origin."""


@dataclass(frozen=True)
class Place:
    """Where an array lies in another grid's lattice: how it is turned, then its first voxel."""

    turn: Turn
    start: tuple[int, int, int]
    words: str
    """How the two grids differ, for a sentence."""

    def box(self, shape: tuple[int, ...]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
        """First and one past the last voxel of an array of this shape, in the other grid."""
        first = np.array(self.start)
        return first, first + np.array([shape[axis] for axis in self.turn.order])


def place_of(own: Grid, other: Grid, tolerance_mm: float = TOLERANCE_MM) -> Place | None:
    """Where a grid's voxels lie among those of another; None if they lie between these.

    Parameters
    ----------
    tolerance_mm : how far a voxel may lie from its place.

    Examples
    --------
    >>> scan = Grid.regular((10, 10, 5), (1, 1, 3))
    >>> place_of(scan.cropped((2, 3, 1), (8, 7, 4)), scan).start
    (2, 3, 1)
    >>> place_of(Grid.regular((10, 10, 5), (1, 1, 3), origin=(0.5, 0, 0)), scan) is None
    True
    """
    turn = _turn(own, other) if own.unit == other.unit else None
    if turn is None:
        return None
    turned = own.turned(turn)
    first = np.rint(other.world_to_index(turned.origin)).astype(int)
    if not other.cropped(first, first + turned.shape).same_as(turned, tolerance_mm):
        return None
    words: list[str] = []
    if turn != Turn((0, 1, 2), (False, False, False)):
        words.append(f"its axes run {own.orientation}, not {other.orientation}")
    if turned.shape != other.shape or first.any():
        sides = ["x".join(map(str, grid.shape)) for grid in (turned, other)]
        words.append(f"it covers {sides[0]} voxels, the scan {sides[1]}")
    return Place(turn, (int(first[0]), int(first[1]), int(first[2])), ", ".join(words))


def _turn(own: Grid, other: Grid) -> Turn | None:
    """The turn after which an array's axes run along those of another; None if none does."""
    steps = np.linalg.solve(other.affine[:3, :3], own.affine[:3, :3])
    whole = np.rint(steps).astype(int)
    order, flip = [-1, -1, -1], [False, False, False]
    for axis in sorted(range(3), key=lambda a: own.shape[a] == 1):
        along = np.flatnonzero(whole[:, axis])
        if own.shape[axis] == 1:  # one slice, which may have any thickness
            free = [a for a in range(3) if order[a] < 0]
            to = max(free, key=lambda a: abs(steps[a, axis]))
        elif along.size != 1 or abs(whole[along[0], axis]) != 1 or order[along[0]] >= 0:
            return None
        else:
            to = int(along[0])
        order[to], flip[to] = axis, bool(steps[to, axis] < 0)
    return Turn((order[0], order[1], order[2]), (flip[0], flip[1], flip[2]))


def on_grid(thing: T, grid: Grid, what: str, tolerance_mm: float = TOLERANCE_MM) -> T:
    """A label map, or a mask, on a scan's grid: axes turned, cropped, padded by 0.

    Raises
    ------
    OutsideGrid
        If voxels that are not 0 lie outside the grid: they would be lost.
    GridMismatch
        If its voxels are none of the grid's.

    Examples
    --------
    >>> scan = Grid.regular((4, 3, 2))
    >>> cut = OnGrid(np.ones((1, 2, 1)), scan.cropped((1, 1, 0), (2, 3, 1)))
    >>> found = on_grid(cut, scan, "the mask")
    >>> found.array.shape, np.argwhere(found.array).tolist()
    ((4, 3, 2), [[1, 1, 0], [1, 2, 0]])
    """
    if thing.grid.same_as(grid, tolerance_mm):
        return thing if thing.grid.same_as(grid) else replace(thing, grid=grid)
    place = _required(thing.grid, grid, what, tolerance_mm)
    turned = place.turn.apply(thing.array)
    low, high = place.box(thing.grid.shape)
    inside_low, inside_high = np.maximum(low, 0), np.minimum(high, grid.shape)
    array = np.zeros(grid.shape, thing.array.dtype, order="F")
    if (inside_low < inside_high).all():
        source = tuple(map(slice, inside_low - low, inside_high - low))
        array[tuple(map(slice, inside_low, inside_high))] = turned[source]
    lost = np.count_nonzero(turned) - np.count_nonzero(array)
    if lost:
        raise OutsideGrid(
            f"{what}: {lost} labelled voxels lie outside the scan ({place.words}); crop the "
            f"labels to the scan, or {SLICER}"
        )
    return replace(thing, array=array, grid=grid)


def together(first: T, second: T, what: str) -> tuple[T, T]:
    """Two label maps of one scan on one grid: the first's, padded where the second goes beyond.

    Raises
    ------
    GridMismatch
        If the voxels of the one are none of the other's, or lie far from them.
    """
    if first.grid.same_as(second.grid):
        return first, second
    place = _required(second.grid, first.grid, what, TOLERANCE_MM)
    turned = replace(second, array=place.turn.apply(second.array),
                     grid=second.grid.turned(place.turn))  # fmt: skip
    low, high = np.zeros(3, int), np.array(first.grid.shape)
    if turned.array.any():
        start, stop = _extent(turned.array)
        low, high = np.minimum(low, start + place.start), np.maximum(high, stop + place.start)
    if math.prod((high - low).tolist()) > FAR * (first.array.size + second.array.size):
        raise GridMismatch(f"{what}: their labels lie far apart ({place.words}); {SLICER}")
    grid = first.grid
    if low.any() or (high != grid.shape).any():
        grid = grid.cropped(low, high)
    return on_grid(first, grid, what), on_grid(turned, grid, what)


def _extent(array: NDArray[Any]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """First and one past the last index of what is not 0, along each axis."""
    sides = [np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return np.array([side[0] for side in sides]), np.array([side[-1] + 1 for side in sides])


def covering(grids: list[Grid], what: str) -> Grid:
    """The smallest grid with the first's axes that holds all voxels of grids of one lattice.

    Raises
    ------
    GridMismatch
        If a grid's voxels are none of the first's lattice.
    """
    first = grids[0]
    boxes = [_required(grid, first, what, TOLERANCE_MM).box(grid.shape) for grid in grids]
    return first.cropped(
        np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)
    )


def _required(own: Grid, grid: Grid, what: str, tolerance_mm: float) -> Place:
    place = place_of(own, grid, tolerance_mm)
    if place is None:
        raise GridMismatch(f"{what}: the grids differ ({_difference(own, grid)}); {SLICER}")
    return place


def _difference(own: Grid, grid: Grid) -> str:
    """What keeps a grid's voxels from being another's, for a sentence."""
    found = grid.difference_from(own)
    steps = np.linalg.solve(grid.direction, own.direction)
    tilt = math.degrees(max(math.acos(min(1.0, float(np.abs(side).max()))) for side in steps.T))
    axes = [int(np.argmax(np.abs(side))) for side in steps.T]
    if not np.allclose([grid.spacing[axis] for axis in axes], own.spacing, rtol=1e-4):
        mine, other = ("x".join(f"{own_or.spacing[n]:.4g}" for n in order)
                       for own_or, order in ((grid, axes), (own, range(3))))  # fmt: skip
        why = f"spacings {mine} and {other} mm"
    elif tilt > 1e-3:
        why = f"axes {tilt:.3g} degrees apart"
    else:
        index = grid.world_to_index(own.corners())
        off = float(np.abs(index - np.rint(index)).max())
        why = f"voxels {off:.2g} of a voxel beside the scan's"
    return found if why.split()[0] == found.split()[0] else f"{found}; {why}"
