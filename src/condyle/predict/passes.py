"""A prepared scan through a network, by slices or by windows, and how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condyle.config import Plane
from condyle.predict.runtimes.runtime import Runtime
from condyle.prepare.slices import AXIS

__all__ = [
    "CountedRuntime",
    "PartProgress",
    "by_slices",
    "by_windows",
    "filled",
    "no_progress",
    "share_of",
    "slabs",
    "starts",
]

PartProgress = Callable[[float], None]
"""Called with the part of a scan that is predicted, from 0 to 1."""


def no_progress(part: float) -> None:
    """Show no progress."""


def share_of(progress: PartProgress, number: int, total: int) -> PartProgress:
    """The progress of one of several equal shares of a work, counted from 0."""
    return lambda part: progress((number + part) / total)


@dataclass
class CountedRuntime:
    """A runtime that reports progress after each batch.

    Parameters
    ----------
    total : slices or windows that it is going to predict, mirror images too.
    """

    runtime: Runtime
    total: int
    progress: PartProgress
    done: int = field(default=0, init=False)

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]) of (B, C, i, j[, k])."""
        found = self.runtime.probabilities(batch)
        self.done += len(batch)
        self.progress(min(self.done / self.total, 1.0))
        return found


PIXELS_AT_ONCE = 8 * 256 * 256


def by_slices(runtime: Runtime, image: NDArray[np.float32], plane: Plane) -> NDArray[np.float16]:
    """Class probabilities (classes, i, j, k) of a prepared scan (C, i, j, k)."""
    axis = AXIS[plane]
    whole: NDArray[np.float16] | None = None
    for start, found in slabs(runtime, image, plane):
        if whole is None:
            whole = np.empty((found.shape[0], *image.shape[1:]), np.float16)
        there = np.moveaxis(whole, axis + 1, 0)[start : start + found.shape[axis + 1]]
        there[:] = np.moveaxis(found, axis + 1, 0)
    assert whole is not None
    return whole


def slabs(
    runtime: Runtime, image: NDArray[np.float32], plane: Plane
) -> Iterator[tuple[int, NDArray[Any]]]:
    """The first slice of some, and the class probabilities (classes, i, j, k) of these alone."""
    axis = AXIS[plane]
    stack = np.moveaxis(image, axis + 1, 0)  # (slices, C, height, width)
    count, _, height, width = stack.shape
    together = max(1, PIXELS_AT_ONCE // (height * width))
    for start in range(0, count, together):
        batch = torch.from_numpy(np.array(stack[start : start + together], order="C"))
        found = runtime.probabilities(batch).numpy()  # (slices, classes, height, width)
        yield start, np.moveaxis(found, 0, axis + 1)


STEP = 0.5
"""Windows follow one another by half their length, as in nnU-Net."""


def starts(length: int, window: int, step: float = STEP) -> list[int]:
    """Where windows begin along a side: evenly spread, at most a part of a window apart.

    Examples
    --------
    >>> starts(100, 64)
    [0, 18, 36]
    """
    if length <= window:
        return [0]
    count = int(np.ceil((length - window) / (window * step))) + 1
    return sorted({round(s) for s in np.linspace(0, length - window, count)})


def filled(
    image: NDArray[np.float32], window: tuple[int, int, int] | None
) -> tuple[NDArray[np.float32], tuple[slice, slice, slice]]:
    """A scan (C, i, j, k) of a window's sides at the least, and where in it the scan lies.

    Its edges go on, on both sides alike, as they did in samples larger than a training scan.
    """
    shape = image.shape[1:]
    short = [max(w - n, 0) for w, n in zip(window or shape, shape, strict=True)]
    before = [(n + 1) // 2 for n in short]
    i, j, k = (slice(b, b + n) for b, n in zip(before, shape, strict=True))
    if not any(short):
        return image, (i, j, k)
    pads = [(b, n - b) for b, n in zip(before, short, strict=True)]
    return np.pad(image, [(0, 0), *pads], mode="edge"), (i, j, k)


def by_windows(
    runtime: Runtime,
    image: NDArray[np.float32],
    window: tuple[int, int, int] | None,
    step: float = STEP,
) -> NDArray[np.float16]:
    """Class probabilities (classes, i, j, k) of a prepared scan (C, i, j, k).

    A smaller scan is filled up to a window, a larger one never goes through the network whole: a
    network knows places by their distance from the border, and loses much in another size.

    Parameters
    ----------
    window : voxels that the network sees at once; None: all.
    step : from a window to the next, at most, as a part of its length.
    """
    image, inside = filled(image, window)
    shape = image.shape[1:]
    size = window or shape
    sides = [_shares(n, w, step) for n, w in zip(shape, size, strict=True)]
    total: NDArray[np.float16] | None = None
    for places in product(*sides):
        box = tuple(slice(start, start + w) for (start, _), w in zip(places, size, strict=True))
        i, j, k = (share for _, share in places)
        batch = torch.from_numpy(np.array(image[(slice(None), *box)], order="C"))[None]
        found = runtime.probabilities(batch)[0].numpy()
        if total is None:
            total = np.zeros((found.shape[0], *shape), np.float16)
        total[(slice(None), *box)] += found * (i[:, None, None] * j[:, None] * k)
    assert total is not None
    total = np.ascontiguousarray(total[(slice(None), *inside)])
    return np.minimum(total, 1, out=total)  # shares are rounded, so a sum may come to 1.001


def _shares(length: int, window: int, step: float) -> list[tuple[int, NDArray[np.float32]]]:
    """Where each window begins along a side, and how much it counts at each of its places.

    It counts most in its middle, by a Gaussian with a standard deviation of 1/8 of its length, as
    in nnU-Net; at each place of the side, the shares of all windows sum to 1.
    """
    profile = np.exp(-0.5 * ((np.arange(window) - (window - 1) / 2) / (window / 8)) ** 2)
    places, total = starts(length, window, step), np.zeros(length)
    for place in places:
        total[place : place + window] += profile
    return [(p, (profile / total[p : p + window]).astype(np.float32)) for p in places]
