import json

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import find_objects
from scipy.spatial import KDTree

from condyle.core import KNEE, Grid, LabelMap, LabelScheme
from condyle.errors import ConfigError, LabelError, OutputError, UnknownName
from condyle.io import read_labels
from condyle.mesh import surface, surfaces, write

RADIUS = 20.0
HALF_AXES = np.array([19.0, 13.0, 9.0])


def turned(spacing, mirror):
    """An affine that runs along no world axis; mirrored grids are left-handed, as LAS is."""
    a, b = np.deg2rad([25, -40])
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_z) @ about_x @ np.diag(spacing)
    affine[:3, 3] = 120, -340, 900
    if mirror:
        affine[:3, 0] *= -1
    return affine


def solid(spacing, inside, mirror=False, room=2.3):
    """A label map of what `inside` says of points about the middle, in mm; and the middle."""
    shape = tuple(int(2 * RADIUS / step + 2 * room) + 3 for step in spacing)
    grid = Grid(shape, turned(spacing, mirror))
    middle = grid.index_to_world((np.array(shape) - 1) / 2 + (0.31, -0.2, 0.1))
    points = grid.index_to_world(np.moveaxis(np.indices(shape), 0, -1)) - middle
    return LabelMap(inside(points).astype(np.uint8), grid, KNEE), middle


def ball(points):
    return np.linalg.norm(points, axis=-1) < RADIUS


def torus(points):
    ring = np.linalg.norm(points[..., :2], axis=-1) - 13
    return ring**2 + points[..., 2] ** 2 < 6**2


def ellipsoid(points):
    return ((points / HALF_AXES) ** 2).sum(axis=-1) < 1


def ellipsoid_area():
    """By Gauss-Legendre quadrature over the sphere of directions."""
    a, b, c = HALF_AXES
    z, weights = np.polynomial.legendre.leggauss(200)
    angle = (np.arange(400) + 0.5) * np.pi / 200
    x, y = (np.sqrt(1 - z**2)[:, None] * turn(angle) for turn in (np.cos, np.sin))
    stretch = np.sqrt((b * c * x) ** 2 + (a * c * y) ** 2 + (a * b * z[:, None]) ** 2)
    return float(weights @ stretch.sum(axis=1) * np.pi / 200)


SOLIDS = {
    "ball": (ball, 4 / 3 * np.pi * RADIUS**3, 4 * np.pi * RADIUS**2, 2),
    "ellipsoid": (ellipsoid, 4 / 3 * np.pi * np.prod(HALF_AXES), ellipsoid_area(), 2),
    "torus": (torus, 2 * np.pi**2 * 13 * 6**2, 4 * np.pi**2 * 13 * 6, 0),
}
"""Name -> what lies inside, volume in mm³, area in mm², Euler number."""


def away_from(name, points):
    """How far points in mm from the middle lie outside a solid, to first order."""
    if name == "ball":
        return np.linalg.norm(points, axis=-1) - RADIUS
    if name == "torus":
        return np.hypot(np.linalg.norm(points[..., :2], axis=-1) - 13, points[..., 2]) - 6
    level = np.sqrt(((points / HALF_AXES) ** 2).sum(axis=-1))
    return (level - 1) * level / np.linalg.norm(points / HALF_AXES**2, axis=-1)


def as_trimesh(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 0.7, 3.0), (2.0, 0.5, 0.5)])
def test_a_solid_has_its_volume_area_and_place_also_from_stl(name, spacing, mirror, tmp_path):
    inside, volume, area, euler = SOLIDS[name]
    labels, middle = solid(spacing, inside, mirror)
    mesh = surface(labels, "tibia")
    assert mesh.volume_cm3 == pytest.approx(volume / 1000, rel=0.01)
    assert mesh.area_cm2 == pytest.approx(area / 100, rel=0.02)
    assert np.abs(away_from(name, mesh.vertices - middle)).max() < max(spacing) / 2
    np.testing.assert_allclose(mesh.centre, middle, atol=0.15)
    read = trimesh.load_mesh(write([mesh], tmp_path / "solid.stl"))
    for found in (as_trimesh(mesh), read):
        assert found.is_watertight
        assert found.is_winding_consistent
        assert found.euler_number == euler
        assert found.volume == pytest.approx(mesh.volume_cm3 * 1000, rel=1e-4)
        assert found.area == pytest.approx(mesh.area_cm2 * 100, rel=1e-4)
    assert len(read.faces) == len(mesh.faces)


