"""Fewer triangles, nowhere further from the surface than a distance, and closed as it was.

Edges are collapsed by quadric error (fast-simplification), which neither promises a distance nor
keeps a manifold one. But it says what every collapse merged: wherever the result is torn, folded
or too far away, the merged vertices go back to where they were.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import KDTree

from condyle.mesh.triangles import Floats, Ints, area_normals, torn

__all__ = ["decimated"]

Bools = NDArray[np.bool_]

GREED = 1.5
"""Edges collapse up to a quadric error of this many times the distance asked for, squared. The
error sums over many planes: where it is this large, hardly any point lies as far away."""

SAFE = 0.9
"""Distances are measured at points; between them they are a little larger."""


def decimated(vertices: Floats, faces: Ints, error_mm: float) -> tuple[Floats, Ints]:
    """Vertices in mm and triangles of nearly the same closed surface, with fewer triangles.

    Measured from every old vertex to the new surface, and from every new vertex and the middle of
    every new edge to the old one. It is closed as it was.

    References
    ----------
    Garland and Heckbert, Surface simplification using quadric error metrics, SIGGRAPH 1997.
    """
    middle = vertices.mean(axis=0)
    old = _Surface(vertices - middle, faces)
    tree = KDTree(old.points, balanced_tree=False, compact_nodes=False)
    normals = area_normals(old.points, faces)
    merged = _collapsed(old, GREED * error_mm)
    now, was = merged.faces(faces)
    merged, _ = merged.undone(_no_discs(merged, faces), now, old.points)
    stale = np.ones(len(vertices), bool)  # where distances are not known
    while True:
        now, was = merged.faces(faces)
        stale[now[stale[now].any(axis=1)]] = True
        bad = _spoilt(merged, now, normals[was])
        if not bad.any():
            bad = _far(merged, now, old, tree, stale, SAFE * error_mm)
            stale[:] = False
        if not bad.any():
            break
        merged, back = merged.undone(bad, now, old.points)
        stale |= back
    kept = _used(now, len(vertices))
    return merged.places[kept] + middle, (np.cumsum(kept) - 1)[now]


class _Surface:
    """Triangles, and which of them lie around each vertex."""

    def __init__(self, points: Floats, faces: Ints):
        self.points, self.faces = points, faces
        which, ones = np.repeat(np.arange(len(faces)), 3), np.ones(faces.size, np.int8)
        around: Any = sparse.csr_array((ones, (faces.ravel(), which)), (len(points), len(faces)))
        self._first, self._around = around.indptr, around.indices
        a = points[faces[:, 0]]
        u, v = points[faces[:, 1]] - a, points[faces[:, 2]] - a
        uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
        square = uu * vv - uv * uv
        square[square <= 1e-10 * uu * vv] = np.inf  # a sliver: its corner stands for it
        along_u = (vv[:, None] * u - uv[:, None] * v) / square[:, None]
        along_v = (uu[:, None] * v - uv[:, None] * u) / square[:, None]
        self._frames = np.stack([a, u, v, along_u, along_v], axis=1).astype(np.float32)

    def near(self, points: Floats, vertices: Ints, error: float) -> Bools:
        """Whether each point lies within a distance of the triangles near the vertex named to it.

        Those around it are looked at, and, where none is near, those around its neighbours.
        """
        found = self._near(points, vertices, error)
        left = np.flatnonzero(~found)
        whose, faces = self._faces_around(vertices[left])
        whose, neighbours = np.repeat(whose, 3), self.faces[faces].ravel()
        found[left[whose[self._near(points[left[whose]], neighbours, error)]]] = True
        return found

    def _near(self, points: Floats, vertices: Ints, error: float) -> Bools:
        found, places = np.zeros(len(points), bool), points.astype(np.float32)
        slot, last = self._first[vertices], self._first[vertices + 1]
        left = np.arange(len(points))
        while left.size:
            a, u, v, along_u, along_v = self._frames[self._around[slot[left]]].swapaxes(0, 1)
            away = places[left] - a
            s, t = np.maximum(_dot(away, along_u), 0.0), np.maximum(_dot(away, along_v), 0.0)
            beyond = np.maximum(s + t, 1.0)
            away -= (s / beyond)[:, None] * u + (t / beyond)[:, None] * v
            near = _dot(away, away) <= error * error
            found[left[near]] = True
            left = left[~near]
            slot[left] += 1
            left = left[slot[left] < last[left]]
        return found

    def _faces_around(self, vertices: Ints) -> tuple[Ints, Ints]:
        """Pairs: the place in `vertices`, and a triangle around that vertex."""
        first, count = self._first[vertices], np.diff(self._first)[vertices]
        whose = np.repeat(np.arange(len(vertices)), count)
        step = np.arange(len(whose)) - np.repeat(np.cumsum(count) - count, count)
        return whose, self._around[first[whose] + step]


class _Merged(NamedTuple):
    """A surface after collapses, in the numbers of the vertices that there were before.

    Parameters
    ----------
    into : (n,) the vertex that each vertex was merged into; itself, where none was.
    places : (n, 3) where those vertices are now.
    """

    into: Ints
    places: Floats

    @property
    def joint(self) -> Bools:
        """(n,) whether others were merged into a vertex."""
        return np.bincount(self.into, minlength=len(self.into)) > 1

    def faces(self, before: Ints) -> tuple[Ints, Ints]:
        """The triangles that are left, and which ones of `before` they were."""
        now = self.into[before]
        left = (now != np.roll(now, 1, axis=1)).all(axis=1)
        return now[left], np.flatnonzero(left)

    def undone(self, bad: Bools, now: Ints, points: Floats) -> tuple[_Merged, Bools]:
        """Itself, but what was merged at bad vertices is where it was; and which those are.

        Where a bad vertex stands alone, its neighbours are to blame.
        """
        joint = self.joint
        alone = bad & ~joint
        blamed = bad.copy()
        blamed[now[alone[now].any(axis=1)]] = True
        back = (blamed & joint)[self.into]
        into = np.where(back, np.arange(len(back)), self.into)
        return _Merged(into, np.where(back[:, None], points, self.places)), back


def _collapsed(old: _Surface, error: float) -> _Merged:
    """The surface after all collapses of a quadric error below `error` squared."""
    import fast_simplification

    scale = np.sqrt(np.finfo(float).eps) / error  # its lossless mode collapses what is below eps
    simplify: Any = fast_simplification.simplify
    points, _, collapses = simplify(
        old.points * scale, old.faces.astype(np.int32), lossless=True, return_collapses=True
    )
    into = np.arange(len(old.points))
    kept, gone = np.reshape(collapses, (-1, 2)).T
    into[gone] = kept
    while not np.array_equal(further := into[into], into):
        into = further
    merged = _Merged(into, old.points.copy())
    merged.places[_used(merged.faces(old.faces)[0], len(into))] = points / scale
    return merged


def _used(faces: Ints, n: int) -> Bools:
    """(n,) whether a vertex is a corner of any triangle."""
    return np.bincount(faces.ravel(), minlength=n) > 0


def _no_discs(merged: _Merged, faces: Ints) -> Bools:
    """Where what was merged into one vertex has a hole, so that a tunnel closed or a handle broke.

    A connected piece of surface that is neither closed nor has a hole has Euler number 1.
    """
    n = len(merged.into)
    now = merged.into[faces]
    same = now == np.roll(now, -1, axis=1)
    edges = np.bincount(now[same], minlength=n) // 2  # each lies in two triangles
    triangles = np.bincount(now[same.all(axis=1), 0], minlength=n)
    return merged.joint & (np.bincount(merged.into, minlength=n) - edges + triangles != 1)


def _spoilt(merged: _Merged, now: Ints, normals: Floats) -> Bools:
    """Where the surface is torn, folded over (against its old normals), or has vanished."""
    n = len(merged.into)
    bad = torn(now, n)
    folded = _dot(area_normals(merged.places, now), normals) < 0
    bad[now[folded]] = True
    return bad | (merged.joint & ~_used(now, n))


def _far(
    merged: _Merged, now: Ints, old: _Surface, tree: KDTree, stale: Bools, error: float
) -> Bools:
    """The vertices of the surface at which it is too far from the old one, or the old from it."""
    bad, joint = np.zeros(len(stale), bool), merged.joint
    moved = np.flatnonzero((stale & joint)[merged.into])
    new = _Surface(merged.places, now)
    near = new.near(old.points[moved], merged.into[moved], error)
    bad[merged.into[moved[~near]]] = True

    doubtful = stale & joint
    edges = np.concatenate([now[:, :2], now[:, 1:], now[:, ::-2]])
    edges = edges[(edges[:, 0] < edges[:, 1]) & doubtful[edges].any(axis=1)]
    for owners in (edges, np.flatnonzero(doubtful)[:, None]):
        samples = merged.places[owners].mean(axis=1)
        near = old.near(samples, np.asarray(tree.query(samples)[1], int), error)
        bad[owners[~near]] = True
    return bad & joint


def _dot(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.einsum("ij,ij->i", x, y)
