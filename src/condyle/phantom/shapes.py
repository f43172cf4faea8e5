"""Implicit shapes: signed distances in mm, negative inside, at points given as three arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Field",
    "Points",
    "Profile",
    "Triple",
    "Waves",
    "capsule",
    "cut",
    "ellipsoid",
    "intersection",
    "loft",
    "union",
]

Field = NDArray[np.floating[Any]]
"""Numbers at sample points; float32, though numpy types what plain numbers make of it wider."""
Points = tuple[Field, Field, Field]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Profile:
    """A smooth curve through knots: a radius, a thickness or a centre along a limb.

    Examples
    --------
    >>> radius = Profile.of((0, 100, 200), (30, 14, 16))
    >>> radius(np.float32([0, 50, 400])).tolist()
    [30.0, 18.875, 16.0]
    """

    start: float
    table: Field
    step: float = 0.25

    @classmethod
    def of(cls, knots: ArrayLike, values: ArrayLike) -> Profile:
        """The monotone cubic through the knots (ascending, mm); constant beyond the ends."""
        from scipy.interpolate import PchipInterpolator

        at = np.asarray(knots, dtype=float)
        fine = np.arange(at[0], at[-1] + cls.step / 2, cls.step)
        table = PchipInterpolator(at, np.asarray(values, dtype=float))(fine)
        return cls(float(at[0]), np.asarray(table, dtype=np.float32))

    def __call__(self, z: Field) -> Field:
        """The curve's values at z, to the nearest quarter of a millimetre."""
        at = ((z - self.start) * (1 / self.step) + 0.5).clip(0, len(self.table) - 1)
        return self.table.take(at.astype(np.int32))


@dataclass(frozen=True)
class Waves:
    """A random texture, fixed in space, of about unit standard deviation: a few plane waves."""

    vectors: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def drawn(cls, rng: np.random.Generator, lengths: tuple[float, float], count: int) -> Waves:
        """Waves in random directions with wavelengths in mm between two bounds."""
        ways = rng.normal(size=(count, 3))
        ways *= (
            2
            * np.pi
            / rng.uniform(*lengths, count)[:, None]
            / np.linalg.norm(ways, axis=1)[:, None]
        )
        return cls(ways, rng.uniform(0, 2 * np.pi, count))

    def __call__(self, p: Points) -> Field:
        """The texture at the points."""
        x, y, z = p
        total = np.zeros(x.shape, np.float32)
        for (a, b, c), phase in zip(self.vectors.tolist(), self.phases.tolist(), strict=True):
            total += np.sin(a * x + b * y + c * z + phase)
        return total * float(np.sqrt(2 / len(self.phases)))


def ellipsoid(p: Points, centre: Triple, radii: Triple) -> Field:
    """Distance to an ellipsoid along the axes; exact on its surface and to first order near it."""
    near: Field = np.full(p[0].shape, 1e-6, np.float32)
    steep: Field = np.full(p[0].shape, 1e-6 / min(radii) ** 2, np.float32)
    for x, c, r in zip(p, centre, radii, strict=True):
        u = (x - c) * (1 / r)
        u *= u
        near += u
        steep += u * (1 / r**2)
    size = np.sqrt(near)
    return size * (size - 1) / np.sqrt(steep)


def capsule(p: Points, a: Sequence[float], b: Sequence[float], ra: float, rb: float) -> Field:
    """Distance to a round rod from a to b whose radius goes from `ra` to `rb`."""
    ways = [float(end - start) for start, end in zip(a, b, strict=True)]
    x, y, z = (q - float(start) for q, start in zip(p, a, strict=True))
    t = (x * ways[0] + y * ways[1] + z * ways[2]) * (1 / sum(w * w for w in ways))
    np.clip(t, 0, 1, out=t)
    x -= t * ways[0]
    y -= t * ways[1]
    z -= t * ways[2]
    return np.sqrt(x * x + y * y + z * z) - (t * (rb - ra) + ra)


def loft(
    p: Points, rows: Sequence[tuple[float, ...]], lobes: float = 0.0, cap: float = 6.0
) -> Field:
    """Distance to a body of elliptic slices: rows of (z, centre x, centre y, radius x, radius y).

    `lobes` makes the slices three-cornered, one corner to the front; `cap` rounds both ends.
    """
    columns = np.asarray(sorted(rows), dtype=float).T
    x, y, z = p
    cx, cy, rx, ry = (Profile.of(columns[0], column)(z) for column in columns[1:])
    u = (x - cx) / rx
    v = (y - cy) / ry
    size = np.sqrt(u * u + v * v + 1e-6)
    steep = np.sqrt((u / rx) ** 2 + (v / ry) ** 2 + 1e-6 / np.minimum(rx, ry) ** 2)
    ratio = size / steep
    if lobes:
        s = v / size
        size = size / (1 - lobes * (3 * s - 4 * s**3))
    side = (size - 1) * ratio
    ends = np.maximum(columns[0, 0] - z, z - columns[0, -1]).astype(np.float32)
    return intersection(side, ends, cap)


def union(a: Field, b: Field, blend: float) -> Field:
    """Both shapes, joined by a fillet about `blend` mm wide."""
    near = np.maximum(blend - np.abs(a - b), 0)
    return np.minimum(a, b) - near * near * (0.25 / blend)


def intersection(a: Field, b: Field, blend: float) -> Field:
    """What both shapes share, its edge rounded over `blend` mm."""
    return -union(-a, -b, blend)


def cut(a: Field, b: Field, blend: float) -> Field:
    """The first shape less the second, the edge rounded over `blend` mm."""
    return -union(-a, b, blend)