def test_an_ellipsoid_has_its_extent_and_axes():
    labels, _ = solid((0.6, 0.6, 1.0), ellipsoid)
    mesh = surface(labels, "tibia")
    np.testing.assert_allclose(mesh.extent_mm, 2 * HALF_AXES, atol=0.6)
    lengths, directions = mesh.principal_axes
    np.testing.assert_allclose(lengths, 2 * HALF_AXES, atol=0.6)
    np.testing.assert_allclose(directions, np.eye(3), atol=0.02)
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    labels, _ = solid((0.6, 0.6, 1.0), lambda points: ellipsoid(points @ turn))
    lengths, directions = surface(labels, "tibia").principal_axes
    np.testing.assert_allclose(lengths, 2 * HALF_AXES, atol=0.6)
    np.testing.assert_allclose(np.abs(directions @ turn), np.eye(3), atol=0.05)


def test_the_surface_encloses_what_the_voxels_hold():
    labels, _ = solid((0.7, 0.7, 3.0), torus)
    assert abs(surface(labels, "tibia", error_mm=0).volume_change) < 1e-4
    mesh = surface(labels, "tibia")
    assert mesh.voxels_cm3 == pytest.approx(labels.volume_cm3("tibia"))
    assert abs(mesh.volume_change) < 3e-3
    assert mesh.volume_cm3 == pytest.approx(as_trimesh(mesh).volume / 1000, rel=1e-6)
    assert mesh.area_cm2 == pytest.approx(as_trimesh(mesh).area / 100, rel=1e-6)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("error_mm", [0, 0.1, 1])
def test_a_ring_stays_a_ring(smooth, error_mm):
    labels, _ = solid((1, 1, 1.5), torus)
    mesh = surface(labels, "tibia", smooth=smooth, error_mm=error_mm)
    assert as_trimesh(mesh).is_watertight
    assert as_trimesh(mesh).euler_number == 0
    assert mesh.volume_cm3 == pytest.approx(2 * np.pi**2 * 13 * 6**2 / 1000, rel=0.02)


def test_smoothing_takes_off_the_stairs_and_no_thin_wall():
    labels, _ = solid((1, 1, 1), ball)
    rough = surface(labels, "tibia", smooth=False)
    assert rough.area_cm2 > 1.05 * surface(labels, "tibia").area_cm2
    wall = np.zeros((20, 20, 20), np.uint8)
    wall[4:16, 4:16, 10] = 1
    mesh = surface(LabelMap(wall, Grid.regular(wall.shape), KNEE), "tibia")
    assert mesh.closed
    assert mesh.volume_cm3 == pytest.approx(0.144, rel=0.05)


def test_a_structure_that_fills_the_scan_is_closed_at_its_border():
    full = LabelMap(np.ones((9, 7, 5), np.uint8), Grid.regular((9, 7, 5), (1, 1, 2)), KNEE)
    mesh = surface(full, "tibia", smooth=False)
    assert as_trimesh(mesh).is_watertight
    np.testing.assert_allclose(mesh.vertices.min(axis=0), (-0.5, -0.5, -1), atol=0.01)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), (8.5, 6.5, 9), atol=0.01)


@settings(deadline=None)
@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)).filter(np.any),
    st.tuples(*[st.sampled_from([0.5, 1.0, 2.7])] * 3),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 0.5, 2.0]),
)
def test_any_mask_gives_a_closed_surface(mask, spacing, smooth, error_mm):
    labels = LabelMap.of(mask, Grid.regular(mask.shape, spacing))
    full = surface(labels, 1, smooth=smooth, error_mm=0)
    mesh = surface(labels, 1, smooth=smooth, error_mm=error_mm)
    for each in (full, mesh):
        assert each.closed
        assert as_trimesh(each).is_watertight
        assert as_trimesh(each).is_winding_consistent
        assert each.volume_cm3 > 0
    assert as_trimesh(mesh).euler_number == as_trimesh(full).euler_number
    assert len(mesh.faces) <= len(full.faces)


