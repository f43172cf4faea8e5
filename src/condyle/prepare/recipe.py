"""How a scan becomes what a network sees, and how its probabilities come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.config import Plane, Planes, Preparation
from condyle.core import Grid, LabelMap, Volume
from condyle.errors import GeometryError, LabelError
from condyle.prepare.boxes import Box, box_of
from condyle.prepare.intensity import finite, scaled
from condyle.prepare.resample import Weighted, most_likely, resample_image, resample_labels
from condyle.prepare.slices import AXIS, planes_of

__all__ = ["Prepared", "ProbabilityMap", "Recipe", "fuse", "within"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as the network sees it.

    Parameters
    ----------
    array : (C, i, j, k) float32 in RAS axes, resampled and scaled.
    grid : where its voxels are.
    source : the grid of the scan that it came from.
    box : the part of the scan, in RAS axes, that it was cut to; None: all of it.
    """

    array: NDArray[np.float32]
    grid: Grid
    source: Grid
    box: Box | None = None


@dataclass(frozen=True, eq=False)
class ProbabilityMap:
    """The class probabilities that a network gives for a scan, and where they lie.

    Parameters
    ----------
    probabilities : (classes, i, j, k) on `grid`, in RAS axes.
    grid : the working grid, on which the network got the scan.
    source : the scan's own grid.
    weight : in the mean with other maps: a number, or an array that broadcasts to the voxels
        of the scan in RAS axes.
    box : the part of the scan, in RAS axes, that it fills; None: all. Beyond it is background.
    """

    probabilities: NDArray[Any]
    grid: Grid
    source: Grid
    weight: float | NDArray[np.float32] = 1.0
    box: Box | None = None

    def __post_init__(self) -> None:
        if self.probabilities.shape[1:] != self.grid.shape:
            raise GeometryError(
                f"probabilities of shape {self.probabilities.shape[1:]} do not lie on the working "
                f"grid of {self.grid.shape}"
            )


def fuse(maps: Sequence[ProbabilityMap]) -> NDArray[np.uint8]:
    """Class indices on the scan's own grid and axes, of the mean of one map or several.

    Probabilities are interpolated first, then the largest wins; where a working grid is the
    scan's own, they stay as they are.
    """
    source = maps[0].source
    turn = source.turn_to("RAS")
    parts = [Weighted(each.probabilities, each.weight, each.box) for each in maps]
    classes = most_likely(parts, source.turned(turn).shape)
    return np.ascontiguousarray(turn.inverse().apply(classes))


def within(grid: Grid, box: Box | None) -> Grid:
    """The part of a grid that a box of slices holds; all of it for None."""
    if box is None:
        return grid
    (a, i), (b, j), (c, k) = ((side.start, side.stop) for side in box)
    return grid.cropped((a, b, c), (i, j, k))


