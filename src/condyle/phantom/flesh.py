"""What surrounds the bones: skin, fat, muscles between their fat planes, vessels, organs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from condyle.phantom.body import Body
from condyle.phantom.shapes import Field, Points, Triple, capsule, ellipsoid, loft, union

__all__ = ["Rod", "muscles", "organs", "skin", "subcutaneous", "tendons", "vessels"]

Rod = tuple[Triple, Triple, float, float]
"""Start, end, radius at the start, radius at the end: in the body's frame, mm."""

THIGH = {
    "rectus femoris": ((4, 46, 0.02), (8, 36, 0.88), 14, 8),
    "vastus lateralis": ((52, 4, 0.06), (36, 12, 0.92), 24, 12),
    "vastus intermedius": ((26, 22, 0.15), (12, 26, 0.9), 16, 12),
    "vastus medialis": ((-6, 34, 0.25), (-32, 14, 0.94), 14, 20),
    "sartorius": ((22, 62, -0.05), (-46, -14, 1.05), 9, 8),
    "adductor longus": ((-44, 26, 0.02), (-8, 10, 0.62), 14, 9),
    "adductor magnus": ((-30, -12, 0.0), (-14, -6, 0.9), 26, 12),
    "gracilis": ((-64, 4, 0.0), (-46, -24, 1.05), 9, 6),
    "semimembranosus": ((-14, -48, 0.12), (-26, -34, 1.02), 11, 16),
    "semitendinosus": ((2, -58, 0.1), (-34, -46, 1.04), 14, 6),
    "biceps femoris, short head": ((24, -16, 0.3), (22, -20, 0.95), 10, 10),
    "biceps femoris": ((20, -46, 0.1), (34, -32, 1.06), 16, 13),
}
"""Muscles of the thigh: (right, front of the thigh's middle line, fraction from hip to knee)."""

CALF = {
    "gastrocnemius medialis": ((-20, -34, -0.1), (-14, -40, 0.62), 14, 15),
    "gastrocnemius lateralis": ((20, -34, -0.1), (20, -38, 0.6), 12, 13),
    "soleus": ((6, -30, 0.06), (4, -30, 0.9), 15, 14),
    "popliteus": ((-2, -22, 0.02), (0, -14, 0.6), 12, 9),
    "tibialis anterior": ((24, 8, 0.1), (18, 8, 0.8), 13, 10),
    "peroneus": ((38, -6, 0.12), (34, -12, 0.85), 9, 8),
}
"""Muscles of the calf: the same, from knee to ankle and beside the tibia."""

HIP = {
    "gluteus maximus": ((-58, -92, 62), (48, -52, -66), 26, 30),
    "gluteus maximus, lower": ((-52, -80, 10), (30, -62, -70), 26, 28),
    "gluteus medius": ((34, -4, 100), (60, -14, 10), 25, 12),
    "gluteus medius, back": ((0, -48, 96), (56, -30, 14), 22, 12),
    "gluteus minimus": ((30, 12, 62), (58, 2, 8), 15, 9),
    "tensor fasciae latae": ((46, 50, 70), (66, 16, -80), 11, 13),
    "psoas": ((-50, -22, 170), (-14, 34, 6), 20, 15),
    "psoas, lower": ((-14, 34, 6), (2, -4, -62), 15, 9),
    "iliacus": ((-14, 6, 104), (-4, 32, 14), 19, 12),
    "obturator externus": ((-52, 22, -36), (14, -22, -10), 13, 8),
    "obturator internus": ((-48, 4, -22), (-40, -34, 18), 12, 9),
    "piriformis": ((-66, -74, 42), (50, -22, 14), 12, 8),
    "quadratus femoris": ((-14, -48, -48), (42, -28, -32), 12, 10),
    "pectineus": ((-62, 50, -8), (4, -2, -66), 12, 9),
    "adductors' origin": ((-70, 32, -48), (-30, 4, -110), 16, 24),
    "erector spinae": ((-66, -98, 60), (-58, -90, 190), 20, 28),
}
"""Muscles about the hip: points from the hip joint in mm of a middle-sized body."""


