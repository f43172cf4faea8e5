import numpy as np
import pytest
from skimage.measure import marching_cubes

from condyle.measure.offset import offsets_mm


def ball(radius: float, spacing=(1.0, 1.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
    """A ball's surface about the origin, of triangles that face outwards."""
    n = int(radius / min(spacing)) + 4
    index = np.indices((2 * n + 1,) * 3).transpose(1, 2, 3, 0)
    distance = np.linalg.norm((index - n) * spacing, axis=-1)
    vertices, faces, _, _ = marching_cubes(distance, radius, gradient_direction="descent")
    vertices = (vertices - n) * spacing
    a, b, c = vertices[faces].transpose(1, 0, 2)
    assert (a * np.cross(b, c)).sum() > 0
    return vertices, faces


CUBE = np.array([[x, y, z] for x in (0, 10) for y in (0, 10) for z in (0, 10)], float)
CUBE_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
     [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def test_distances_to_a_ball_are_those_to_its_radius_and_signed():
    vertices, faces = ball(12.0)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = rng.uniform(6, 18, 500)
    found = offsets_mm(directions * radii[:, None], vertices, faces)
    assert np.abs(found - (radii - 12)).max() < 0.06  # a polyhedron is not quite a ball


def test_distances_to_a_cube_are_exact_on_faces_edges_and_tips():
    rng = np.random.default_rng(1)
    points = rng.uniform(-8, 18, (2000, 3))
    beyond = np.maximum(np.maximum(-points, points - 10), 0)
    inside = np.minimum(points, 10 - points).min(axis=1)
    exact = np.where(inside > 0, -inside, np.linalg.norm(beyond, axis=1))
    assert np.allclose(offsets_mm(points, CUBE, CUBE_FACES), exact, atol=1e-9)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 4)])
def test_no_triangle_that_was_not_looked_at_is_nearer_by_much(spacing):
    vertices, faces = ball(8.0, spacing)
    rng = np.random.default_rng(2)
    points = rng.uniform(-12, 12, (40, 3))
    found = np.abs(offsets_mm(points, vertices, faces))
    each = np.stack([np.abs(offsets_mm(points, vertices, face[None])) for face in faces])
    assert (found >= each.min(axis=0) - 1e-9).all()
    assert np.abs(found - each.min(axis=0)).max() < 0.02


def test_a_point_on_the_surface_has_no_distance():
    vertices, faces = ball(6.0)
    assert np.abs(offsets_mm(vertices, vertices, faces)).max() < 1e-9
    assert np.abs(offsets_mm(vertices[faces].mean(axis=1), vertices, faces)).max() < 1e-9


def test_without_a_surface_or_points_there_is_nothing_to_measure():
    empty = np.zeros((0, 3))
    assert np.isnan(offsets_mm(CUBE, empty, empty)).all()
    assert offsets_mm(empty, CUBE, CUBE_FACES).shape == (0,)


def test_triangles_without_area_do_no_harm():
    faces = np.vstack([CUBE_FACES, [[0, 0, 7], [5, 5, 5]]])
    found = offsets_mm([[5, 5, 12.0], [5, 5, 9]], CUBE, faces[:12])
    assert np.allclose(found, [2, -1])
    assert np.isfinite(offsets_mm([[5, 5, 12.0]], CUBE, faces)).all()
