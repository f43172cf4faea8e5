"""Random grids and label maps for property tests."""

from itertools import permutations, product

import numpy as np
from hypothesis import strategies as st

from condyle.core import Grid

ORIENTATIONS = [
    "".join(letters) for axes in permutations(["LR", "PA", "IS"]) for letters in product(*axes)
]
"""All 48 ways in which array axes can lie along the body's."""


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """A rotation matrix from three angles in radians."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


@st.composite
def grids(draw: st.DrawFn, largest: int = 12, tilt: float = 0.6) -> Grid:
    """Grids of any orientation, oblique by up to `tilt` radians about each axis, anisotropic."""
    shape = tuple(draw(st.integers(1, largest)) for _ in range(3))
    spacing = [draw(st.floats(0.2, 6)) for _ in range(3)]
    angles = tuple(draw(st.floats(-tilt, tilt)) for _ in range(3))
    order = draw(st.permutations(range(3)))
    signs = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles)[:, order] * signs * spacing
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return Grid(shape, affine)
