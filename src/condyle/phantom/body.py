"""Whose leg it is: size, side, pose, tissue, drawn from one generator.

The body's frame is the right leg's: x grows to the side from the midline, y to the front, z to
the head, in mm; the hip joints lie at height 0. A left leg is its mirror image.
Bones have frames of their own in which they are of middle size (`condyle.phantom.bones`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CONDYLES", "HEAD", "HIP", "Body", "Frame"]

Matrix = NDArray[np.float64]

HIP = 88.0
"""Distance of a middle-sized hip joint from the midline."""
HEAD = (-46.0, 7.0, 422.0)
"""Centre of the femoral head in the femur's frame, whose origin is the middle of the knee."""
CONDYLES = (0.0, -6.0, 20.0)
"""Where the knee's flexion axis crosses the middle, in the frames of both femur and tibia."""


@dataclass(frozen=True)
class Frame:
    """A bone's place in the body: turned, scaled, then moved."""

    matrix: Matrix
    scale: float

    @classmethod
    def of(cls, turn: Matrix, scale: float, local: ArrayLike, body: ArrayLike) -> Frame:
        """The frame that puts the bone's point `local` at the body's point `body`."""
        matrix = np.eye(4)
        matrix[:3, :3] = turn * scale
        matrix[:3, 3] = np.asarray(body) - matrix[:3, :3] @ np.asarray(local)
        return cls(matrix, scale)

    def __call__(self, x: float, y: float, z: float) -> Matrix:
        """The place in the body, (3,) mm, of a point of the bone."""
        return self.matrix[:3, :3] @ (x, y, z) + self.matrix[:3, 3]


@dataclass(frozen=True)
class Body:
    """Everything about one patient that the pictures depend on (lengths in mm, tissue in HU)."""

    side: Literal["left", "right"]
    size: float
    pelvis: Frame
    femur: Frame
    tibia: Frame
    fat: float
    muscle: float
    cortex: float
    cortex_hu: float
    trabecular_hu: float
    marrow_hu: float
    vessel_hu: float
    place: tuple[float, float, float]
    streaks: int

    @property
    def hip(self) -> Matrix:
        """Centre of the hip joint."""
        return self.femur(*HEAD)

    @property
    def knee(self) -> Matrix:
        """Middle of the knee's joint line."""
        return self.femur(0.0, 0.0, 0.0)

    @property
    def to_world(self) -> Matrix:
        """(4, 4): the body's frame to RAS+ mm, mirrored where the leg is a left one."""
        matrix = np.eye(4)
        matrix[:3, 3] = self.place
        if self.side == "left":
            matrix[0, 0] = -1.0
        return matrix

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Body:
        """A patient."""
        size = about(rng, 0.98, 0.03)
        wide = size * about(rng, 1.0, 0.02)
        version, flexion = about(rng, 0, 7), rng.uniform(0, 7)
        bent, lean = rng.uniform(0, 9), about(rng, 8.5, 1.0)
        hip = (HIP * wide, 0.0, 0.0)
        femur = Frame.of(turn("y", lean) @ turn("x", flexion) @ turn("z", version), size, HEAD, hip)
        below = turn("y", about(rng, 1.5, 1.0)) @ turn("x", flexion - bent)
        shin = below @ turn("z", version + about(rng, 0, 3))
        long = size * about(rng, 1.0, 0.015)
        tibia = Frame.of(shin, long, CONDYLES, femur(*CONDYLES))
        enhanced = rng.random() < 0.35
        return cls(
            side="left" if rng.random() < 0.5 else "right",
            size=size,
            pelvis=Frame.of(turn("x", about(rng, 0, 4)), wide, (0, 0, 0), hip),
            femur=femur,
            tibia=tibia,
            fat=about(rng, 15.0, 6.0, -1.3),
            muscle=about(rng, 1.0, 0.06),
            cortex=about(rng, 1.0, 0.12),
            cortex_hu=float(rng.uniform(1150, 1550)),
            trabecular_hu=float(rng.uniform(200, 340)),
            marrow_hu=float(rng.uniform(-45, 40)),
            vessel_hu=float(rng.uniform(160, 260) if enhanced else rng.uniform(38, 50)),
            place=(about(rng, 0, 5), about(rng, 0, 12), rng.uniform(-900, 100)),
            streaks=int(rng.integers(2**31)),
        )


def about(rng: np.random.Generator, mean: float, deviation: float, low: float = -2.0) -> float:
    """A normal draw, cut off at two standard deviations (below at `low`)."""
    return mean + deviation * min(max(float(rng.standard_normal()), low), 2.0)


def turn(axis: Literal["x", "y", "z"], degrees: float) -> Matrix:
    """(3, 3) rotation about an axis, by the right-hand rule."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = c
    matrix[second, first], matrix[first, second] = s, -s
    return matrix
