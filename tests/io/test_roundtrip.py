"""Every format gives back what was written, where it was written, and as SimpleITK sees it."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from condyle.core import LOWER_LIMB, Grid, LabelMap, Volume
from condyle.io import read, read_labels, write

DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


@st.composite
def volumes(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    shape = tuple(draw(st.integers(1, 6)) for _ in range(3))
    turn = Rotation.random(random_state=seed).as_matrix()
    if draw(st.booleans()):  # near half a circle a qform's quaternion is least exact
        axis = np.eye(3)[draw(st.integers(0, 2))] + rng.normal(size=3) * 1e-4
        turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * (np.pi - 1e-4)).as_matrix()
    flips = [draw(st.sampled_from((1, -1))) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn * flips * rng.uniform(0.2, 8, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    array = np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape)
    if dtype.kind == "f":
        array = np.nan_to_num(array, posinf=np.inf, neginf=-np.inf).astype(dtype)
        array.flat[0] = draw(st.sampled_from((np.nan, np.inf, -0.0)))
    return Volume(array, Grid(shape, affine))


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(volume=volumes())
def test_what_is_written_comes_back_bit_by_bit_and_in_its_place(tmp_path, ending, volume):
    back = read(write(volume, tmp_path / f"scan{ending}"))
    assert back.array.dtype == volume.array.dtype
    assert back.array.tobytes() == volume.array.tobytes()
    assert back.grid.same_as(volume.grid)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(volume=volumes())
def test_simpleitk_finds_each_voxel_at_the_same_place(tmp_path, ending, volume):
    path = write(
        volume.with_array(np.zeros(volume.grid.shape, np.int16)), tmp_path / f"scan{ending}"
    )
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == volume.grid.shape
    for corner in ((0, 0, 0), tuple(n - 1 for n in volume.grid.shape)):
        lps = np.array(image.TransformIndexToPhysicalPoint(corner))
        np.testing.assert_allclose(lps * (-1, -1, 1), volume.grid.index_to_world(corner), atol=2e-3)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_scan_gives_the_same_bytes(tmp_path, ending):
    volume = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), Grid.regular((3, 4, 5)))
    first = write(volume, tmp_path / "a" / f"scan{ending}").read_bytes()
    assert write(volume, tmp_path / "b" / f"scan{ending}").read_bytes() == first


@pytest.mark.parametrize("ending", [*ENDINGS, ".seg.nrrd"])
def test_labels_come_back_as_labels(tmp_path, ending):
    array = np.zeros((4, 5, 6), np.uint8)
    array[1], array[2], array[3, 0] = 1, 2, 4
    labels = LabelMap(array, Grid.regular((4, 5, 6), (1, 2, 3)), LOWER_LIMB)
    back = read_labels(write(labels, tmp_path / f"labels{ending}"), LOWER_LIMB)
    np.testing.assert_array_equal(back.array, array)
    assert back.array.dtype == np.uint8
    assert back.grid.same_as(labels.grid)


def test_big_endian_arrays_are_written_as_the_same_numbers(tmp_path):
    array = np.arange(8, dtype=">i4").reshape(2, 2, 2)
    for ending in ENDINGS:
        back = read(write(Volume(array, Grid.regular((2, 2, 2))), tmp_path / f"x{ending}"))
        np.testing.assert_array_equal(back.array, array)


def test_arrays_in_either_memory_order_are_the_same_scan(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for ending in ENDINGS:
        for ordered in (np.ascontiguousarray(array), np.asfortranarray(array), array[::-1][::-1]):
            back = read(write(Volume(ordered, Grid.regular((2, 3, 4))), tmp_path / f"x{ending}"))
            np.testing.assert_array_equal(back.array, array)
