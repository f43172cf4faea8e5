import logging

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from condyle.core import KNEE, Grid, LabelMap
from condyle.errors import ConfigError, LabelError, OutputError, UnknownName
from condyle.mesh import surface, surfaces, write

RADIUS = 20.0


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


def as_trimesh(mesh):
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 0.7, 3.0), (2.0, 0.5, 0.5)])
def test_a_ball_has_its_volume_area_and_place(spacing, mirror):
    labels, middle = solid(spacing, ball, mirror)
    mesh = surface(labels, "tibia")
    assert mesh.volume_cm3 == pytest.approx(4 / 3 * np.pi * RADIUS**3 / 1000, rel=0.01)
    assert mesh.area_cm2 == pytest.approx(4 * np.pi * RADIUS**2 / 100, rel=0.02)
    away = np.linalg.norm(mesh.vertices - middle, axis=1) - RADIUS
    assert np.abs(away).max() < max(spacing) / 2
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), middle, atol=0.3)
    assert as_trimesh(mesh).is_watertight
    assert as_trimesh(mesh).volume > 0  # the triangles face outwards


def test_the_surface_encloses_what_the_voxels_hold():
    labels, _ = solid((0.7, 0.7, 3.0), torus)
    mesh = surface(labels, "tibia")
    assert mesh.voxels_cm3 == pytest.approx(labels.volume_cm3("tibia"))
    assert abs(mesh.volume_change) < 1e-3
    assert mesh.volume_cm3 == pytest.approx(as_trimesh(mesh).volume / 1000, rel=1e-6)
    assert mesh.area_cm2 == pytest.approx(as_trimesh(mesh).area / 100, rel=1e-6)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("reduction", [0, 0.8])
def test_a_ring_stays_a_ring(smooth, reduction):
    labels, _ = solid((1, 1, 1.5), torus)
    mesh = surface(labels, "tibia", smooth=smooth, reduction=reduction)
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
)
def test_any_mask_gives_a_closed_surface(mask, spacing, smooth):
    mesh = surface(LabelMap.of(mask, Grid.regular(mask.shape, spacing)), 1, smooth=smooth)
    assert mesh.closed
    assert as_trimesh(mesh).is_watertight
    assert as_trimesh(mesh).is_winding_consistent
    assert mesh.volume_cm3 > 0


def test_reduction_saves_triangles_and_keeps_volume_and_form():
    labels, middle = solid((1, 1, 1), ball)
    mesh, fewer = surface(labels, "tibia"), surface(labels, "tibia", reduction=0.9)
    assert len(fewer.faces) == pytest.approx(len(mesh.faces) / 10, rel=0.02)
    assert fewer.closed
    assert fewer.volume_cm3 == pytest.approx(mesh.volume_cm3, rel=1e-3)
    assert np.abs(np.linalg.norm(fewer.vertices - middle, axis=1) - RADIUS).max() < 0.5


def test_a_surface_that_fewer_triangles_would_tear_keeps_them(caplog):
    dust = np.random.default_rng(0).random((8, 8, 8)) < 0.4
    labels = LabelMap.of(dust, Grid.regular(dust.shape))
    with caplog.at_level(logging.WARNING, logger="condyle"):
        mesh = surface(labels, 1, reduction=0.95)
    assert mesh.closed
    assert "keeps its" in caplog.text


def test_surfaces_come_in_the_schemes_order_without_the_absent():
    array = np.zeros((12, 12, 12), np.uint8)
    array[2:6, 2:6, 2:6] = 2
    labels = LabelMap(array, Grid.regular(array.shape), KNEE)
    [femur] = surfaces(labels)
    assert (femur.name, femur.colour) == ("femur", KNEE["femur"].colour)
    np.testing.assert_allclose(femur.vertices.mean(axis=0), 3.5, atol=0.01)
    with pytest.raises(LabelError, match="no tibia"):
        surface(labels, "tibia")
    with pytest.raises(UnknownName, match="Known: tibia"):
        surface(labels, "tibea")
    with pytest.raises(LabelError, match="none of tibia, femur"):
        surfaces(labels.with_array(np.zeros_like(array)))
    with pytest.raises(ConfigError, match="reduction"):
        surfaces(labels, reduction=1.0)


@pytest.fixture
def two_bones():
    array = np.zeros((16, 16, 30), np.uint8)
    array[4:12, 4:12, 2:14], array[4:12, 4:12, 16:28] = 1, 2
    affine = np.diag([-0.8, -0.8, 2.0, 1.0])
    affine[:3, 3] = 55.5, -210.25, 1020
    return surfaces(LabelMap(array, Grid(array.shape, affine), KNEE))


@pytest.mark.parametrize("ending", [".ply", ".stl", ".obj", ".glb", ".PLY"])
def test_files_are_read_back_in_ras_millimetres(two_bones, tmp_path, ending):
    path = write(two_bones, tmp_path / "folder" / f"knee.v2{ending}")
    found = trimesh.load_mesh(path)
    np.testing.assert_allclose(
        found.bounds,
        [
            np.min([mesh.vertices.min(axis=0) for mesh in two_bones], axis=0),
            np.max([mesh.vertices.max(axis=0) for mesh in two_bones], axis=0),
        ],
        atol=1e-3,
    )
    assert found.volume / 1000 == pytest.approx(sum(m.volume_cm3 for m in two_bones), rel=1e-4)
    assert found.is_watertight
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".ply", ".obj", ".glb"])
def test_each_structure_keeps_its_colour(two_bones, tmp_path, ending):
    found = trimesh.load_mesh(write(two_bones, tmp_path / f"knee{ending}"))
    colours = {tuple(int(c) for c in row[:3]) for row in found.visual.vertex_colors}
    assert colours == {mesh.colour for mesh in two_bones}


def test_the_ply_header_says_what_and_where(two_bones, tmp_path):
    header = write(two_bones, tmp_path / "knee.ply").read_bytes().partition(b"end_header\n")[0]
    lines = header.decode("ascii").splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "comment RAS millimetres"]
    assert "comment structure tibia" in lines
    assert "comment structure femur" in lines
    assert f"element face {sum(len(mesh.faces) for mesh in two_bones)}" in lines


def test_what_cannot_be_written_is_refused_and_leaves_nothing(two_bones, tmp_path):
    with pytest.raises(UnknownName, match=r"did you mean '\.ply'"):
        write(two_bones, tmp_path / "knee.plyy")
    with pytest.raises(LabelError, match="no surface to write"):
        write([], tmp_path / "knee.ply")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="could not be written"):
        write(two_bones, tmp_path / "file" / "knee.ply")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_bones_of_a_real_knee_are_closed_and_where_their_voxels_are(shared):
    nibabel = pytest.importorskip("nibabel")
    name = "ct3702_left_knee_femur_tibia_kitarp07.nii.gz"
    image = nibabel.load(shared / "knee_label_maps_only" / name)
    array = np.rint(np.asarray(image.dataobj)).astype(np.uint8)
    labels = LabelMap.of(array, Grid(array.shape, image.affine))
    for mesh in surfaces(labels):
        assert mesh.closed
        assert abs(mesh.volume_change) < 1e-3
        voxels = labels.grid.index_to_world(np.argwhere(labels.mask(mesh.name)))
        np.testing.assert_allclose(mesh.vertices.min(axis=0), voxels.min(axis=0), atol=2)
        np.testing.assert_allclose(mesh.vertices.max(axis=0), voxels.max(axis=0), atol=2)
