"""The scanner: a grid about the leg, the picture on it with partial volume, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from condyle.core import Grid
from condyle.errors import UnknownName
from condyle.phantom import flesh
from condyle.phantom.body import Body, turn
from condyle.phantom.shapes import Field

__all__ = ["EXTENTS", "Extent", "Scan", "planned"]

Extent = Literal["leg", "knee", "hip"]
EXTENTS: tuple[Extent, ...] = ("leg", "knee", "hip")


@dataclass(frozen=True)
class Scan:
    """How the patient is scanned: the grid, the array's order, the blur and the noise.

    Parameters
    ----------
    grid : nearest to RAS.
    orientation : the order and sense of the array's axes in the file.
    blur : standard deviation of the point spread in mm, in the slice and across slices.
    noise : standard deviation in HU.
    grain : how far the noise is correlated in the slice, in voxels.
    """

    grid: Grid
    orientation: str
    blur: tuple[float, float]
    noise: float
    grain: float

    def taken(
        self, picture: Field, factors: tuple[int, int, int], rng: np.random.Generator
    ) -> NDArray[np.int16]:
        """HU on the scan's grid from a picture on the finer one, blurred and noisy."""
        step = [s / f for s, f in zip(self.grid.spacing, factors, strict=True)]
        sharp = gaussian_filter(
            picture, [self.blur[int(a == 2)] / d for a, d in enumerate(step)], truncate=3
        )
        for axis, factor in enumerate(factors):
            if factor > 1:
                shape = (*sharp.shape[:axis], -1, factor, *sharp.shape[axis + 1 :])
                sharp = sharp.reshape(shape).mean(axis=axis + 1)
        grains = rng.standard_normal(sharp.shape, np.float32)
        for axis in (0, 1):
            grains = gaussian_filter1d(grains, self.grain, axis=axis)
        noisy = sharp + grains * (self.noise / float(grains.std()))
        return np.rint(noisy).clip(-1024, 3071).astype(np.int16)


def planned(
    rng: np.random.Generator, body: Body, extent: Extent, spacing: tuple[float, float, float] | None
) -> Scan:
    """A scan of the leg, the knee or the hip: field of view, spacing, obliquity, drawn."""
    if extent not in EXTENTS:
        raise UnknownName("extent", extent, EXTENTS)
    low, high = field_of_view(body, extent, rng)
    fine, coarse = {
        "leg": ((1.85, 2.2), (5.5, 6.5)),
        "hip": ((1.8, 2.2), (2.5, 3.5)),
        "knee": ((1.15, 1.4), (1.0, 1.5)),
    }[extent]
    pixel, slices = rng.uniform(*fine), rng.uniform(*coarse)
    steps = np.array(spacing if spacing is not None else (pixel, pixel, slices))
    oblique = rng.random() < 0.4
    tilt, twist = (8.0, 12.0) if extent == "knee" else (2.5, 9.0)
    angles = rng.uniform(-1, 1, 3) * (tilt, tilt, twist) if oblique else np.zeros(3)
    matrix = turn("x", angles[0]) @ turn("y", angles[1]) @ turn("z", angles[2])
    shape = np.maximum(np.ceil((high - low) / steps - 1e-6), 1).astype(int)
    middle = (body.to_world @ [*((low + high) / 2), 1])[:3]
    affine = np.eye(4)
    affine[:3, :3] = matrix * steps
    affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
    orientation = str(rng.choice(["RAS", "LPS", "LAS", "LPI"], p=[0.4, 0.3, 0.2, 0.1]))
    blur = (0.3 + rng.uniform(0.25, 0.45) * steps[0], rng.uniform(0.25, 0.4) * steps[2])
    return Scan(
        Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine),
        orientation,
        (float(blur[0]), float(blur[1])),
        float(rng.uniform(10, 25)),
        float(rng.uniform(0.5, 0.8)),
    )


def field_of_view(body: Body, extent: Extent, rng: np.random.Generator) -> NDArray[np.float64]:
    """(2, 3) low and high corner of the scanned box in the body's frame, mm."""
    s = body.size
    below = rng.uniform(105, 135)
    if extent == "knee":
        x, y, z = body.knee
        half = 72 * s
        return np.array([(x - half, y - half, z - 62 * s), (x + half, y + half, z + 70 * s)])
    wide = flesh.girth(body) + 22
    top = 146 * float(body.pelvis.scale)
    bottom = float(body.knee[2]) - below if extent == "leg" else -150.0 * s
    half = wide / 2
    return np.array([(-10, -28 - half, bottom), (wide, -6 + half, top)])