def skin(body: Body, p: Points) -> Field:
    """Distance to the skin of trunk and leg (both legs: the body is mirrored at its midline)."""
    x, y, z = p
    q = (np.abs(x), y, z)
    return union(leg(body, q), trunk(body, q), 40)


def girth(body: Body) -> float:
    """Half the body's width at the hips, mm."""
    return float(body.hip[0]) + 66 * body.muscle * body.size + 1.25 * body.fat


def trunk(body: Body, p: Points) -> Field:
    """Pelvis and belly."""
    s, f = body.size, body.fat
    wide = girth(body)
    deep = 86 * s * body.muscle + 1.1 * f
    rows = [
        (-84 * s, 0, -12, wide - 26, deep - 14),
        (-40 * s, 0, -10, wide - 4, deep - 3),
        (0, 0, -9, wide, deep),
        (70 * s, 0, -8, wide - 8, deep + 4),
        (130 * s, 0, -4, wide - 16 + 0.3 * f, deep + 5 + 0.3 * f),
        (400, 0, 0, wide - 16, deep + 8),
    ]
    return loft(p, rows, cap=40)


def leg(body: Body, p: Points) -> Field:
    """Thigh, knee and calf, of elliptic slices about the line through hip, knee and ankle."""
    m, f = body.muscle * body.size, body.fat
    ankle = body.tibia(0, 0, -360)
    rows: list[tuple[float, float, float, float, float]] = [
        (float(body.hip[2]) + 120, float(body.hip[0]) + 6, -10, 74 * m, 78 * m),
    ]
    for t, dx, dy, rx, ry, fat in (
        (0.1, 4, -8, 69, 78, 1.1), (0.25, 3, -6, 66, 76, 1.0), (0.5, 2, -3, 61, 67, 0.85),
        (0.75, 1, -5, 52, 57, 0.6), (0.88, 0, -2, 47, 54, 0.4), (1.0, 0, 2, 48, 57, 0.25),
    ):  # fmt: skip
        x, y, z = thigh_line(body, t)
        rows.append((z, x + dx, y + dy, rx * m + fat * f, ry * m + fat * f))
    for t, dx, dy, rx, ry in (
        (0.08, 2, -10, 47, 43), (0.2, 6, -20, 48, 45), (0.35, 7, -22, 48, 47),
        (0.7, 4, -12, 37, 40), (1.0, 3, -4, 30, 34),
    ):  # fmt: skip
        x, y, z = body.knee + t * (ankle - body.knee)
        rows.append((float(z), float(x) + dx, float(y) + dy, rx * m + 0.35 * f, ry * m + 0.35 * f))
    rows.append((rows[-1][0] - 200, *rows[-1][1:]))
    return loft(p, rows, cap=10)


def thigh_line(body: Body, t: float) -> tuple[float, float, float]:
    """The middle of the thigh at a fraction of the way from hip (0) to knee (1)."""
    x, y, z = body.hip + t * (body.knee - body.hip)
    return float(x), float(y), float(z)


def subcutaneous(body: Body, z: Field) -> Field:
    """Thickness in mm of the fat under the skin at each height of the body."""
    knee = float(body.knee[2])
    knots = (knee - 380, knee - 40, knee, 0.75 * knee, 0.35 * knee, 0, 120)
    values = (0.3, 0.32, 0.25, 0.5, 0.85, 1.15, 1.2)
    return (np.interp(z, knots, values) * body.fat).astype(np.float32)


def muscles(body: Body) -> list[Rod]:
    """The muscles as rods; where two meet runs a plane of fat."""
    rods: list[Rod] = []
    m = body.muscle * body.size
    for (ax, ay, ta), (bx, by, tb), ra, rb in THIGH.values():
        rods.append(rod(thigh_line(body, ta), thigh_line(body, tb), (ax, ay, bx, by), ra, rb, m))
    ankle = body.tibia(0, 0, -360)
    for (ax, ay, ta), (bx, by, tb), ra, rb in CALF.values():
        a, b = (body.knee + t * (ankle - body.knee) for t in (ta, tb))
        rods.append(rod(a.tolist(), b.tolist(), (ax, ay, bx, by), ra, rb, m))
    for a, b, ra, rb in HIP.values():
        start, end = (body.pelvis(*q).tolist() for q in (a, b))
        rods.append(rod(start, end, (0, 0, 0, 0), ra, rb, m))
    return rods


