"""How far two surfaces lie apart, in millimetres.

The definitions are those of DeepMind's surface-distance: a surface passes between voxels; each
2x2x2 neighbourhood that is neither all in nor all out holds one surface element, with the area
that marching cubes gives it, at its centre. Every figure weighs elements by their area, so that
no resampling, and no direction of the slices, counts twice.

References
----------
Nikolov et al., Clinically applicable segmentation of head and neck anatomy for radiotherapy,
J Med Internet Res 23(7):e26151, 2021 (surface Dice at a tolerance: here `nsd`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from condyle.errors import GeometryError, GridMismatch
from condyle.prepare.boxes import box_of

__all__ = ["SurfaceDistances", "surface_distances"]

Floats = NDArray[np.float64]

NEAR_VOXELS = 5
"""Elements this near to the other surface are found by the tree."""

ROUNDING = 1e-6
"""Part by which spacings are off in files, whose numbers have 32 bits."""

FAR_IS_MANY = 100
"""One query of a far element costs as much as a distance transform of so many voxels."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances in mm between two surfaces, both ways, and the areas in mm² they stand for.

    Each pair of arrays has one entry a surface element, in ascending order of distance. Where
    one mask is empty its arrays are, and the other's distances are infinite.
    """

    from_truth: Floats
    truth_areas: Floats
    from_predicted: Floats
    predicted_areas: Floats

    @property
    def empty(self) -> bool:
        """Whether both masks are empty."""
        return not (self.from_truth.size or self.from_predicted.size)

    def hausdorff(self) -> float:
        """The largest distance in mm either way. Both empty: nan; one empty: inf."""
        return self.robust_hausdorff(100)

    def hd95(self) -> float:
        """95 % of either surface lies no further from the other, mm. Both empty: nan; one: inf."""
        return self.robust_hausdorff(95)

    def robust_hausdorff(self, percent: float) -> float:
        """The larger of both ways' percentiles of distance by area, mm."""
        if self.empty:
            return float("nan")
        truth = _percentile(self.from_truth, self.truth_areas, percent)
        return max(truth, _percentile(self.from_predicted, self.predicted_areas, percent))

    def assd(self) -> float:
        """Mean distance in mm over the area of both surfaces. Both empty: nan; one empty: inf."""
        if self.empty:
            return float("nan")
        total = self.from_truth @ self.truth_areas + self.from_predicted @ self.predicted_areas
        return float(total / (self.truth_areas.sum() + self.predicted_areas.sum()))

    def nsd(self, tolerance_mm: float) -> float:
        """Part of both surfaces within the tolerance of the other, 0 to 1 (surface Dice).

        A distance equal to the tolerance is within it, whatever a header's rounding adds to it.
        Both empty: nan; one empty: 0.
        """
        if self.empty:
            return float("nan")
        reach = tolerance_mm * (1 + ROUNDING)
        close = self.truth_areas[self.from_truth <= reach].sum()
        close += self.predicted_areas[self.from_predicted <= reach].sum()
        return float(close / (self.truth_areas.sum() + self.predicted_areas.sum()))


def surface_distances(
    truth: ArrayLike, predicted: ArrayLike, spacing: ArrayLike, *, outlines: bool = False
) -> SurfaceDistances:
    """Distances in mm between the surfaces of two masks, for all surface figures at once.

    Parameters
    ----------
    truth, predicted : boolean masks (i, j, k) of one shape. A mask that touches the border of
        the scan ends there: its surface closes.
    spacing : distance in mm between voxels along i, j and k.
    outlines : whether the masks, of one k, are pictures: their outlines are compared, and areas
        are lengths.

    Raises
    ------
    GridMismatch
        If the shapes differ.
    GeometryError
        If the masks are not three-dimensional, or a spacing is not above 0.

    Examples
    --------
    >>> truth, predicted = np.zeros((2, 9, 9, 9), bool)
    >>> truth[2:5, 2:5, 2:5] = predicted[3:6, 2:5, 2:5] = True
    >>> distances = surface_distances(truth, predicted, spacing=(2, 1, 1))
    >>> distances.hausdorff()
    2.0
    """
    a, b = np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=bool)
    steps = np.asarray(spacing, dtype=float)
    if a.shape != b.shape:
        raise GridMismatch(
            f"truth and prediction have shapes {a.shape} and {b.shape}; "
            "bring both to one grid before comparing them"
        )
    if a.ndim != 3 or steps.shape != (3,) or not (steps > 0).all():
        raise GeometryError(
            "surface distances need masks (i, j, k) and three spacings above 0 mm, "
            f"got shape {a.shape} and spacing {steps.tolist()}"
        )
    box = box_of(a | b)
    if box is None:
        return SurfaceDistances(*np.empty((4, 0)))
    areas = _areas(steps)
    one, other = (_Elements.of(mask[box], outlines) for mask in (a, b))
    return SurfaceDistances(
        *_sorted(_distances(one, other, steps), areas[one.codes]),
        *_sorted(_distances(other, one, steps), areas[other.codes]),
    )


