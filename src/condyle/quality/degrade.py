"""Scans made worse on purpose, with the truth kept, to learn how results fail with them.

What is drawn is what goes wrong in practice: noise, blur, a scan that ends too early, slices in the
wrong order, an export through a wrong grey-level window, streaks from metal. A mirror image
from left to right is not among them: it shows a possible body, and nothing in the picture tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from condyle.core import Grid, LabelMap, Volume
from condyle.core.volume import OnGrid
from condyle.errors import UnknownName
from condyle.prepare.crop import lengthwise

__all__ = ["DEGRADATIONS", "degraded"]

SMALLEST = 8
"""Voxels along an axis that a crop leaves, if the scan has as many."""

Image = NDArray[np.float32]
T = TypeVar("T", bound=OnGrid)


def degraded(
    name: str, channels: tuple[Volume, ...], labels: LabelMap, rng: np.random.Generator
) -> tuple[tuple[Volume, ...], LabelMap]:
    """A scan's channels and labels after one accident, from hardly visible to severe.

    Parameters
    ----------
    name : noise, blur, crop, flip, scale or metal; see `DEGRADATIONS`.
    rng : draws how severe it is, and where.

    Returns
    -------
    The channels (float32, or as they were) and the labels, on one grid: the scan's own, less what
    a crop cut off. A flip turns the arrays and leaves the affine, as a wrong header would.

    Examples
    --------
    >>> volume = Volume(np.zeros((16, 16, 30), np.int16), Grid.regular((16, 16, 30)))
    >>> labels = LabelMap.of(np.ones((16, 16, 30), np.uint8), volume.grid)
    >>> (worse,), cut = degraded("crop", (volume,), labels, np.random.default_rng(1))
    >>> worse.grid.same_as(cut.grid), worse.array.size < volume.array.size
    (True, True)
    """
    if name not in DEGRADATIONS:
        raise UnknownName("degradation", name, DEGRADATIONS)
    severity = float(rng.uniform())
    if name == "crop":
        start, stop = _part(labels.grid, rng, severity)
        return tuple(x.cropped(start, stop) for x in channels), labels.cropped(start, stop)
    if name == "flip":
        axis = _upright(labels.grid, rng)
        return tuple(_turned(x, axis) for x in channels), _turned(labels, axis)
    change = INTENSITIES[name]
    drawn = int(rng.integers(2**32))  # all channels suffer alike
    worse = (
        x.with_array(
            change(x.array.astype(np.float32), x.grid, np.random.default_rng(drawn), severity)
        )
        for x in channels
    )
    return tuple(worse), labels


def _part(grid: Grid, rng: np.random.Generator, severity: float) -> tuple[list[int], list[int]]:
    """First voxel, and the one after the last, of what is left: 10 to 60 % are cut off one end."""
    axis = int(rng.integers(3))
    count = grid.shape[axis]
    left = min(count, max(SMALLEST, round(count * (0.9 - 0.5 * severity))))
    start, stop = [0, 0, 0], list(grid.shape)
    if rng.uniform() < 0.5:
        start[axis] = count - left
    else:
        stop[axis] = left
    return start, stop


def _upright(grid: Grid, rng: np.random.Generator) -> int:
    """The array axis from feet to head, or from back to front."""
    return [lengthwise(grid), grid.turn_to("RAS").order[1]][int(rng.integers(2))]


def _turned(thing: T, axis: int) -> T:
    return thing.with_array(np.ascontiguousarray(np.flip(thing.array, axis)))


def _range(array: Image) -> tuple[float, float]:
    """Where the scan's intensities lie, less a hundredth at either end."""
    low, high = np.percentile(array, (1, 99))
    return float(low), float(max(high, low + 1e-6))


def _noise(array: Image, grid: Grid, rng: np.random.Generator, severity: float) -> Image:
    """White noise with a standard deviation of 2 to 50 % of the range of intensities."""
    low, high = _range(array)
    sd = (high - low) * 0.02 * 25**severity
    return array + rng.normal(0, sd, array.shape).astype(np.float32)


def _blur(array: Image, grid: Grid, rng: np.random.Generator, severity: float) -> Image:
    """A Gaussian of half a voxel to four voxels (of the longest side) in standard deviation."""
    sigma = max(grid.spacing) * 0.5 * 8**severity
    sigmas = [sigma / side for side in grid.spacing]
    return np.asarray(gaussian_filter(array, sigmas), np.float32)


def _scale(array: Image, grid: Grid, rng: np.random.Generator, severity: float) -> Image:
    """0 to 255 of a wrong window, as an export for the screen leaves; up to 80 % is cut away."""
    low, high = _range(array)
    below = rng.uniform()
    lost = 0.8 * severity * (high - low)
    low, high = low + below * lost, high - (1 - below) * lost
    return np.rint(np.clip((array - low) / (high - low), 0, 1) * 255).astype(np.float32)


def _metal(array: Image, grid: Grid, rng: np.random.Generator, severity: float) -> Image:
    """A piece of metal: bright itself, rays of dark and bright around it in its axial slices."""
    low, high = _range(array)
    body = lengthwise(grid)
    flat = [axis for axis in range(3) if axis != body]
    sides = [grid.shape[axis] * grid.spacing[axis] for axis in range(3)]
    middle = [side * rng.uniform(0.3, 0.7) for side in sides]
    wide = min(sides[axis] for axis in flat)
    u, v, w = (
        np.arange(grid.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
        * grid.spacing[axis]
        - middle[axis]
        for axis in (*flat, body)
    )
    away = np.hypot(u, v)
    rays = np.cos(rng.integers(6, 14) * np.arctan2(v, u) + rng.uniform(0, 2 * np.pi))
    reach = np.exp(-away / (wide / 3)) * np.exp(-0.5 * (w / (sides[body] * 0.25)) ** 2)
    amplitude = (high - low) * 0.1 * 20**severity
    streaked = array + (amplitude * rays * reach).astype(np.float32)
    radius = wide * (0.02 + 0.06 * severity)
    metal = away**2 + w**2 < radius**2
    return np.where(metal, np.float32(high + (high - low)), streaked).astype(np.float32)


INTENSITIES: dict[str, Callable[[Image, Grid, np.random.Generator, float], Image]] = {
    "noise": _noise,
    "blur": _blur,
    "scale": _scale,
    "metal": _metal,
}

DEGRADATIONS = ("noise", "blur", "crop", "flip", "scale", "metal")
"""What can go wrong: the grey levels, or which part of the body is where."""
