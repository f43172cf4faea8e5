"""Surfaces without the voxels' stairs, and of the voxels' volume all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from condyle.mesh.triangles import Floats, Ints, area_normals, vertex_normals

__all__ = ["of_volume", "without_stairs"]

ROUNDS = 20
"""Rounds of smoothing: each pulls vertices in, then lets them out."""
PULL, RELEASE = 0.6, -0.62


def without_stairs(vertices: Floats, faces: Ints) -> Floats:
    """Vertices moved to the mean of their neighbours and back out, over and over (Taubin)."""
    n = len(vertices)
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    links: Any = sparse.csr_array(
        (1.0 / np.bincount(start, minlength=n)[start], (start, end)), (n, n)
    )
    for _ in range(ROUNDS):
        for step in (PULL, RELEASE):
            pulled = links @ vertices
            pulled *= step
            vertices = (1.0 - step) * vertices
            vertices += pulled
    return vertices


def of_volume(vertices: Floats, faces: Ints, volume_mm3: float, limit_mm: float) -> Floats:
    """Vertices in mm, all moved outwards by one distance, so that they enclose a volume.

    The distance is at most `limit_mm` either way.
    """
    centred = vertices - vertices.mean(axis=0)
    normals = area_normals(centred, faces)
    lacking = volume_mm3 - np.vdot(centred[faces[:, 0]], normals) / 3.0
    distance = np.clip(lacking / np.linalg.norm(normals, axis=1).sum(), -limit_mm, limit_mm)
    return vertices + distance * vertex_normals(normals, faces, len(vertices))
