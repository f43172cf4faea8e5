"""The patient on the table: bones, soft tissue and air, as HU and as true labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from condyle.core import LOWER_LIMB, Grid
from condyle.phantom import flesh
from condyle.phantom.body import Body
from condyle.phantom.bones import Bone, skeleton
from condyle.phantom.shapes import Field, Points, Waves, capsule, intersection

__all__ = ["Scene"]

AIR = -1000.0
FAT = -98.0
MUSCLE = 54.0
CARTILAGE = 95.0
TENDON = 85.0
FAR = 1e3


class Scene:
    """The patient on the table, sampled several times a voxel.

    The factors are odd, so that the middle sample of each voxel lies at its centre: the truth is
    the sign of the bones' distances there.
    """

    def __init__(self, body: Body, grid: Grid):
        finest = min(grid.spacing)
        f = [2 * round((s / finest - 1) / 2) + 1 for s in grid.spacing]
        self.factors = (f[0], f[1], f[2])
        n = [a * b for a, b in zip(grid.shape, f, strict=True)]
        self.body = body
        self.grid = grid.resized((n[0], n[1], n[2]))
        self.soft = float(np.mean(self.grid.spacing))
        self.near: Field = np.full(self.grid.shape, FAR, np.float32)
        self.bones: list[tuple[Bone, tuple[slice, ...], Points, Field]] = []
        self.truth = np.zeros(grid.shape, np.uint8)
        for bone in skeleton(body):
            self.place(bone)

    def window(
        self, frame: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
    ) -> tuple[slice, ...]:
        """The part of the array that holds a box of a frame (4, 4) of the body."""
        ends = np.array([low, high])
        corners = np.array(
            [[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        )
        body = corners @ frame[:3, :3].T + frame[:3, 3]
        at = self.grid.world_to_index(
            body @ self.body.to_world[:3, :3].T + self.body.to_world[:3, 3]
        )
        first = np.floor(at.min(axis=0)).astype(int).clip(0, self.grid.shape)
        last = (np.ceil(at.max(axis=0)).astype(int) + 1).clip(0, self.grid.shape)
        return tuple(slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))

    def points(self, frame: NDArray[np.float64], window: tuple[slice, ...]) -> Points:
        """Coordinates in a frame of the body of the samples in a part of the array."""
        matrix = np.linalg.inv(self.body.to_world @ frame) @ self.grid.affine
        i, j, k = np.ogrid[window]

        def row(a: float, b: float, c: float, d: float) -> Field:
            lines = (np.asarray(q, dtype=np.float32) for q in (a * i + d, b * j, c * k))
            x, y, z = lines
            return x + y + z

        r = matrix.tolist()
        return row(*r[0]), row(*r[1]), row(*r[2])

    def place(self, bone: Bone) -> None:
        """Add a bone, its gap kept from those before it, to the distances and to the truth."""
        margin = 6.0 / bone.frame.scale
        window = self.window(
            bone.frame.matrix, np.array(bone.low) - margin, np.array(bone.high) + margin
        )
        if any(w.start >= w.stop for w in window):
            return
        p = self.points(bone.frame.matrix, window)
        distance = bone.distance(p) * bone.frame.scale
        distance = np.maximum(distance, bone.gap - self.near[window])
        self.near[window] = np.minimum(self.near[window], distance)
        self.bones.append((bone, window, p, distance))
        number = LOWER_LIMB.to_dict().get(bone.name)
        if number is not None:
            centre = [
                slice((f // 2 - w.start) % f, None, f)
                for f, w in zip(self.factors, window, strict=True)
            ]
            inside = distance[tuple(centre)] < 0
            first = [
                (w.start + c.start) // f
                for w, c, f in zip(window, centre, self.factors, strict=True)
            ]
            box = tuple(slice(a, a + n) for a, n in zip(first, inside.shape, strict=True))
            self.truth[box][inside] = number

    def cover(self, distance: Field) -> Field:
        """How much of a sample lies inside a shape, 0 to 1, from the distance to its surface."""
        return (0.5 - distance * (1 / self.soft)).clip(0, 1)

    def paint(self, hu: Field, distance: Field, value: Field | float) -> None:
        """Blend a shape of some HU into a picture, in place."""
        hu += self.cover(distance) * (value - hu)

    def picture(self) -> Field:
        """HU at every sample."""
        hu: Field = np.full(self.grid.shape, AIR, np.float32)
        whole = tuple(slice(0, n) for n in self.grid.shape)
        p = self.points(np.eye(4), whole)
        self.paint_body(hu, p)
        for bone, window, q, distance in self.bones:
            self.paint_bone(hu[window], bone, q, distance)
        return hu

    def paint_body(self, hu: Field, p: Points) -> None:
        """Table, skin, fat and everything soft."""
        body = self.body
        x, y, z = p
        table = y - (x * x * (1 / 1500) - 92 * body.size * body.muscle - 0.9 * body.fat)
        slab = np.abs(table + 14) - 10
        self.paint(hu, slab, 300.0)
        self.paint(hu, slab + 3.2, -890.0)
        surface = intersection(flesh.skin(body, p), -table - 0.5, 12)
        self.paint(hu, surface, 25.0)
        self.paint(hu, surface + 2.0, FAT)
        rng = np.random.default_rng(body.streaks)
        weave = Waves.drawn(rng, (9, 40), 5)(p)
        fascia = surface + flesh.subcutaneous(body, z) + 2 + weave * 0.8
        self.paint_muscles(hu, p, fascia, weave)
        self.paint_organs(hu, p)
        joints = np.minimum(
            distance_to(p, body.hip.tolist(), 34 * body.size),
            distance_to(p, body.knee.tolist(), 44 * body.size),
        )
        self.paint(hu, np.maximum(self.near - 2.6, joints), CARTILAGE)

    def paint_muscles(self, hu: Field, p: Points, fascia: Field, weave: Field) -> None:
        """Muscles within the fascia, planes of fat where they meet, vessels with fat about them."""
        body = self.body
        first: Field = np.full(hu.shape, FAR, np.float32)
        second = first.copy()
        for rod in flesh.muscles(body):
            window, q = self.about(rod, 14)
            d = capsule(q, *rod) + weave[window] * 0.9
            second[window] = np.minimum(second[window], np.maximum(first[window], d))
            first[window] = np.minimum(first[window], d)
        plane = 0.4 + 0.04 * body.fat
        shape = np.maximum(np.maximum(first - 10, plane - (second - first) / 2), fascia)
        belly = np.maximum(78 * body.size - p[2], -62 * body.size - p[1])
        shape = np.minimum(shape, np.maximum(np.abs(fascia + 6) - 6, belly))
        self.paint(hu, shape, MUSCLE + 5 * weave - 0.4 * body.fat)
        vessels, tendons = flesh.vessels(body), flesh.tendons(body)
        sheaths = [(rod, 3.0, FAT + 20) for rod in vessels]
        strands = [(rod, 0.0, body.vessel_hu) for rod in vessels]
        for rod, wider, value in [*sheaths, *strands, *((rod, 0.0, TENDON) for rod in tendons)]:
            window, q = self.about(rod, 5)
            self.paint(hu[window], capsule(q, *rod) - wider, value)

    def paint_organs(self, hu: Field, p: Points) -> None:
        """What the pelvis holds."""
        bounds = np.array([(-200, -90, -60), (120, 95, 400)]) * self.body.size
        window = self.window(np.eye(4), bounds[0], bounds[1])
        if all(w.start < w.stop for w in window):
            q = (p[0][window], p[1][window], p[2][window])
            for distance, value in flesh.organs(self.body, q):
                self.paint(hu[window], distance, value)

    def about(self, rod: flesh.Rod, margin: float) -> tuple[tuple[slice, ...], Points]:
        """The part of the array that holds a rod and a margin in mm, and its points."""
        reach = max(rod[2:]) + margin
        ends = np.array(rod[:2])
        window = self.window(np.eye(4), ends.min(axis=0) - reach, ends.max(axis=0) + reach)
        return window, self.points(np.eye(4), window)

    def paint_bone(self, hu: Field, bone: Bone, p: Points, distance: Field) -> None:
        """A bone's shell and what fills it, spongy towards its ends."""
        body = self.body
        grain = np.random.default_rng(body.streaks).standard_normal(hu.shape, np.float32)
        grain = gaussian_filter(grain, [1.8 / s for s in self.grid.spacing], truncate=2)
        grain *= 1 / max(float(grain.std()), 1e-6)
        filling = (
            bone.filling(p[2]) * (1 + 0.08 * grain) * (1 + 0.2 * np.exp(distance.clip(-40, 0) / 6))
        )
        shell = self.cover(-distance - bone.cortex(p[2]) * bone.frame.scale)
        inside = filling + shell * (body.cortex_hu - filling)
        self.paint(hu, distance, inside)


def distance_to(p: Points, centre: list[float], radius: float) -> Field:
    """Distance in mm to a ball."""
    x, y, z = (q - c for q, c in zip(p, centre, strict=True))
    return np.sqrt(x * x + y * y + z * z) - radius