@dataclass(frozen=True)
class Recipe:
    """RAS axes, resampling and scaling of intensities; and the way back for probabilities.

    Obliqueness is kept, never resampled away: axes are only reordered and flipped.
    """

    settings: Preparation

    @property
    def plane(self) -> Planes:
        """The plane of the slices; axial where none was chosen, as for networks of volumes."""
        return self.settings.plane or "axial"

    def box_of(self, channels: Sequence[Volume]) -> Box | None:
        """The part of a scan, in RAS axes, that is kept; None: all of it.

        What nnU-Net fills, holes in what is not 0, never lies beyond this box. A scan of nothing
        but 0 is kept whole.
        """
        if self.settings.crop == "none":
            return None
        found = np.logical_or.reduce([one.reoriented("RAS").array != 0 for one in channels])
        box = box_of(found)
        whole = all(side == slice(0, n) for side, n in zip(box or (), found.shape, strict=False))
        return None if whole else box

    def working_grid(self, source: Grid) -> Grid:
        """The grid that a scan on `source`, cut already, is resampled to."""
        ras = source.turned(source.turn_to("RAS"))
        spacing = list(ras.spacing)
        if self.settings.spacing is not None:
            pairs = zip(self.settings.spacing, ras.spacing, strict=True)
            spacing = [wanted or own for wanted, own in pairs]
        elif self.settings.size is not None:
            seen = planes_of(self.plane)
            flat = [axis for axis in range(3) if any(axis != AXIS[plane] for plane in seen)]
            longest = max(ras.shape[axis] * ras.spacing[axis] for axis in flat)
            for axis in flat:
                spacing[axis] = longest / self.settings.size
        return ras.resized(ras.shape_at(spacing))

    def grid_of_slices(self, source: Grid, plane: Plane) -> Grid:
        """The grid whose slices in a plane look to the network like those that it was trained on.

        In the plane that it was trained on, the working grid. In another one, pixels have the same
        size, and the slices the scan's own distance where it is not less than that.
        """
        grid = self.working_grid(source)
        if self.plane == plane:
            return grid
        trained = AXIS[planes_of(self.plane)[0]]
        pixel = float(np.delete(grid.spacing, trained).mean())
        ras = source.turned(source.turn_to("RAS"))
        through = AXIS[plane]
        spacing = [pixel] * 3
        spacing[through] = max(ras.spacing[through], pixel)
        return ras.resized(ras.shape_at(spacing))

    def apply(self, channels: tuple[Volume, ...], plane: Plane | None = None) -> Prepared:
        """The scan's channels, all on one grid, as the network sees them.

        Parameters
        ----------
        plane : whose slices the network will see, where it is not as in training.

        Raises
        ------
        GridMismatch
            If the channels lie on different grids.
        """
        source = channels[0].grid
        for other in channels[1:]:
            source.require_same(other.grid, "the channels of a scan")
        box = self.box_of(channels)
        kept = within(source.turned(source.turn_to("RAS")), box)
        grid = self.grid_of_slices(kept, plane) if plane else self.working_grid(kept)
        ready = np.empty((len(channels), *grid.shape), np.float32)
        for n, volume in enumerate(channels):
            array = finite(volume.reoriented("RAS").array, "the scan")[box or ...]
            moved = resample_image(array, kept, grid.shape, self.settings.interpolation)
            ready[n] = scaled(moved, self.settings)
        return Prepared(ready, grid, source, box)

    def apply_labels(self, labels: LabelMap, box: Box | None = None) -> LabelMap:
        """The label map on the working grid; a structure that would vanish raises `LabelError`.

        Parameters
        ----------
        box : the part that the scan was cut to: `Prepared.box`.
        """
        turned = labels.reoriented("RAS")
        grid = self.working_grid(within(turned.grid, box))
        names = {label.id: label.name for label in labels.scheme.labels}
        ras = turned.array[box or ...]
        beyond = set(labels.present()) - set(np.unique(ras).tolist()) if box else set[int]()
        if lost := sorted(beyond - {labels.scheme.ignore}):
            raise LabelError(
                f"{', '.join(names[n] for n in lost)} lies where the scan is 0, which "
                "preparation.crop = 'nonzero' cuts off: set it to 'none'"
            )
        i, j, k = (min(old, new) for old, new in zip(ras.shape, grid.shape, strict=True))
        ignore = labels.scheme.ignore
        # first where it shrinks, then where it grows: that is undone exactly
        array = resample_labels(ras, (i, j, k), "one-hot", names=names, ignore=ignore)
        array = resample_labels(array, grid.shape, names=names, ignore=ignore)
        return LabelMap(array, grid, labels.scheme)

    def undo(self, probabilities: NDArray[Any], prepared: Prepared) -> NDArray[np.uint8]:
        """Class indices on the scan's own grid and axes, of probabilities on the working grid.

        Parameters
        ----------
        probabilities : (classes, i, j, k) on `prepared.grid`.

        Raises
        ------
        GeometryError
            If the probabilities do not lie on `prepared.grid`.
        """
        made = ProbabilityMap(probabilities, prepared.grid, prepared.source, box=prepared.box)
        return fuse([made])

    def undo_labels(self, labels: LabelMap, prepared: Prepared) -> LabelMap:
        """A label map on the working grid, brought back to the scan's own grid and axes.

        Raises
        ------
        GridMismatch
            If the labels do not lie on `prepared.grid`.
        """
        prepared.grid.require_same(labels.grid, "labels and working grid")
        turn = prepared.source.turn_to("RAS")
        whole = np.zeros(prepared.source.turned(turn).shape, labels.array.dtype)
        part = whole[prepared.box or ...]
        part[...] = resample_labels(labels.array, part.shape, allow_loss=True)
        back = np.ascontiguousarray(turn.inverse().apply(whole))
        return LabelMap(back, prepared.source, labels.scheme)