@dataclass(frozen=True, eq=False)
class _Elements:
    """The surface elements of a mask: where they are in its box, flat and in voxels, and codes."""

    there: NDArray[np.bool_]
    flat: NDArray[np.intp]
    codes: NDArray[np.uint8]

    @classmethod
    def of(cls, mask: NDArray[np.bool_], outlines: bool = False) -> Self:
        """The elements between the voxels of a mask and its surroundings."""
        # between two equal slices only the outline of both is a surface
        codes = _neighbour_codes(mask.repeat(2, axis=2))[:, :, 1:2] if outlines else (
            _neighbour_codes(mask)
        )  # fmt: skip
        there = codes - np.uint8(1) < 254  # 0, all out, becomes 255; 255, all in, 254
        flat = np.flatnonzero(there)
        return cls(there, flat, codes.ravel()[flat])

    def points(self, which: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.intp]:
        """(elements, 3) their indices along i, j and k."""
        return np.stack(np.unravel_index(self.flat[which], self.there.shape), axis=1)


def _neighbour_codes(mask: NDArray[np.bool_]) -> NDArray[Any]:
    """(i+1, j+1, k+1) numbers 0 to 255: which of the 8 voxels round each corner are in the mask.

    The voxel at offset (a, b, c) has bit 7 - (4a + 2b + c).
    """
    codes: NDArray[Any] = np.pad(mask.view(np.uint8), 1)
    codes = (codes[:, :, :-1] << 1) + codes[:, :, 1:]
    codes = (codes[:, :-1] << 2) + codes[:, 1:]
    return (codes[:-1] << 4) + codes[1:]


def _distances(here: _Elements, there: _Elements, steps: Floats) -> Floats:
    """Distance in mm from each surface element of one mask to the nearest of the other.

    A tree finds near neighbours fast and far ones slowly; where many are far, one distance
    transform of the box finds them all. Both count whole voxels, so either gives the same bits.
    """
    if not there.flat.size:
        return np.full(here.flat.size, np.inf)
    found = np.zeros(here.flat.size)
    left = np.flatnonzero(~there.there.ravel()[here.flat])
    targets = there.points()
    tree = KDTree(targets * steps, leafsize=64, balanced_tree=False)
    for reach in (NEAR_VOXELS * steps.max(), np.inf):
        if reach == np.inf and len(left) * FAR_IS_MANY > here.there.size:
            everywhere = np.asarray(distance_transform_edt(~there.there, sampling=steps))
            found[left] = everywhere.ravel()[here.flat[left]]
            break
        points = here.points(left)
        nearest = np.asarray(tree.query(points * steps, distance_upper_bound=reach)[1])
        met = nearest < len(targets)
        gaps = (points[met] - targets[nearest[met]]) * steps
        found[left[met]] = np.sqrt((gaps**2).sum(axis=1))
        left = left[~met]
    return found


def _sorted(distances: Floats, areas: Floats) -> tuple[Floats, Floats]:
    order = np.lexsort((areas, distances))
    return distances[order], areas[order]


def _percentile(distances: Floats, areas: Floats, percent: float) -> float:
    """The distance within which a part of the area lies; infinite for an empty surface."""
    if not distances.size:
        return float("inf")
    part = np.cumsum(areas) / areas.sum()
    at = np.searchsorted(part, percent / 100.0)
    return float(distances[min(int(at), len(distances) - 1)])


FACETS: dict[int, tuple[tuple[int, int, int], ...]] = {
    0b00000001: ((1, 1, 1),),
    0b00000011: ((4, 4, 0),),
    0b00000110: ((2, 2, 2),),
    0b00000111: ((4, 0, 0), (3, 3, 3)),
    0b00001111: ((8, 0, 0),),
    0b00010110: ((3, 3, 3),),
    0b00010111: ((6, 6, 6),),
    0b00011000: ((2, 2, 2),),
    0b00011001: ((0, 4, 4), (1, 1, 1)),
    0b00011011: ((4, 4, 4), (0, 2, 2), (2, 0, 2)),
    0b00011110: ((4, 0, 0), (4, 4, 4)),
    0b00111100: ((8, 8, 0),),
    0b01101001: ((4, 4, 4),),
}
"""The 13 ways in which marching cubes cuts a cube, apart from rotations, mirror images and
swapping in and out: code -> normals of its facets, whose lengths are areas, in eighths of a face
of the cube (facets with one normal, but for signs, are added up)."""


@cache
def _normals() -> Floats:
    """(256, 3 facets, 3) normals of each neighbour code's facets, in faces of the voxel."""
    corners = list(product((0, 1), repeat=3))
    normals = np.zeros((256, 3, 3))
    for code, facets in FACETS.items():
        inside = [corner for bit, corner in enumerate(corners) if code >> (7 - bit) & 1]
        for order, flip in product(permutations(range(3)), corners):
            moved = [[corner[a] ^ f for a, f in zip(order, flip, strict=True)] for corner in inside]
            turned = sum(1 << (7 - (4 * a + 2 * b + c)) for a, b, c in moved)
            for same in (turned, 255 - turned):
                normals[same, : len(facets)] = np.array(facets)[:, order] / 8.0
    normals.setflags(write=False)
    return normals


def _areas(steps: Floats) -> Floats:
    """(256,) area in mm² of the surface element of each neighbour code at a spacing."""
    faces = steps.prod() / steps
    return np.linalg.norm(_normals() * faces, axis=2).sum(axis=1)
