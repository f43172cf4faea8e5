"""A prepared scan through a 3D network, window by window, each weighted towards its middle."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from condyle.predict.runtime import Runtime

__all__ = ["by_windows", "starts"]

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


def by_windows(
    runtime: Runtime,
    image: NDArray[np.float32],
    window: tuple[int, int, int] | None,
    step: float = STEP,
) -> NDArray[np.float16]:
    """Class probabilities (classes, i, j, k) of a prepared scan (C, i, j, k).

    A scan that fits into one window goes through the network whole, as it is. A larger one never
    does: a network knows places by their distance from the border, and loses much in another size.

    Parameters
    ----------
    window : voxels that the network sees at once; None: all.
    step : from a window to the next, at most, as a part of its length.
    """
    shape = image.shape[1:]
    size = [min(w, n) for w, n in zip(window or shape, shape, strict=True)]
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
