"""Masks as contours, and back: what radiotherapy draws on the slices of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["filled", "outlines"]

LEVEL = 0.5
"""Outlines run half-way between the centres of voxels inside and outside."""


def filled(contours: Sequence[ArrayLike], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where an odd number of contours surround the centre of a pixel (the even-odd rule).

    So a contour within another is a hole, and one within that an island.

    Parameters
    ----------
    contours : (n, 2) corners each, in pixels; the centre of the first pixel is (0, 0).
    shape : of the mask.

    Examples
    --------
    >>> filled([[(-0.5, -0.5), (-0.5, 1.5), (1.5, 1.5), (1.5, -0.5)]], (2, 3)).astype(int)
    array([[1, 1, 0],
           [1, 1, 0]])
    """
    from skimage.measure import grid_points_in_poly

    mask = np.zeros(shape, bool)
    for contour in contours:
        corners = np.asarray(contour, float)
        low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(corners.max(axis=0)) + 1, shape).astype(int)
        if (high > low).all():
            part = mask[low[0] : high[0], low[1] : high[1]]
            part ^= grid_points_in_poly(tuple(high - low), corners - low)
    return mask


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """The contours of a mask: (n, 2) corners each, in pixels; `filled` gives the mask back.

    A hole is joined to what surrounds it by a cut of no width (the keyhole that DICOM, PS3.3
    C.8.8.6.3, asks for), so that every reader sees it.
    """
    from skimage.measure import approximate_polygon, find_contours

    found = [np.asarray(line, float)[:-1] - 1 for line in find_contours(np.pad(mask, 1), LEVEL)]
    solid = [line for line in found if _area(line) > 0]
    holes = [line for line in found if _area(line) < 0]
    joined: list[NDArray[np.float64]] = []
    for outer in solid:
        inside = [hole for hole in holes if _innermost(hole, solid) is outer]
        joined.append(_with_keyholes(outer, inside))
    closed = (np.concatenate([line, line[:1]]) for line in joined)
    return [approximate_polygon(line, 0)[:-1] for line in closed]


def _area(line: NDArray[np.float64]) -> float:
    """The area that a contour surrounds, positive if the mask lies inside of it."""
    rows, columns = line[:, 0], line[:, 1]
    return float(np.sum(np.roll(rows, -1) * columns - rows * np.roll(columns, -1)) / 2)


def _innermost(
    hole: NDArray[np.float64], solid: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The smallest contour around a hole."""
    from skimage.measure import points_in_poly

    around = [line for line in solid if points_in_poly(hole[:1], line)[0]]
    return min(around, key=_area)


def _with_keyholes(
    outer: NDArray[np.float64], holes: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """One contour of an outer one and its holes, the nearest joined first: no cut crosses another.

    Parameters
    ----------
    holes : that run the other way round.
    """
    from scipy.spatial import KDTree

    left = list(holes)
    while left:
        tree: Any = KDTree(outer)
        near = [tree.query(hole) for hole in left]
        n = min(range(len(left)), key=lambda number: near[number][0].min())
        start = int(np.argmin(near[n][0]))
        at, hole = int(near[n][1][start]), np.roll(left.pop(n), -start, axis=0)
        outer = np.concatenate([outer[: at + 1], hole, hole[:1], outer[at:]])
    return outer
