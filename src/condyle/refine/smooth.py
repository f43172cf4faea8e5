"""Rounder masks."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["smoothed"]

TRUNCATE = 4.0
"""How many standard deviations the Gaussian reaches."""
BLOCK = 32
"""Voxels along the sides of the blocks that are rounded one by one, or skipped if alike."""


def smoothed(mask: ArrayLike, sigma_mm: float, spacing: ArrayLike) -> NDArray[np.bool_]:
    """A mask (i, j, k) rounded by a Gaussian: in where more than half of what is near is.

    Edges that are flat stay where they are; what is thinner than about `sigma_mm` is lost. The
    mask goes on beyond the border of the array as it is there.

    Parameters
    ----------
    sigma_mm : standard deviation of the Gaussian in mm.
    spacing : distance in mm between voxels along i, j and k.

    Examples
    --------
    >>> mask = np.zeros((9, 9, 9), bool)
    >>> mask[:4] = mask[6, 4, 4] = True
    >>> smoothed(mask, sigma_mm=1, spacing=(1, 1, 1)).any(axis=(1, 2)).astype(int)
    array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    """
    inside = np.asarray(mask, dtype=bool)
    sigma = sigma_mm / np.asarray(spacing, dtype=float)
    reach = np.ceil(TRUNCATE * sigma).astype(int).tolist()
    rounded = inside.copy()
    for start in product(*(range(0, side, BLOCK) for side in inside.shape)):
        room = tuple(slice(max(0, a - r), a + BLOCK + r) for a, r in zip(start, reach, strict=True))
        around = inside[room]
        if around.all() or not around.any():
            continue
        near = gaussian_filter(around.astype(np.float32), sigma, mode="nearest", truncate=TRUNCATE)
        within = near[tuple(slice(a - r.start, None) for a, r in zip(start, room, strict=True))]
        rounded[tuple(slice(a, a + BLOCK) for a in start)] = within[:BLOCK, :BLOCK, :BLOCK] > 0.5
    return rounded
