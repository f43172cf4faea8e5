"""Where the voxels of a scan are; or the pixels of a picture, which has no millimetres.

The one axis rule: arrays are indexed (i, j, k), and the affine takes (i, j, k, 1) to RAS+
millimetres: x grows to the patient's right, y to the front, z to the head.
DICOM and ITK count LPS; they are converted when read or written, in `condyle.io`, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.errors import GeometryError, GridMismatch, UnknownName

__all__ = ["Grid", "Turn"]

TOLERANCE_MM = 1e-3
"""Two grids are the same when no corner lies further apart than this."""

LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""The names of the two ends of world axes x, y and z; the second is the positive end."""


@dataclass(frozen=True)
class Turn:
    """A reordering and flipping of array axes: what a reorientation does to an array.

    Parameters
    ----------
    order : the old axis that becomes each new axis.
    flip : whether each new axis runs against the old one.
    """

    order: tuple[int, int, int]
    flip: tuple[bool, bool, bool]

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array (i, j, k) with its axes reordered, then flipped; a view, nothing is copied."""
        turned = array.transpose(self.order)
        return turned[tuple(slice(None, None, -1) if f else slice(None) for f in self.flip)]

    def inverse(self) -> Turn:
        """The turn that undoes this one."""
        order = tuple(int(a) for a in np.argsort(self.order))
        flip = tuple(self.flip[a] for a in order)
        return Turn(order, flip)  # type: ignore[arg-type]  # three each, by construction


@dataclass(frozen=True, eq=False)
class Grid:
    """The shape of a scan in voxels and its affine from voxel index to RAS+ millimetres.

    Parameters
    ----------
    shape : number of voxels along i, j and k.
    affine : (4, 4) matrix; ``affine @ (i, j, k, 1)`` is the centre of that voxel in mm.
    unit : 'px' for a picture: nothing is known of its size in the world, so that all that is said
        here of millimetres is pixels. Pictures and scans are never on one grid.

    Raises
    ------
    GeometryError
        If a side has no voxels, or the affine is not finite, not affine, or flattens space.

    Examples
    --------
    >>> grid = Grid.regular((4, 5, 6), spacing=(1, 1, 2.5))
    >>> grid.spacing
    (1.0, 1.0, 2.5)
    >>> grid.orientation
    'RAS'
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    unit: Literal["mm", "px"] = "mm"

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"a grid needs three sides of at least one voxel, got {shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"the affine must be 4x4 and finite, got\n{affine}")
        if not np.allclose(affine[3], (0, 0, 0, 1)):
            raise GeometryError(f"the affine's last row must be 0 0 0 1, got {affine[3]}")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if lengths.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
            raise GeometryError(f"the affine is singular (spacing {lengths} mm)")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def regular(
        cls,
        shape: tuple[int, int, int],
        spacing: ArrayLike = (1.0, 1.0, 1.0),
        origin: ArrayLike = (0.0, 0.0, 0.0),
    ) -> Grid:
        """A grid along the world's axes: spacing in mm, origin (centre of voxel 0) in mm."""
        affine = np.diag([*np.asarray(spacing, dtype=float), 1.0])
        affine[:3, 3] = origin
        return cls(shape, affine)

    @classmethod
    def of_picture(cls, columns: int, rows: int) -> Grid:
        """The grid of a picture's pixels, (columns, rows, 1): in slices as scans have them.

        Its columns run to the patient's left and its rows to the back, so that an axial slice
        shows the picture upright.

        Examples
        --------
        >>> Grid.of_picture(640, 480)
        Grid(640x480x1 voxels, 1x1x1 px, LPS)
        """
        return cls((columns, rows, 1), np.diag([-1.0, -1.0, 1.0, 1.0]), "px")

    @property
    def is_picture(self) -> bool:
        """Whether it is the grid of a picture, which has no millimetres."""
        return self.unit == "px"

    def require_mm(self, what: str) -> None:
        """Raise `GeometryError` for a picture: `what` needs a scan, 'a surface' say."""
        if self.is_picture:
            raise GeometryError(
                f"{what} needs a scan with millimetres; this is a picture of "
                f"{self.shape[0]} x {self.shape[1]} pixels"
            )

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxel centres along i, j and k."""
        si, sj, sk = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(si), float(sj), float(sk)

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3) unit vectors of i, j and k in the world, one a column."""
        return self.affine[:3, :3] / self.spacing

    @property
    def origin(self) -> tuple[float, float, float]:
        """World position in mm of the centre of voxel (0, 0, 0)."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm³ (also where the axes are sheared)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Three letters: the end of the body towards which i, j and k run, 'RAS' or 'LPS', say."""
        return "".join(LETTERS[axis][int(sign > 0)] for axis, sign in self._closest_axes())

    def _closest_axes(self) -> list[tuple[int, float]]:
        """The world axis nearest to each array axis, and the sign of their agreement."""
        d = self.direction
        best = max(permutations(range(3)), key=lambda p: sum(abs(d[p[a], a]) for a in range(3)))
        return [(best[a], float(np.sign(d[best[a], a]))) for a in range(3)]

    def index_to_world(self, points: ArrayLike) -> NDArray[np.float64]:
        """World mm, (..., 3), of voxel indices, (..., 3); fractions allowed."""
        return np.asarray(points, dtype=float) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def world_to_index(self, points: ArrayLike) -> NDArray[np.float64]:
        """Fractional voxel indices, (..., 3), of world points in mm, (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points, dtype=float) @ inverse[:3, :3].T + inverse[:3, 3]

    def corners(self) -> NDArray[np.float64]:
        """World mm, (8, 3), of the centres of the eight corner voxels."""
        return self.index_to_world(list(product(*[(0, n - 1) for n in self.shape])))

    def distance_to(self, other: Grid) -> float:
        """The largest distance in mm between corners of two grids; infinite if shapes differ."""
        if self.shape != other.shape or self.unit != other.unit:
            return float("inf")
        gaps = np.linalg.norm(self.corners() - other.corners(), axis=1)
        return float(gaps.max())

    def same_as(self, other: Grid, tolerance_mm: float = TOLERANCE_MM) -> bool:
        """Whether both have one shape and no corner lies further apart than the tolerance."""
        return self.distance_to(other) <= tolerance_mm

    def require_same(self, other: Grid, what: str, tolerance_mm: float = TOLERANCE_MM) -> None:
        """Raise `GridMismatch`, naming `what` and the difference, unless both are the same."""
        if not self.same_as(other, tolerance_mm):
            raise GridMismatch(
                f"{what}: the grids differ ({self.difference_from(other)}); export the labels on "
                "the scan's own grid"
            )

    def difference_from(self, other: Grid) -> str:
        """What parts two grids, for a sentence."""
        if self.unit != other.unit:
            return "one is a picture, the other has millimetres"
        if self.shape != other.shape:
            return f"shapes {self.shape} and {other.shape}"
        if not np.allclose(self.spacing, other.spacing, rtol=1e-4):
            return f"spacings {_mm(self.spacing)} and {_mm(other.spacing)} mm"
        if self.orientation != other.orientation:
            return f"orientations {self.orientation} and {other.orientation}"
        return f"corners {self.distance_to(other):.3g} mm apart"

    def turn_to(self, orientation: str) -> Turn:
        """The turn of array axes that brings this grid nearest to an orientation like 'RAS'."""
        wanted = _axes_of(orientation)
        mine = {axis: (a, sign) for a, (axis, sign) in enumerate(self._closest_axes())}
        order = tuple(mine[axis][0] for axis, _ in wanted)
        flip = tuple(mine[axis][1] != sign for axis, sign in wanted)
        return Turn(order, flip)  # type: ignore[arg-type]  # three each, by construction

    def turned(self, turn: Turn) -> Grid:
        """The grid of an array after `turn.apply`: every voxel keeps its place in the world."""
        step = np.zeros((4, 4))
        step[3, 3] = 1.0
        for new, old in enumerate(turn.order):
            step[old, new] = -1.0 if turn.flip[new] else 1.0
            step[old, 3] = self.shape[old] - 1 if turn.flip[new] else 0.0
        shape = tuple(self.shape[a] for a in turn.order)
        return replace(self, shape=shape, affine=self.affine @ step)  # type: ignore[arg-type]

    def cropped(self, start: ArrayLike, stop: ArrayLike) -> Grid:
        """The grid of ``array[start:stop]``, both in voxels; may reach outside for padding."""
        first = np.asarray(start, dtype=int)
        affine = self.affine.copy()
        affine[:3, 3] = self.index_to_world(first)
        shape = np.asarray(stop, dtype=int) - first
        return replace(self, shape=(int(shape[0]), int(shape[1]), int(shape[2])), affine=affine)

    def resized(self, shape: tuple[int, int, int]) -> Grid:
        """The same box of space, edge to edge, cut into another number of voxels."""
        ratio = np.array(self.shape) / np.array(shape)
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * ratio
        affine[:3, 3] = self.index_to_world((ratio - 1) / 2)
        return replace(self, shape=shape, affine=affine)

    def shape_at(self, spacing: ArrayLike) -> tuple[int, int, int]:
        """The whole number of voxels that fills this box at about the given spacing in mm."""
        extent = np.array(self.shape) * np.array(self.spacing)
        n = np.maximum(1, np.round(extent / np.asarray(spacing, dtype=float))).astype(int)
        return int(n[0]), int(n[1]), int(n[2])

    def __repr__(self) -> str:
        sides = "x".join(str(n) for n in self.shape)
        return f"Grid({sides} voxels, {_mm(self.spacing)} {self.unit}, {self.orientation})"


def _mm(values: tuple[float, ...]) -> str:
    return "x".join(f"{v:.4g}" for v in values)


def _axes_of(orientation: str) -> list[tuple[int, float]]:
    """The world axis and sign of each letter of an orientation code."""
    places = {
        letter: (axis, 2.0 * end - 1.0)
        for axis, pair in enumerate(LETTERS)
        for end, letter in enumerate(pair)
    }
    axes = [places[c] for c in orientation.upper() if c in places]
    if len(orientation) != 3 or sorted(axis for axis, _ in axes) != [0, 1, 2]:
        raise UnknownName("orientation", orientation, ["RAS", "LPS", "LAS", "PIR", "..."])
    return axes
