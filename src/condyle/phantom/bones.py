"""The bones, as implicit shapes of middle size in frames of their own (mm).

In each frame x grows to the side, y to the front, z to the head. Femur, tibia, fibula and patella
count from the middle of the knee, pelvis and spine from the hip joint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from condyle.phantom.body import HEAD, HIP, Body, Frame
from condyle.phantom.shapes import (
    Field,
    Points,
    Profile,
    Triple,
    capsule,
    cut,
    ellipsoid,
    intersection,
    loft,
    union,
)

__all__ = ["Bone", "skeleton"]


@dataclass(frozen=True)
class Bone:
    """One bone: where it is, its surface, and what it is made of.

    Parameters
    ----------
    name : its structure's name in the label scheme, or another name if it has no label.
    frame : its place in the body.
    low, high : a box in the bone's frame that holds it.
    distance : signed distance in mm at points of the bone's frame.
    gap : how far it keeps, in mm, from the bones before it in the skeleton.
    cortex : thickness of the shell in mm along the bone's z.
    filling : HU inside the shell along the bone's z.
    """

    name: str
    frame: Frame
    low: Triple
    high: Triple
    distance: Callable[[Points], Field]
    gap: float
    cortex: Profile
    filling: Profile


def femur(p: Points) -> Field:
    """Head, neck, trochanters, bowed shaft, two condyles with notch and trochlea."""
    shaft = loft(
        p,
        [
            (22, 0, -2, 35, 20), (40, 0, 1, 33, 20), (62, 0, 3, 25, 17), (90, 0, 5, 17.5, 14.5),
            (130, 0, 8, 14.5, 14), (200, 1, 11, 13, 13.4), (270, 2, 11, 12.8, 13.4),
            (330, 2, 6, 14, 14.4), (365, 1, 1, 16.5, 16), (398, 3, -3, 16, 16),
        ],
    )  # fmt: skip
    neck = union(
        capsule(p, HEAD, (-22, 3, 402), 19, 15), capsule(p, (-22, 3, 402), (2, -2, 378), 15, 19), 6
    )
    upper = union(shaft, neck, 14)
    upper = union(upper, ellipsoid(p, (11, -8, 395), (15, 19, 25)), 8)
    upper = union(upper, ellipsoid(p, (-14, -12, 352), (9, 9, 15)), 8)
    upper = union(upper, ellipsoid(p, HEAD, (23.5, 23.5, 23.5)), 4)
    medial = ellipsoid(p, (-23.5, -8, 17.4), (16, 31, 20.5))
    lateral = ellipsoid(p, (23.5, -6, 24), (16, 30, 20.5))
    trochlea = union(
        ellipsoid(p, (-13, 13, 23), (18, 17, 20)), ellipsoid(p, (15, 15, 29), (18, 18, 22)), 5
    )
    lower = union(union(union(medial, lateral, 2), trochlea, 10), upper, 12)
    notch = capsule(p, (0, -45, 4), (0, -6, 6), 12, 9)
    return cut(lower, notch, 5)


def tibia(p: Points) -> Field:
    """Plateau with eminences and tuberosity, three-cornered shaft that tapers, flare below."""
    shaft = loft(
        p,
        [
            (-362, -3, 2, 21, 17), (-345, -2, 2, 19, 16), (-310, -1, 2, 13.5, 12.5),
            (-230, 0, 3, 12, 13), (-140, 0, 4, 13.5, 15), (-85, 0, 4, 17, 17.5),
            (-55, 0, 1, 22.5, 19.5), (-34, 0, -2, 31, 22.5), (-18, 0, -3, 38, 25),
            (-2, 0, -3, 37, 24),
        ],
        lobes=0.10,
        cap=4,
    )  # fmt: skip
    shaft = cut(shaft, capsule(p, (0, -40, 8), (0, -36, -30), 12, 10), 8)
    shaft = union(shaft, ellipsoid(p, (3, 20, -42), (8, 8, 17)), 9)
    shaft = union(shaft, ellipsoid(p, (-6, -3, -5), (5, 8, 8)), 4)
    return union(shaft, ellipsoid(p, (6, -4, -5), (5, 7, 7)), 4)


def fibula(p: Points) -> Field:
    """Head below the plateau, behind and to the side; thin shaft."""
    head = union(
        ellipsoid(p, (36, -19, -28), (9.5, 10, 12)),
        capsule(p, (36, -19, -30), (35, -17, -60), 8.5, 5.8),
        6,
    )
    shaft = union(
        capsule(p, (35, -17, -60), (31, -14, -200), 5.8, 6.6),
        capsule(p, (31, -14, -200), (27, -10, -372), 6.6, 8.5),
        4,
    )
    return union(head, shaft, 5)


def patella(p: Points) -> Field:
    """The kneecap."""
    return intersection(
        ellipsoid(p, (3, 42, 24), (22, 13, 22)), ellipsoid(p, (3, 54, 24), (27, 20, 27)), 4
    )


def pelvis(p: Points) -> Field:
    """Half a pelvis: curved iliac wing, socket, ischium, pubis; the ring is open at the midline."""
    x, y, z = p
    along, across = 0.468 * x + 0.885 * y, 0.885 * x - 0.468 * y
    middle = 0.17 * z - 9 + 15 * (1 - ((along + 20) * (1 / 75)) ** 2).clip(-1, 1)
    rim = ellipsoid((along, z, np.zeros_like(z)), (-22, 62, 0), (79, 67, 60))
    thick = Profile.of((-40, -10, 6, 30), (4.0, 4.2, 6.5, 6.5))(rim)
    wing = intersection((np.abs(across - middle) - thick) * 0.95, rim, 8)
    wing = cut(wing, capsule((along, z, across), (-56, -2, -60), (-56, -2, 60), 27, 27), 6)
    column = union(
        capsule(p, (-10, -4, 18), (-8, -8, 52), 21, 9),
        capsule(p, (-16, -16, 20), (-42, -62, 52), 15, 9),
        10,
    )
    socket = ellipsoid(p, (-1, 0, 2), (38, 37, 37))
    socket = intersection(socket, 0.74 * x + 0.33 * y - 0.58 * z - 4, 6)
    bone = union(union(wing, column, 12), socket, 12)
    spine = capsule(p, (26, 44, 78), (18, 38, 46), 8, 6)
    bone = union(bone, spine, 10)
    pubis = union(
        capsule(p, (-14, 18, -4), (-52, 40, -8), 13, 8.5),
        capsule(p, (-52, 40, -8), (-80, 44, -18), 8.5, 11),
        8,
    )
    pubis = union(pubis, ellipsoid(p, (-82, 40, -30), (11, 10, 20)), 6)
    ischium = union(
        capsule(p, (-10, -20, -8), (-22, -36, -52), 18, 14),
        ellipsoid(p, (-21, -37, -60), (15, 16, 23)),
        8,
    )
    ramus = union(
        capsule(p, (-25, -30, -76), (-56, 6, -68), 10, 7),
        capsule(p, (-56, 6, -68), (-80, 36, -46), 7, 8),
        6,
    )
    bone = union(bone, union(union(pubis, ischium, 8), ramus, 8), 9)
    return np.maximum(bone, 2.5 - HIP - x)


def sacrum(p: Points) -> Field:
    """The sacrum, curved backwards, wings at its top."""
    x, y, z = p
    body = loft(
        p,
        [
            (-22, -HIP, -62, 12, 7), (5, -HIP, -76, 24, 11), (35, -HIP, -84, 38, 16),
            (65, -HIP, -78, 50, 20), (88, -HIP, -62, 53, 22), (100, -HIP, -54, 38, 18),
        ],
    )  # fmt: skip
    canal = capsule((x, y, z), (-HIP, -86, 30), (-HIP, -76, 105), 5, 9)
    holes = [
        capsule(p, (-66, y0 + 30, z0), (-66, y0 - 2, z0), 3.5, 3.5)
        for y0, z0 in ((-84, 42), (-78, 64))
    ]
    return cut(cut(body, canal, 3), np.minimum(holes[0], holes[1]), 3)


def lumbar(p: Points) -> Field:
    """The lowest vertebra: body, pedicle, arch."""
    body = loft(p, [(108, -HIP, -38, 25, 18), (122, -HIP, -36, 22, 16.5), (138, -HIP, -34, 25, 18)])
    arch = union(
        capsule(p, (-HIP + 14, -50, 128), (-HIP + 20, -74, 124), 6, 7),
        capsule(p, (-HIP + 20, -74, 124), (-HIP, -92, 118), 6, 5),
        5,
    )
    process = capsule(p, (-HIP + 18, -58, 128), (-HIP + 46, -62, 132), 5, 4)
    return union(union(body, arch, 4), process, 4)


def skeleton(body: Body) -> tuple[Bone, ...]:
    """The bones of one body, in the order in which they make room for each other."""
    shell, spongy, fatty = body.cortex, body.trabecular_hu, body.marrow_hu

    def thickness(knots: tuple[float, ...], values: tuple[float, ...]) -> Profile:
        return Profile.of(knots, np.array(values) * shell)

    thin = thickness((-200, 200), (1.3, 1.3))
    even = Profile.of((-200, 200), (spongy * 0.8, spongy * 0.8))
    return (
        Bone(
            "femur", body.femur, (-80, -48, -6), (52, 48, 455), femur, 0.0,
            thickness((0, 30, 90, 160, 250, 340, 390, 420), (1.2, 1.3, 2.8, 5.2, 6, 4.6, 1.8, 1.4)),
            Profile.of(
                (25, 75, 130, 300, 360, 400),
                (spongy, spongy * 0.6, fatty, fatty, spongy * 0.5, spongy * 1.1),
            ),
        ),
        Bone(
            "tibia", body.tibia, (-48, -38, -385), (50, 40, 12), tibia, 4.2,
            thickness((-360, -300, -200, -100, -50, -15), (1.5, 4.0, 5.5, 4.5, 1.8, 1.4)),
            Profile.of((-350, -310, -110, -60, -20), (spongy, fatty, fatty, spongy * 0.7, spongy)),
        ),
        Bone(
            "fibula", body.tibia, (10, -40, -395), (55, 4, -10), fibula, 2.0,
            thickness((-370, -300, -100, -60, -25), (1.5, 3.0, 3.0, 2.0, 1.2)),
            Profile.of((-350, -300, -80, -40), (spongy, fatty + 40, fatty + 40, spongy * 0.7)),
        ),
        Bone(
            "pelvis", body.pelvis, (-92, -112, -105), (72, 76, 140), pelvis, 3.6,
            thin, even,
        ),
        Bone("patella", body.femur, (-26, 26, -4), (32, 62, 52), patella, 3.2, thin, even),
        Bone("sacrum", body.pelvis, (-145, -118, -30), (-30, -28, 108), sacrum, 2.6, thin, even),
        Bone("lumbar", body.pelvis, (-145, -110, 100), (-30, -8, 146), lumbar, 3.0, thin, even),
    )  # fmt: skip
