"""Surfaces drawn as pictures: a depth buffer and soft light, in numpy alone.

Each triangle is filled with points less than a pixel apart; of the points that fall on a pixel the
one nearest to the viewer stays. Light is computed once a pixel, from the normals that stayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["VIEWS", "Painted", "Surface", "View", "bounds", "draw", "simpler"]

MOST_FACES = 40_000
"""A surface of more faces is simplified first: a picture cannot show them."""
FINER = 2
"""Points a pixel along each side, averaged in the end, so that edges are smooth."""

ROUGHER = 4
"""Points a side that the surroundings of a point are averaged over at once: they are blurred."""

KEY_LIGHT = np.array([-0.45, 0.55, 0.70])
FILL_LIGHT = np.array([0.75, 0.10, 0.65])
"""Where light comes from, as (right, up, towards the viewer)."""


class Surface(Protocol):
    """A surface to draw: (n, 3) vertices in RAS+ mm, (m, 3) faces, colour 0 to 255, name."""

    @property
    def vertices(self) -> NDArray[np.floating]: ...  # noqa: D102
    @property
    def faces(self) -> NDArray[np.integer]: ...  # noqa: D102
    @property
    def colour(self) -> tuple[int, int, int]: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102


class Painted(NamedTuple):
    """A surface with a colour, 0 to 255, at each vertex; of at most `MOST_FACES` faces."""

    vertices: NDArray[np.floating]
    faces: NDArray[np.integer]
    colour: tuple[int, int, int]
    name: str
    colours: NDArray[np.floating]


class View(NamedTuple):
    """Where one looks from: the RAS axes of the picture, and the letters at its left and right."""

    axes: NDArray[np.float64]
    left: str
    right: str

    def of(self, points: ArrayLike) -> NDArray[np.float64]:
        """Points in mm as (right, up, towards the viewer)."""
        return np.asarray(points, dtype=float) @ self.axes.T


VIEWS = {
    "front": View(np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]), "R", "L"),
    "left side": View(np.array([[0, -1.0, 0], [0, 0, 1], [-1, 0, 0]]), "A", "P"),
}


def bounds(surfaces: Sequence[Surface]) -> NDArray[np.float64]:
    """The lowest and the highest corner, (2, 3), of the box in mm around all surfaces."""
    points = [s.vertices for s in surfaces if len(s.vertices)]
    if not points:
        return np.array([[-1.0, -1, -1], [1, 1, 1]])
    low = np.min([p.min(axis=0) for p in points], axis=0)
    return np.array([low, np.max([p.max(axis=0) for p in points], axis=0)])


def simpler(vertices: ArrayLike, faces: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices and faces of nearly the same surface, with at most `MOST_FACES` faces."""
    points, triangles = np.asarray(vertices, dtype=float), np.asarray(faces, dtype=np.int64)
    if len(triangles) > MOST_FACES:
        import fast_simplification

        simplify: Any = fast_simplification.simplify  # annotated for float64 alone
        simplified = simplify(
            points.astype(np.float32), triangles.astype(np.int32), 1 - MOST_FACES / len(triangles)
        )
        return np.asarray(simplified[0], float), np.asarray(simplified[1], np.int64)
    return points, triangles


def draw(
    surfaces: Sequence[Surface], view: View, box: NDArray[np.float64], scale: float
) -> NDArray[np.uint8]:
    """The surfaces seen from `view`, as (rows, columns, 4) red, green, blue, alpha.

    Parameters
    ----------
    surfaces : what to draw; the nearer hides the farther.
    view : one of `VIEWS`.
    box : (2, 3) corners in mm of what the picture frames.
    scale : pixels a mm.
    """
    corners = view.of(box)
    low, high = corners.min(axis=0), corners.max(axis=0)
    columns, rows = (FINER * max(1, round(s)) for s in (high - low)[:2] * scale)
    canvas = _Canvas.of(rows, columns)
    for surface in surfaces:
        vertices, faces = simpler(surface.vertices, surface.faces)
        paint = surface.colours if isinstance(surface, Painted) else [surface.colour]
        paint = np.broadcast_to(np.asarray(paint, np.float32) / np.float32(255), vertices.shape)
        if len(faces):
            _fill(canvas, (view.of(vertices) - low) * scale * FINER, faces, paint)
    hit = np.isfinite(canvas.depth)
    image = np.zeros((rows * columns, 4), np.float32)
    light = _light(canvas.normals[hit], canvas.colours[hit])
    hollows = _hollows(canvas.depth.reshape(rows, columns)).ravel()[hit]
    image[hit, :3] = np.clip(light * hollows[:, None], 0, 1)
    image[hit, 3] = 1
    return _coarser(image.reshape(rows, columns, 4))


