"""How a scan becomes what a network sees, and how the network's answer finds its way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.config import Preparation
from condyle.core import Grid, LabelMap, Volume
from condyle.prepare.intensity import finite, scaled
from condyle.prepare.resample import resample, resample_labels, weights
from condyle.prepare.slices import AXIS

__all__ = ["Prepared", "Recipe"]

BLOCK_BYTES = 256 * 2**20
"""Memory for class probabilities on the scan's own grid; the rest waits its turn."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as the network sees it.

    Parameters
    ----------
    array : (C, i, j, k) float32 in RAS axes, resampled and scaled.
    grid : where its voxels are.
    source : the grid of the scan that it came from.
    """

    array: NDArray[np.float32]
    grid: Grid
    source: Grid


@dataclass(frozen=True)
class Recipe:
    """RAS axes, resampling and scaling of intensities; and the way back for the answer.

    Obliqueness is kept, never resampled away: axes are only reordered and flipped.
    """

    settings: Preparation

    def working_grid(self, source: Grid) -> Grid:
        """The grid that a scan on `source` is resampled to."""
        ras = source.turned(source.turn_to("RAS"))
        spacing = list(ras.spacing)
        if self.settings.spacing is not None:
            pairs = zip(self.settings.spacing, ras.spacing, strict=True)
            spacing = [wanted or own for wanted, own in pairs]
        elif self.settings.size is not None:
            flat = [axis for axis in range(3) if axis != AXIS[self.settings.plane]]
            longest = max(ras.shape[axis] * ras.spacing[axis] for axis in flat)
            for axis in flat:
                spacing[axis] = longest / self.settings.size
        return ras.resized(ras.shape_at(spacing))

    def apply(self, channels: tuple[Volume, ...]) -> Prepared:
        """The scan's channels, all on one grid, as the network sees them."""
        source = channels[0].grid
        grid = self.working_grid(source)
        ready = np.empty((len(channels), *grid.shape), np.float32)
        for n, volume in enumerate(channels):
            ras = volume.reoriented("RAS")
            array = finite(ras.array, "the scan")
            moved = resample(array, grid.shape, self.settings.interpolation)
            ready[n] = scaled(moved, self.settings)
        return Prepared(ready, grid, source)

    def apply_labels(self, labels: LabelMap) -> LabelMap:
        """The label map on the working grid; a structure that would vanish raises `LabelError`."""
        grid = self.working_grid(labels.grid)
        names = {label.id: label.name for label in labels.scheme.labels}
        array = resample_labels(labels.reoriented("RAS").array, grid.shape, names)
        return LabelMap(array, grid, labels.scheme)

    def undo(self, probabilities: NDArray[Any], prepared: Prepared) -> NDArray[np.uint8]:
        """Class indices on the scan's own grid and axes, of probabilities on the working grid.

        Parameters
        ----------
        probabilities : (classes, i, j, k) on `prepared.grid`. Larger ones win after they were
            interpolated, in blocks of slices, so that they never are all there at full size.
        """
        source = prepared.source
        turn = source.turn_to("RAS")
        shape = source.turned(turn).shape
        answer = np.empty(shape, np.uint8)
        if probabilities.shape[1:] == shape:
            answer[...] = probabilities.argmax(axis=0)
            return np.ascontiguousarray(turn.inverse().apply(answer))
        along = weights(probabilities.shape[3], shape[2])
        slice_bytes = probabilities.shape[0] * shape[0] * shape[1] * 4
        step = max(1, BLOCK_BYTES // slice_bytes)
        for start in range(0, shape[2], step):
            rows = along[start : start + step]
            used = np.flatnonzero(rows.any(axis=0))
            low, high = int(used[0]), int(used[-1]) + 1
            near = np.asarray(probabilities[..., low:high], np.float32) @ rows[:, low:high].T
            full = resample(near, (shape[0], shape[1], near.shape[3]))
            answer[:, :, start : start + step] = full.argmax(axis=0)
        return np.ascontiguousarray(turn.inverse().apply(answer))
