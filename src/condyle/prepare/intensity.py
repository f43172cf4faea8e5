"""Intensities as a network likes them: one rule for a whole volume, never slice by slice."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.config import Preparation
from condyle.errors import ConfigError
from condyle.jobs.job import warn

__all__ = ["RULES", "finite", "sample", "scaled"]


Array = NDArray[np.float32]
SAMPLE = 2_000_000
"""Voxels that percentiles are taken from, evenly spread."""


def sample(array: NDArray[Any], most: int = SAMPLE) -> NDArray[Any]:
    """Some of the voxels, evenly spread, always the same ones; all where there are few."""
    flat = array.reshape(-1)
    step = max(1, -(-flat.size // most))
    while step > 1 and math.gcd(step, flat.size) > 1:
        step += 1  # a step that divides a side would see the same few columns only
    return flat[::step]


def _percentiles(array: Array, settings: Preparation) -> tuple[float, float]:
    low, high = np.percentile(sample(array), settings.percentiles)
    return float(low), float(high)


def _flat(low: float, high: float) -> bool:
    """Whether two values differ by no more than float32 rounding: noise must not be blown up."""
    return high - low <= 1e-5 * max(abs(low), abs(high))


def _zscore(array: Array, settings: Preparation) -> Array:
    low, high = _percentiles(array, settings)
    if _flat(low, high):
        return np.zeros_like(array)
    clipped = np.clip(array, low, high)
    spread = clipped.std(dtype=np.float64)
    return (clipped - np.float32(clipped.mean(dtype=np.float64))) / np.float32(spread)


def _window_of(settings: Preparation) -> tuple[float, float]:
    if settings.window is None or not settings.window[0] < settings.window[1]:
        raise ConfigError(
            f"intensity {settings.intensity!r} needs preparation.window = [low, high] in HU, "
            f"got {settings.window}"
        )
    return settings.window


def _ct(array: Array, settings: Preparation) -> Array:
    low, high = _window_of(settings)
    if settings.mean is None or settings.std is None:
        raise ConfigError("intensity 'ct' needs preparation.mean and preparation.std in HU")
    return (np.clip(array, low, high) - np.float32(settings.mean)) / np.float32(settings.std)


def _window(array: Array, settings: Preparation) -> Array:
    low, high = _window_of(settings)
    return (np.clip(array, low, high) - np.float32(low)) / np.float32(high - low)


def _minmax(array: Array, settings: Preparation) -> Array:
    low, high = float(array.min()), float(array.max())
    if _flat(low, high):
        return np.zeros_like(array)
    return (array - np.float32(low)) / np.float32(high - low)


def _max(array: Array, settings: Preparation) -> Array:
    high = float(array.max())
    return array / np.float32(high) if high > 0 else np.zeros_like(array)


RULES: dict[str, Callable[[Array, Preparation], Array]] = {
    "zscore": _zscore,
    "ct": _ct,
    "window": _window,
    "minmax": _minmax,
    "max": _max,
}


def scaled(array: Array, settings: Preparation) -> Array:
    """The volume (i, j, k) with its intensities scaled by the settings' rule, float32."""
    return RULES[settings.intensity](array, settings)


def finite(array: NDArray[Any], what: str) -> NDArray[Any]:
    """The array with NaN and infinite values put to its lowest finite one, and a warning."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    good = np.isfinite(array)
    if good.all():
        return array
    bad = int(array.size - np.count_nonzero(good))
    lowest = array[good].min() if good.any() else 0
    warn(f"{what} holds {bad} voxels that are NaN or infinite: read as {lowest:g}")
    return np.where(good, array, lowest)