class _Canvas(NamedTuple):
    """What is nearest to the viewer at each pixel, row after row."""

    size: tuple[int, int]
    depth: NDArray[np.float32]
    normals: NDArray[np.float32]
    colours: NDArray[np.float32]

    @classmethod
    def of(cls, rows: int, columns: int) -> _Canvas:
        """An empty one: infinitely far away."""
        depth = np.full(rows * columns, -np.inf, np.float32)
        normals, colours = np.zeros((2, rows * columns, 3), np.float32)
        return cls((rows, columns), depth, normals, colours)


def _fill(
    canvas: _Canvas,
    seen: NDArray[np.float64],
    faces: NDArray[np.int64],
    paint: NDArray[np.floating],
) -> None:
    """Put points that fill every triangle on a canvas, where nothing nearer is.

    Parameters
    ----------
    seen : (n, 3) vertices as (right, up, towards the viewer), in pixels.
    paint : (n, 3) colours of 0 to 1.
    """
    rows, columns = canvas.size
    triangle = seen[faces]
    across = np.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    at, size = faces.ravel(order="F"), len(seen)
    normal = np.stack([np.bincount(at, np.tile(part, 3), size) for part in across.T], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    looks = np.hstack([normal, paint]).astype(np.float32)
    edges = np.linalg.norm(triangle[:, :, :2] - np.roll(triangle[:, :, :2], 1, axis=1), axis=2)
    steps = np.maximum(1, np.ceil(edges.max(axis=1) * 1.25)).astype(int)
    for step in np.unique(steps):
        a, b = np.meshgrid(np.arange(step + 1), np.arange(step + 1), indexing="ij")
        inside = a + b <= step
        weights = np.stack([a[inside], b[inside], step - (a + b)[inside]], axis=1) / step
        weights, mine = weights.astype(np.float32), np.flatnonzero(steps == step)
        places = triangle[mine].astype(np.float32).transpose(2, 0, 1) @ weights.T
        column = np.clip(places[0].astype(np.int32), 0, columns - 1)
        row = np.clip(rows - 1 - places[1].astype(np.int32), 0, rows - 1)
        pixel, near = (row * columns + column).ravel(), places[2].ravel()
        np.maximum.at(canvas.depth, pixel, near)
        nearest = np.flatnonzero(near == canvas.depth[pixel])
        face, point = np.divmod(nearest, len(weights))
        found = np.einsum("nc,ncx->nx", weights[point], looks[faces[mine[face]]])
        canvas.normals[pixel[nearest]] = found[:, :3]
        canvas.colours[pixel[nearest]] = found[:, 3:]


def _light(normals: NDArray[np.float32], colours: NDArray[np.float32]) -> NDArray[np.floating]:
    """Colours under a key light, a weaker fill light and a little gloss, (n, 3) of 0 to 1."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit = normals / np.where(length > 0, length, 1)
    unit *= np.where(unit[:, 2:] < 0, -1, 1)  # whichever way the faces wind, they face the viewer
    key, fill = KEY_LIGHT / np.linalg.norm(KEY_LIGHT), FILL_LIGHT / np.linalg.norm(FILL_LIGHT)
    diffuse = 0.32 + 0.62 * np.clip(unit @ key, 0, 1) + 0.16 * np.clip(unit @ fill, 0, 1)
    half = key + np.array([0, 0, 1])
    gloss = 0.16 * np.clip(unit @ (half / np.linalg.norm(half)), 0, 1) ** 24
    return colours * diffuse[:, None] + gloss[:, None]


def _hollows(depth: NDArray[np.float32]) -> NDArray[np.floating]:
    """Factors of 0 to 1 that darken what lies behind its surroundings (Luft and others, 2006)."""
    from scipy.ndimage import gaussian_filter, zoom

    there, coarse = np.isfinite(depth), np.s_[::ROUGHER, ::ROUGHER]
    size, filled = max(depth.shape) / 40, np.where(there, depth, 0)
    weight = gaussian_filter(there[coarse].astype(np.float32), size / ROUGHER)
    around = gaussian_filter(filled[coarse], size / ROUGHER) / np.maximum(weight, 1e-6)
    around = zoom(around, ROUGHER, order=1, mode="nearest", grid_mode=True)
    behind = np.clip((around[: depth.shape[0], : depth.shape[1]] - filled) / (2.5 * size), 0, 1)
    return 1 - 0.45 * behind


def _coarser(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture with `FINER` x `FINER` points averaged into one pixel."""
    rows, columns = image.shape[0] // FINER, image.shape[1] // FINER
    mean = image.reshape(rows, FINER, columns, FINER, 4).mean(axis=(1, 3))
    mean[..., :3] /= np.maximum(mean[..., 3:], 1e-6)  # colours were summed over covered points only
    return (mean * 255 + 0.5).astype(np.uint8)
