"""Scans through the networks that Condyle trains: by a recipe, slice by slice or in windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condyle.config import Plane, Planes, Preparation, Section
from condyle.core import Grid, Volume
from condyle.predict.passes import by_slices, by_windows, filled, slabs, starts
from condyle.predict.preprocessor import Span
from condyle.predict.runtimes.runtime import Runtime
from condyle.predict.views import Averaged, Mirroring, View, views
from condyle.prepare.recipe import Prepared, ProbabilityMap, Recipe, fuse
from condyle.prepare.slices import AXIS, planes_of

__all__ = ["PreparedByRecipe", "RecipePreprocessing"]

SAMPLES = 16
"""Slices that runtimes are compared on."""
FIRST_LOOK_MM = 8.0
"""Distance between the slices of a first look."""
MARGIN_MM = 16.0
"""Added on both sides of what a first look finds."""

Window = tuple[int, int, int]


class RecipePreprocessing(Section):
    """A recipe, and how its scans go through a network: a `Preprocessor`."""

    kind: Literal["recipe"] = "recipe"
    settings: Preparation = Preparation()
    """How scans are resampled and scaled: see `condyle.prepare.recipe.Recipe`."""
    spatial: Literal[2, 3] = 2
    """Of the network: slices, or volumes."""
    window: Window | None = None
    """Voxels that a 3D network gets at once; None: the whole scan."""

    @property
    def recipe(self) -> Recipe:
        """How scans are resampled and scaled, and the way back."""
        return Recipe(self.settings)

    @property
    def plane(self) -> Planes:
        """The plane of the slices that the network was trained on."""
        return self.recipe.plane

    @property
    def without_planes(self) -> str:
        """Why the plane of slices cannot be chosen; '' where it can."""
        return "" if self.spatial == 2 else "sees volumes, not slices"

    def passes(
        self, planes: Planes | None, mirroring: Mirroring, *, each: bool = False
    ) -> tuple[tuple[View, ...], ...]:
        """The views of a scan to predict, a pass a plane; with `each`, a pass a view."""
        flat = self.spatial == 2
        chosen = planes_of(planes or self.plane) if flat else (None,)
        grouped = tuple(views(plane, mirroring) for plane in chosen)
        return tuple((view,) for group in grouped for view in group) if each else grouped

    def prepare(
        self,
        channels: tuple[Volume, ...],
        plane: Plane | None,
        mirrored_classes: tuple[int, ...],
    ) -> PreparedByRecipe:
        """The scan as the network gets it."""
        scan = self.recipe.apply(channels, plane)
        return PreparedByRecipe(scan, plane, self.window, mirrored_classes)

    def probabilities(self, runtime: Runtime, image: NDArray[np.float32]) -> NDArray[np.float16]:
        """Class probabilities (classes, i, j, k) of an array (C, i, j, k) on the working grid."""
        if self.spatial == 3:
            return by_windows(runtime, image, self.window)
        first, *more = planes_of(self.plane)
        total = by_slices(runtime, image, first)
        for plane in more:
            total += by_slices(runtime, image, plane)
        total /= 1 + len(more)
        return total


@dataclass(frozen=True, eq=False)
class PreparedByRecipe:
    """A scan as the network gets it, in slices of a plane or in windows: a `PreparedScan`.

    Parameters
    ----------
    plane : of the slices; None: windows.
    window : voxels of a window; None: all.
    mirrored_classes : the class that each becomes where left and right change places.
    span : the part of the body's length that is predicted; None: all.
    """

    scan: Prepared
    plane: Plane | None
    window: Window | None
    mirrored_classes: tuple[int, ...]
    span: Span | None = None

    def count(self, views: tuple[View, ...]) -> int:
        """How many slices or windows a pass has, mirror images too."""
        shape = self.scan.grid.shape
        if self.plane is not None:
            return shape[AXIS[self.plane]] * len(views)
        sides = zip(shape, self.window or shape, strict=True)
        return int(np.prod([len(starts(n, w)) for n, w in sides])) * len(views)

    def sample(self) -> Tensor:
        """Some slices, evenly spread, or the window in the middle: (B, C, i, j[, k])."""
        if self.plane is not None:
            stack = np.moveaxis(self.scan.array, AXIS[self.plane] + 1, 0)
            some = np.unique(np.linspace(0, len(stack) - 1, SAMPLES).round().astype(int))
            return torch.from_numpy(np.array(stack[some], order="C"))
        image, _ = filled(self.scan.array, self.window)
        sides = zip(image.shape[1:], self.window or image.shape[1:], strict=True)
        middle = tuple(slice((n - w) // 2, (n - w) // 2 + w) for n, w in sides)
        return torch.from_numpy(np.array(image[(slice(None), *middle)], order="C"))[None]

    def first_look(self, runtime: Runtime, view: View) -> Span:
        """Where a few slices show a structure, with a margin; (0, 1) where they show none."""
        grid, runtime = self.scan.grid, view.through(runtime, self.mirrored_classes)
        steps = [1, 1, 1]
        if view.plane is None:
            found = by_windows(runtime, self.scan.array, self.window, step=1.0)
        else:
            axis = AXIS[view.plane]
            steps[axis] = max(1, round(FIRST_LOOK_MM / grid.spacing[axis]))
            some = tuple(slice(None, None, step) for step in (1, *steps))
            found = by_slices(runtime, self.scan.array[some], view.plane)
        labelled = (found.argmax(axis=0) > 0).any(axis=(0, 1))
        slices = np.flatnonzero(labelled) * steps[2]
        if not slices.size:
            return 0.0, 1.0
        depth, margin = grid.shape[2], MARGIN_MM / grid.spacing[2]
        low, high = slices[0] - margin, slices[-1] + 1 + margin
        return max(float(low), 0.0) / depth, min(float(high), float(depth)) / depth

    def within(self, span: Span) -> PreparedByRecipe:
        """The same scan, of which only a part is predicted: beyond it all is background."""
        return replace(self, span=span)

    def probability_map(self, runtime: Runtime, views: tuple[View, ...]) -> ProbabilityMap:
        """The class probabilities of a pass on the working grid, to be fused with those of others.

        A plane is weighted by how fine its pixels are in the scan.
        """
        probabilities = self._probabilities(self._through(runtime, views))
        weight = _fineness(self.scan.source, self.plane)
        scan = self.scan
        return ProbabilityMap(probabilities, scan.grid, scan.source, weight, scan.box)

    def class_indices(self, runtime: Runtime, views: tuple[View, ...]) -> NDArray[np.uint8]:
        """The classes of a pass alone, on the scan's own grid.

        Where slices stay where they are, they are predicted one after the other, and their
        probabilities are not kept.
        """
        ras = self.scan.source.turned(self.scan.source.turn_to("RAS"))
        if self.plane is not None and self.span is None and self.scan.box is None:
            axis = AXIS[self.plane]
            if self.scan.grid.shape[axis] == ras.shape[axis]:
                return self._slab_by_slab(self._through(runtime, views), self.plane, ras)
        return fuse([self.probability_map(runtime, views)])

    def _slab_by_slab(self, runtime: Runtime, plane: Plane, ras: Grid) -> NDArray[np.uint8]:
        axis = AXIS[plane]
        classes = np.empty(ras.shape, np.uint8)
        for start, found in slabs(runtime, self.scan.array, plane):
            stop = start + found.shape[axis + 1]
            some = tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))
            grid, source = (_cut(each, axis, start, stop) for each in (self.scan.grid, ras))
            classes[some] = fuse([ProbabilityMap(found, grid, source)])
        back = self.scan.source.turn_to("RAS").inverse()
        return np.ascontiguousarray(back.apply(classes))

    def _through(self, runtime: Runtime, views: tuple[View, ...]) -> Runtime:
        """The runtime that predicts all views of a pass, and averages them."""
        runtimes = [view.through(runtime, self.mirrored_classes) for view in views]
        return runtimes[0] if len(runtimes) == 1 else Averaged(runtimes)

    def _probabilities(self, runtime: Runtime) -> NDArray[np.float16]:
        """Class probabilities on the working grid; outside the span all is background."""
        image, depth = self.scan.array, self.scan.grid.shape[2]
        low, high = self._slices(depth)
        part = image[..., low:high]
        if self.plane is None:
            found = by_windows(runtime, part, self.window)
        else:
            found = by_slices(runtime, part, self.plane)
        if (low, high) == (0, depth):
            return found
        whole = np.zeros((found.shape[0], *image.shape[1:]), np.float16)
        whole[0] = 1
        whole[..., low:high] = found
        return whole

    def _slices(self, depth: int) -> tuple[int, int]:
        """The first slice along the body that is predicted, and the one after the last."""
        if self.span is None:
            return 0, depth
        low, high = int(self.span[0] * depth), int(np.ceil(self.span[1] * depth))
        if self.window and self.plane is None:  # a window's worth at the least
            short = max(self.window[2] - (high - low), 0)
            low = max(low - (short + 1) // 2, 0)
            high = min(max(high + short // 2, low + self.window[2]), depth)
        return low, high


def _cut(grid: Grid, axis: int, start: int, stop: int) -> Grid:
    """The part of a grid between two places along an axis."""
    low, high = [0, 0, 0], list(grid.shape)
    low[axis], high[axis] = start, stop
    return grid.cropped((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _fineness(source: Grid, plane: Plane | None) -> float:
    """The weight of a plane: 1 over the mean side (mm) of the scan's pixels in it; else 1."""
    if plane is None:
        return 1.0
    ras = source.turned(source.turn_to("RAS"))
    return float((ras.spacing[AXIS[plane]] / np.prod(ras.spacing)) ** 0.5)