def rod(
    a: Sequence[float],
    b: Sequence[float],
    beside: tuple[float, float, float, float],
    ra: float,
    rb: float,
    m: float,
) -> Rod:
    """A rod whose ends lie (x, y, x, y) beside two points, everything m times as thick."""
    ax, ay, bx, by = beside
    start = (a[0] + ax * m, a[1] + ay * m, a[2])
    end = (b[0] + bx * m, b[1] + by * m, b[2])
    return start, end, ra * m, rb * m


def vessels(body: Body) -> list[Rod]:
    """Femoral artery and vein, from the groin to the back of the knee, with those above."""
    m = body.muscle * body.size
    course = [
        (body.pelvis(-58, -8, 130), 7.0),
        (body.pelvis(-34, 40, 40), 6.0),
        (body.pelvis(-18, 52, 0), 5.2),
        (np.add(thigh_line(body, 0.35), (-24 * m, 26 * m, 0)), 4.6),
        (np.add(thigh_line(body, 0.7), (-28 * m, -8 * m, 0)), 4.2),
        (np.add(thigh_line(body, 0.95), (0, -34 * m, 0)), 3.8),
        (body.tibia(2, -34, -60), 3.2),
        (body.tibia(6, -22, -340), 2.4),
    ]
    rods: list[Rod] = []
    for (a, ra), (b, rb) in pairwise(course):
        start, end = as_triple(a), as_triple(b)
        rods.append((start, end, ra, rb))
        aside = (-9.5, -6.0, 0.0)
        rods.append((as_triple(a + aside), as_triple(b + aside), ra * 1.15, rb * 1.15))
    return rods


def tendons(body: Body) -> list[Rod]:
    """Quadriceps and patellar tendon, and the two cruciate ligaments."""
    f, t = body.femur, body.tibia
    ends = [
        (f(6, 42, 90), f(3, 50, 42), 6.0, 4.5),
        (f(3, 50, 6), t(3, 29, -40), 4.5, 4.0),
        (f(6, -14, 16), t(-2, 8, -4), 3.5, 3.5),
        (f(-6, -6, 12), t(0, -22, -8), 4.0, 4.0),
    ]
    return [(as_triple(a), as_triple(b), ra, rb) for a, b, ra, rb in ends]


def as_triple(point: NDArray[np.float64]) -> Triple:
    """Three plain numbers."""
    x, y, z = point.tolist()
    return x, y, z


def organs(body: Body, p: Points) -> list[tuple[Field, float]]:
    """Distance to, and HU of, what the pelvis holds: bladder, disc, rectum, gas, loops of bowel."""
    s = body.size
    rng = np.random.default_rng(body.streaks)
    found = [
        (ellipsoid(p, (0, 34 * s, 6 * s), (42 * s, 28 * s, 30 * s)), 6.0),
        (capsule(p, (0, -38 * s, 95 * s), (0, -36 * s, 170 * s), 20 * s, 20 * s), 78.0),
        (capsule(p, (0, -52 * s, -30 * s), (0, -40 * s, 60 * s), 15 * s, 17 * s), 32.0),
        (capsule(p, (4, -52 * s, 0), (4, -44 * s, 40 * s), 6 * s, 7 * s), -700.0),
    ]
    for _ in range(7):
        x, y, z = rng.uniform((0, -12, 62), (52, 62, 150)) * s
        way = rng.normal(0, 14, 3)
        ends = (x, y, z), (x + way[0], y + way[1], z + 0.5 * way[2])
        found.append((capsule(p, *ends, 13, 14), float(rng.uniform(18, 48))))
        if rng.random() < 0.35:
            bubble = ellipsoid(p, (x, y + 5, z), (7, 5, 8))
            found.append((bubble, -850.0))
    return found