def points_on(vertices, faces, step):
    """Points on triangles, at most a step apart, and which triangle each lies on."""
    corners = vertices[faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max()
    n = int(np.ceil(longest / step)) + 1
    i, j = np.nonzero(np.tri(n + 1)[::-1])
    weights = np.stack([i, j, n - i - j], axis=1) / n
    return (weights @ corners).reshape(-1, 3)


def farthest(vertices, faces, others, other_faces):
    """The largest distance from one surface to the other, too large by at most 0.03 mm or so."""
    there = KDTree(points_on(others, other_faces, 0.2))
    return there.query(points_on(vertices, faces, 0.4))[0].max()


@pytest.mark.parametrize("error_mm", [0.05, 0.2, 1.0])
def test_fewer_triangles_stay_within_the_error_both_ways(error_mm):
    def lumpy(points):
        lumps = np.sin(points / 2.2).prod(axis=-1)
        return np.linalg.norm(points, axis=-1) < 10 + 1.5 * lumps

    labels, _ = solid((0.8, 0.8, 1.5), lumpy)
    full = surface(labels, "tibia", error_mm=0)
    mesh = surface(labels, "tibia", error_mm=error_mm)
    assert len(mesh.faces) < {0.05: 0.7, 0.2: 0.4, 1.0: 0.15}[error_mm] * len(full.faces)
    assert mesh.volume_cm3 == pytest.approx(full.volume_cm3, rel=0.05 * error_mm)
    pair = (mesh.vertices, mesh.faces), (full.vertices, full.faces)
    assert farthest(*pair[0], *pair[1]) < error_mm + 0.03
    assert farthest(*pair[1], *pair[0]) < error_mm + 0.03


def test_noise_stays_closed_and_in_its_place_however_coarse():
    dust = np.random.default_rng(0).random((12, 12, 12)) < 0.4
    labels = LabelMap.of(dust, Grid.regular(dust.shape))
    full = surface(labels, 1, error_mm=0)
    for error_mm in (0.1, 0.5, 3):
        mesh = surface(labels, 1, error_mm=error_mm)
        assert mesh.closed
        assert as_trimesh(mesh).euler_number == as_trimesh(full).euler_number
        assert as_trimesh(mesh).body_count == as_trimesh(full).body_count


def test_structures_that_touch_have_closed_surfaces_of_their_own():
    array = np.zeros((20, 20, 24), np.uint8)
    array[4:16, 4:16, 4:12], array[4:16, 4:16, 12:20] = 1, 2
    tibia, femur = surfaces(LabelMap(array, Grid.regular(array.shape), KNEE))
    for mesh in (tibia, femur):
        assert mesh.closed
        assert mesh.volume_cm3 == pytest.approx(1.152, rel=0.01)
    assert tibia.vertices[:, 2].max() == pytest.approx(11.5, abs=0.3)
    assert femur.vertices[:, 2].min() == pytest.approx(11.5, abs=0.3)


def test_surfaces_come_in_the_schemes_order_without_the_absent():
    array = np.zeros((12, 12, 12), np.uint8)
    array[2:6, 2:6, 2:6] = 2
    labels = LabelMap(array, Grid.regular(array.shape), KNEE)
    [femur] = surfaces(labels)
    assert (femur.name, femur.colour) == ("femur", KNEE["femur"].colour)
    np.testing.assert_allclose(femur.centre, 3.5, atol=0.01)
    with pytest.raises(LabelError, match="no tibia"):
        surface(labels, "tibia")
    with pytest.raises(UnknownName, match="Known: tibia"):
        surface(labels, "tibea")
    with pytest.raises(LabelError, match="none of tibia, femur"):
        surfaces(labels.with_array(np.zeros_like(array)))
    for nonsense in (-0.1, 11, float("nan")):
        with pytest.raises(ConfigError, match="0 to 10 mm"):
            surfaces(labels, error_mm=nonsense)


@pytest.fixture
def two_bones():
    array = np.zeros((16, 16, 30), np.uint8)
    array[4:12, 4:12, 2:14], array[4:12, 4:12, 16:28] = 1, 2
    affine = np.diag([-0.8, -0.8, 2.0, 1.0])
    affine[:3, 3] = 55.5, -210.25, 1020
    return surfaces(LabelMap(array, Grid(array.shape, affine), KNEE))


def bounds_of(meshes):
    every = np.concatenate([mesh.vertices for mesh in meshes])
    return np.array([every.min(axis=0), every.max(axis=0)])


@pytest.mark.parametrize("ending", [".ply", ".stl", ".obj", ".PLY", ".OBJ"])
@pytest.mark.parametrize("space", ["ras", "lps"])
def test_files_are_read_back_in_millimetres(two_bones, tmp_path, ending, space):
    path = write(two_bones, tmp_path / "folder" / f"knee.v2{ending}", space=space)
    found = trimesh.load_mesh(path)
    signs = [1, 1, 1] if space == "ras" else [-1, -1, 1]
    bounds = np.sort(bounds_of(two_bones) * signs, axis=0)
    np.testing.assert_allclose(found.bounds, bounds, atol=1e-3)
    assert found.volume / 1000 == pytest.approx(sum(m.volume_cm3 for m in two_bones), rel=1e-4)
    assert found.is_watertight
    names = {path.name, "knee.v2.mtl"} if ending.lower() == ".obj" else {path.name}
    assert {file.name for file in path.parent.iterdir()} == names
    said = path.read_bytes()[:200]
    assert f"SPACE={space.upper()}".encode() in said
    assert b"millimetres" in said


@pytest.mark.parametrize("space", ["ras", "lps"])
def test_a_glb_stands_upright_in_metres_and_holds_millimetres(two_bones, tmp_path, space):
    path = write(two_bones, tmp_path / "knee.glb", space=space)
    scene = trimesh.load_scene(path)
    signs = np.array([1, 1, 1] if space == "ras" else [-1, -1, 1])
    for mesh in two_bones:
        held = scene.geometry[mesh.name]
        assert held.is_watertight
        np.testing.assert_allclose(
            held.bounds,
            bounds_of([mesh.__class__(mesh.vertices * signs, mesh.faces, "", (0, 0, 0), 1.0)]),
            atol=1e-3,
        )
    (right, back, low), (left, front, high) = bounds_of(two_bones) / 1000
    right, left = left, right  # x grows to the right in RAS, to the left in glTF
    wanted = [[-right, low, back], [-left, high, front]]
    np.testing.assert_allclose(scene.bounds, wanted, atol=1e-6)
    assert scene.to_mesh().volume > 0  # turned, not mirrored
    length = int.from_bytes(path.read_bytes()[12:16], "little")
    tree = json.loads(path.read_bytes()[20 : 20 + length])
    assert tree["asset"]["version"] == "2.0"
    assert tree["asset"]["extras"]["SPACE"] == space.upper()
    assert tree["asset"]["extras"]["unit"] == "millimetre"
    assert len(path.read_bytes()) == int.from_bytes(path.read_bytes()[8:12], "little")


def test_a_ply_holds_each_structures_colour(two_bones, tmp_path):
    found = trimesh.load_mesh(write(two_bones, tmp_path / "knee.ply"))
    colours = {tuple(int(c) for c in row[:3]) for row in found.visual.vertex_colors}
    assert colours == {mesh.colour for mesh in two_bones}


def test_obj_and_glb_keep_structures_apart_in_their_colours(two_bones, tmp_path):
    found = trimesh.load_scene(write(two_bones, tmp_path / "knee.obj"), split_object=True)
    colours = {tuple(map(int, x.visual.material.main_color[:3])) for x in found.geometry.values()}
    assert colours == {mesh.colour for mesh in two_bones}
    found = trimesh.load_scene(write(two_bones, tmp_path / "knee.glb"))
    for mesh in two_bones:
        light = np.array(found.geometry[mesh.name].visual.material.baseColorFactor[:3]) / 255
        srgb = np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        np.testing.assert_allclose(srgb * 255, mesh.colour, atol=4)  # trimesh rounds the light


def test_names_beyond_ascii_and_with_spaces_are_written(tmp_path):
    array = np.zeros((8, 8, 8), np.uint8)
    array[2:6, 2:6, 2:6] = 1
    [mesh] = surfaces(
        LabelMap(array, Grid.regular(array.shape), LabelScheme.of({"große Zehe, links": 1}))
    )
    for ending in (".ply", ".stl", ".obj", ".glb"):
        found = trimesh.load_mesh(write([mesh], tmp_path / f"x y{ending}"))
        assert len(found.faces) == len(mesh.faces)


def test_the_ply_header_says_what_and_where(two_bones, tmp_path):
    header = write(two_bones, tmp_path / "knee.ply").read_bytes().partition(b"end_header\n")[0]
    lines = header.decode("ascii").splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "comment SPACE=RAS"]
    assert "comment structure tibia" in lines
    assert "comment structure femur" in lines
    assert f"element face {sum(len(mesh.faces) for mesh in two_bones)}" in lines


def test_what_cannot_be_written_is_refused_and_leaves_nothing(two_bones, tmp_path):
    with pytest.raises(UnknownName, match=r"did you mean '\.ply'"):
        write(two_bones, tmp_path / "knee.plyy")
    with pytest.raises(UnknownName, match=r"unknown space 'rsa': did you mean 'ras'"):
        write(two_bones, tmp_path / "knee.ply", space="rsa")
    with pytest.raises(LabelError, match="no surface to write"):
        write([], tmp_path / "knee.ply")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write(two_bones, tmp_path / "file" / "knee.ply")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_bones_of_a_real_knee_are_closed_and_where_their_voxels_are(shared):
    name = "ct3702_left_knee_femur_tibia_kitarp07.nii.gz"
    labels = read_labels(shared / "knee_label_maps_only" / name)
    for mesh, bone in zip(surfaces(labels), find_objects(labels.array.T), strict=True):
        assert mesh.closed
        assert abs(mesh.volume_change) < 1e-3
        first, last = ([getattr(side, end) for side in bone[::-1]] for end in ("start", "stop"))
        corners = labels.grid.index_to_world([first, np.array(last) - 1])
        np.testing.assert_allclose(bounds_of([mesh]), np.sort(corners, axis=0), atol=2)
