"""What a surface is: closed triangles in RAS+ millimetres, and what can be measured on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

__all__ = ["Floats", "Ints", "Mesh", "area_normals", "torn", "vertex_normals"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles in RAS+ millimetres.

    Parameters
    ----------
    vertices : (n, 3) points in mm.
    faces : (m, 3) vertex numbers of each triangle, anticlockwise seen from outside.
    name, colour : the structure's.
    voxels_cm3 : volume of the voxels that the surface was made from.
    """

    vertices: Floats
    faces: Ints
    name: str
    colour: tuple[int, int, int]
    voxels_cm3: float

    @cached_property
    def normals(self) -> Floats:
        """(m, 3) outward normals of the triangles, as long as their areas in mm²."""
        return area_normals(self._centred, self.faces)

    @property
    def volume_cm3(self) -> float:
        """Volume in cm³ that the surface encloses."""
        return float(np.vdot(self._centred[self.faces[:, 0]], self.normals) / 3000.0)

    @property
    def area_cm2(self) -> float:
        """Area of the surface in cm²."""
        return float(np.linalg.norm(self.normals, axis=1).sum() / 100.0)

    @property
    def volume_change(self) -> float:
        """Part of the voxels' volume that the surface gained (above 0) or lost (below)."""
        return self.volume_cm3 / self.voxels_cm3 - 1.0

    @property
    def closed(self) -> bool:
        """Whether it is a closed 2-manifold, so that inside is defined.

        Every edge joins two triangles that face the same way, and those around a vertex are a fan.
        """
        return bool(len(self.faces)) and not torn(self.faces, len(self.vertices)).any()

    @property
    def extent_mm(self) -> Floats:
        """(3,) size of the box around it in mm along R, A and S."""
        return np.ptp(self.vertices, axis=0)

    @property
    def centre(self) -> Floats:
        """(3,) centre of mass in mm, RAS+, of the solid that it encloses."""
        return self._moments()[0] + self.vertices.mean(axis=0)

    @property
    def principal_axes(self) -> tuple[Floats, Floats]:
        """Of the solid: lengths in mm, (3,), and unit directions in RAS, (3, 3), an axis a row.

        The directions are those of the axes of inertia, the one of most spread first; the length
        is how far the surface reaches along it. A direction's largest part is positive.
        """
        spread, directions = np.linalg.eigh(self._moments()[1])
        rows = directions.T[np.argsort(-spread)]
        largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
        rows = rows * np.sign(largest)
        return np.ptp(self._centred @ rows.T, axis=0), rows

    @cached_property
    def _centred(self) -> Floats:
        """The vertices seen from their middle, so that no digits are lost."""
        return self.vertices - self.vertices.mean(axis=0)

    def _moments(self) -> tuple[Floats, Floats]:
        """Mean (3,) and covariance (3, 3) in mm of the solid's points, from the vertices' middle.

        Sums over tetrahedra from the middle to each triangle.
        """
        corners = self._centred[self.faces]
        sums = corners.sum(axis=1)
        weights = np.einsum("ij,ij->i", corners[:, 0], self.normals) / 3.0
        volume = weights.sum()
        mean = weights @ sums / (4.0 * volume)
        squares = np.einsum("i,ijk,ijl->kl", weights, corners, corners)
        squares += np.einsum("i,ik,il->kl", weights, sums, sums)
        return mean, squares / (20.0 * volume) - np.outer(mean, mean)

    def __repr__(self) -> str:
        return f"Mesh({self.name}, {len(self.faces)} triangles, {self.volume_cm3:.4g} cm³)"


def area_normals(vertices: Floats, faces: Ints) -> Floats:
    """(m, 3) outward normals of triangles, as long as their areas."""
    a = vertices[faces[:, 0]]
    (ux, uy, uz), (vx, vy, vz) = (vertices[faces[:, 1]] - a).T, (vertices[faces[:, 2]] - a).T
    cross = np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], axis=1)
    return cross / 2.0


def vertex_normals(normals: Floats, faces: Ints, n: int) -> Floats:
    """(n, 3) outward unit normals at vertices: the mean of their triangles' normals, by area."""
    corners = faces.ravel()
    sums = [np.bincount(corners, np.repeat(along, 3), minlength=n) for along in normals.T]
    summed = np.stack(sums, axis=1)
    lengths = np.linalg.norm(summed, axis=1, keepdims=True)
    return np.divide(summed, lengths, out=np.zeros_like(summed), where=lengths > 0)


def torn(faces: Ints, n: int) -> NDArray[np.bool_]:
    """(n,) booleans: the vertices at which triangles do not form a closed 2-manifold.

    There an edge does not join exactly two triangles that face the same way, or the triangles
    around the vertex are more than one fan, or two triangles lie back to back.
    """
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = np.minimum(start, end) * n + np.maximum(start, end)
    order = np.argsort(edges)
    edges = edges[order]
    first = np.flatnonzero(np.diff(edges, prepend=-1))
    count = np.diff(first, append=len(edges))
    balance = np.add.reduceat(np.where(start < end, 1, -1)[order], first) if len(first) else first
    open_ = edges[first[(count != 2) | (balance != 0)]]
    found = np.zeros(n, bool)
    if len(open_):
        found[open_ // n] = found[open_ % n] = True
        return found
    opposite = np.empty_like(order)
    opposite[order[0::2]], opposite[order[1::2]] = order[1::2], order[0::2]
    fan = _cycles(
        np.where(opposite % 3 == 2, opposite - 2, opposite + 1)
    )  # the vertex's next corner
    vertex = np.empty(fan.max(initial=-1) + 1, np.int64)
    vertex[fan] = start
    fans, corners = np.bincount(vertex, minlength=n), np.bincount(start, minlength=n)
    return (fans > 1) | (corners == 2)


def _cycles(after: Ints) -> NDArray[np.integer]:
    """The number of the cycle that each element of a permutation is in."""
    n = len(after)
    links: Any = sparse.csr_array((np.ones(n, np.int8), after, np.arange(n + 1)), shape=(n, n))
    return connected_components(links, directed=False)[1]
