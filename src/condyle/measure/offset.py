"""How far points lie from a surface of triangles, and on which side of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

__all__ = ["offsets_mm"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NEAREST = 6
"""Triangles looked at for each point."""
MOST_PIECES = 16
"""Parts that a triangle's longest side is cut into at most, to find out which ones are near."""
AT_ONCE = 20_000


def offsets_mm(points: ArrayLike, vertices: ArrayLike, faces: ArrayLike) -> Floats:
    """Distance in mm from each point to the nearest of a surface; below 0 inside, above outside.

    Distances are exact to the triangles, not to their corners alone. Looked at are the triangles
    that have a part (of about the mean length of a side) among the 6 nearest to the point.

    Parameters
    ----------
    points : (n, 3) in mm.
    vertices, faces : of the surface: (m, 3) points in mm, and triangles anticlockwise seen from
        outside. Without a triangle all distances are nan.

    Examples
    --------
    >>> corners = [[0, 0, 0], [9, 0, 0], [0, 9, 0]]
    >>> offsets_mm([[2, 2, 3], [2, 2, -1], [-4, 0, 0]], corners, [[0, 1, 2]]).tolist()
    [3.0, -1.0, 4.0]
    """
    places, corners = np.asarray(points, float), np.asarray(vertices, float)
    triangles = np.asarray(faces, np.int64)
    if not len(triangles) or not len(places):
        return np.full(len(places), np.nan)
    middles, of = _parts(corners[triangles])
    tree = KDTree(middles)
    normals = _normals(corners, triangles)
    found: list[Floats] = []
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        near = np.asarray(tree.query(some, k=min(NEAREST, len(of)))[1]).reshape(len(some), -1)
        found.append(_nearest(some, triangles[of[near]], corners, normals))
    return np.concatenate(found)


def _parts(triangles: Floats) -> tuple[Floats, Ints]:
    """Middles of the equal parts that triangles (m, 3, 3) are cut into, and whose they are."""
    sides = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2)
    usual = max(float(sides.mean()), 1e-9)
    cuts = np.clip(np.ceil(sides.max(axis=1) / usual - 0.5), 1, MOST_PIECES).astype(int)
    middles: list[Floats] = []
    of: list[Ints] = []
    for n in np.unique(cuts):
        a, b = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
        upright = np.stack([a, b], -1)[a + b < n] + 1 / 3
        hanging = np.stack([a, b], -1)[a + b < n - 1] + 2 / 3
        first = np.concatenate([upright, hanging]) / n
        weights = np.column_stack([first, 1 - first.sum(axis=1)])
        which = np.flatnonzero(cuts == n)
        middles.append((weights @ triangles[which]).reshape(-1, 3))
        of.append(np.repeat(which, len(weights)))
    return np.concatenate(middles), np.concatenate(of)


def _normals(corners: Floats, triangles: Ints) -> Floats:
    """Outward directions at the vertices: each triangle weighs as the angle that it has there.

    So a point lies outside if it lies ahead of its nearest one, on edges and tips too (Bærentzen
    and Aanæs, IEEE TVCG 2005).
    """
    a, b, c = (corners[triangles[:, n]] for n in range(3))
    across = np.cross(b - a, c - a)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    normals = np.zeros_like(corners)
    for n, (here, one, other) in enumerate(((a, b, c), (b, c, a), (c, a, b))):
        u, v = one - here, other - here
        lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
        cosine = (u * v).sum(axis=1) / np.maximum(lengths, 1e-12)
        angle = np.arccos(np.clip(cosine, -1, 1))
        np.add.at(normals, triangles[:, n], angle[:, None] * across)
    return normals


def _nearest(points: Floats, candidates: Ints, corners: Floats, normals: Floats) -> Floats:
    """Signed distance of points (n, 3) to the nearest of their candidate triangles (n, k, 3)."""
    triangle = corners[candidates]
    weights = _weights(points[:, None], triangle)  # (n, k, 4, 3)
    away = points[:, None, None] - weights @ triangle
    distances = np.linalg.norm(away, axis=-1).reshape(len(points), -1)
    distances = np.where(np.isfinite(distances), distances, np.inf)
    best = distances.argmin(axis=1)
    row, (which, place) = np.arange(len(points)), np.unravel_index(best, weights.shape[1:3])
    outward = weights[row, which, place, None] @ normals[candidates[row, which]]
    ahead = (away[row, which, place] * outward[:, 0]).sum(axis=1)
    return np.where(ahead < 0, -1.0, 1.0) * distances[row, best]


def _weights(point: Floats, triangle: Floats) -> Floats:
    """Weights of the corners of what may be nearest: inside the triangle, or on a side.

    Inside is nan where the point does not lie above the triangle.
    """
    a, b, c = (triangle[..., n, :] for n in range(3))
    u, v, w = b - a, c - a, point - a
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    wu, wv = (w * u).sum(-1), (w * v).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = uu * vv - uv * uv
        s, t = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    inside = np.stack([1 - s - t, s, t], axis=-1)
    inside[~(inside >= 0).all(axis=-1)] = np.nan
    found = [inside]
    for n in range(3):
        start, side = triangle[..., n, :], triangle[..., (n + 1) % 3, :] - triangle[..., n, :]
        length = np.maximum((side * side).sum(-1), 1e-18)
        part = np.clip(((point - start) * side).sum(-1) / length, 0, 1)
        on = np.zeros_like(triangle[..., 0])
        on[..., n], on[..., (n + 1) % 3] = 1 - part, part
        found.append(on)
    return np.stack(found, axis=-2)
