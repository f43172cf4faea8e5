"""A scan: numbers on a grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.core.grid import Grid
from condyle.errors import GeometryError

__all__ = ["OnGrid", "Volume"]


@dataclass(frozen=True, eq=False)
class OnGrid:
    """An array (i, j, k) and the grid it lies on: what a scan and a label map share."""

    array: NDArray[Any]
    grid: Grid

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise GeometryError(
                f"an array of shape {self.array.shape} does not fit a grid of {self.grid.shape}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j and k."""
        return self.grid.shape

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4): takes (i, j, k, 1) to RAS+ mm."""
        return self.grid.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxels along i, j and k."""
        return self.grid.spacing

    def with_array(self, array: NDArray[Any]) -> Self:
        """The same thing with other numbers on the same grid."""
        return replace(self, array=array)

    def reoriented(self, orientation: str = "RAS") -> Self:
        """The same voxels at the same places, with array axes nearest to e.g. 'RAS'."""
        turn = self.grid.turn_to(orientation)
        return replace(self, array=turn.apply(self.array), grid=self.grid.turned(turn))

    def cropped(self, start: ArrayLike, stop: ArrayLike) -> Self:
        """The box from voxel `start` up to, not including, voxel `stop`; must lie inside."""
        low, high = np.asarray(start, dtype=int), np.asarray(stop, dtype=int)
        if (low < 0).any() or (high > self.grid.shape).any() or (low >= high).any():
            raise GeometryError(
                f"cannot crop voxels {low.tolist()} to {high.tolist()} out of {self.grid.shape}"
            )
        box = tuple(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True))
        return replace(self, array=self.array[box], grid=self.grid.cropped(low, high))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.array, dtype=dtype, copy=copy)


@dataclass(frozen=True, eq=False)
class Volume(OnGrid):
    """A scan: an array (i, j, k) of intensities (HU where it is CT) on a grid.

    Parameters
    ----------
    array : (i, j, k) numbers; integers as stored, or floats.
    grid : where they are.
    modality : 'CT', 'MR', ... or '' where the file does not say.

    Examples
    --------
    >>> volume = Volume(np.zeros((4, 5, 6), np.int16), Grid.regular((4, 5, 6)), "CT")
    >>> volume.reoriented("PIR").grid.shape
    (5, 6, 4)
    """

    modality: str = ""

    def __repr__(self) -> str:
        kind = f"{self.modality} " if self.modality else ""
        return f"Volume({kind}{self.array.dtype}, {self.grid!r})"
