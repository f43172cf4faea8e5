"""A prepared scan through a 3D network, window by window, each weighted towards its middle."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from condyle.predict.runtimes.runtime import Runtime

__all__ = ["by_windows", "filled", "starts"]

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
