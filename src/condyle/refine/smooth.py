"""Rounder masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

__all__ = ["TRUNCATE", "smoothed"]

TRUNCATE = 4.0
"""How many standard deviations the Gaussian reaches."""


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
    sigma = sigma_mm / np.asarray(spacing, dtype=float)
    near = gaussian_filter(
        np.asarray(mask, dtype=np.float32), sigma, mode="nearest", truncate=TRUNCATE
    )
    return near > 0.5
