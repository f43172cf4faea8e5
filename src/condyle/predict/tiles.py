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
    places = list(product(*(starts(n, w, step) for n, w in zip(shape, size, strict=True))))
    weight = _towards_the_middle(size)
    total: NDArray[np.float32] | None = None
    weights = np.zeros(shape, np.float32)
    for place in places:
        box = tuple(slice(p, p + s) for p, s in zip(place, size, strict=True))
        batch = torch.from_numpy(np.array(image[(slice(None), *box)], order="C"))[None]
        found = runtime.probabilities(batch)[0].numpy()
        if total is None:
            total = np.zeros((found.shape[0], *shape), np.float32)
        total[(slice(None), *box)] += found * weight
        weights[box] += weight
    assert total is not None
    total /= weights
    return total.astype(np.float16)


def _towards_the_middle(size: list[int]) -> NDArray[np.float32]:
    """Gaussian weights with a standard deviation of 1/8 of each side, at least a thousandth."""
    profiles = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / max(n / 8, 1e-6)) ** 2) for n in size]
    weight = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    return np.maximum(weight / weight.max(), 1e-3).astype(np.float32)
