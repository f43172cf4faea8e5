"""The ways in which NIfTI headers lie, each refused, or repaired with a warning; never silent.

Measured of others: SimpleITK reads half of a file, takes the qform where nibabel takes the sform,
and a spacing of NaN as 1; nibabel lets a header of 400 bytes ask for 64 TB.
"""

import gzip
import logging
import struct
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from condyle.config import Preparation
from condyle.errors import GeometryError, LabelError, UnreadableFile
from condyle.io import read, read_labels
from condyle.prepare.recipe import Recipe

SHAPE = (5, 6, 7)
FIELDS = {  # NIfTI-1: where a field lies, and how it is packed
    "dim": (40, "<8h"), "datatype": (70, "<h"), "bitpix": (72, "<h"), "pixdim": (76, "<8f"),
    "vox_offset": (108, "<f"), "slope_inter": (112, "<2f"), "units": (123, "<B"),
    "codes": (252, "<2h"), "srow": (280, "<12f"), "magic": (344, "<4s"),
}  # fmt: skip


def saved(path, array=None, qform=None, **fields):
    """A NIfTI-1 file with an sform of 2 x 2 x 3 mm, and fields overwritten in its bytes."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if array is None else array
    image = nib.Nifti1Image(array, np.diag([2.0, 2, 3, 1]))
    image.set_qform(qform, 0 if qform is None else 1)
    raw = bytearray(image.to_bytes())
    for name, values in fields.items():
        at, layout = FIELDS[name]
        struct.pack_into(layout, raw, at, *np.atleast_1d(values).tolist())
    path.write_bytes(gzip.compress(bytes(raw)) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize(
    ("qform", "apart"),
    [
        (np.diag([1.0, 2, 3, 1]), "4 mm"),
        (np.diag([2.0, 2, 1.5, 1]), "9 mm"),
        (np.diag([2.0, -2, 3, 1]), "20 mm"),
        (np.array([[0.0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]), "mm"),
    ],
)
def test_two_geometries_are_refused_with_their_distance_and_what_to_do(tmp_path, qform, apart):
    with pytest.raises(GeometryError, match=f"two geometries, .*{apart} apart .* write it to both"):
        read(saved(tmp_path / "x.nii", qform=qform))


def test_the_guess_for_a_file_without_geometry_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "condyle"):
        volume = read(saved(tmp_path / "x.nii", codes=[0, 0]))
    # what nibabel and FSL take; ITK takes another one
    assert volume.grid.orientation == "LAS"
    assert "LAS is taken" in caplog.text


@pytest.mark.parametrize("step", [0, -1, np.inf, np.nan, 1e-30, 1e30])
@pytest.mark.parametrize("codes", [[0, 0], [1, 0]])
def test_a_spacing_that_cannot_be_is_refused(tmp_path, step, codes):
    path = saved(
        tmp_path / "x.nii", qform=np.diag([2.0, 2, 3, 1]), codes=codes,
        pixdim=[1, step, 2, 3, 0, 0, 0, 0],
    )  # fmt: skip
    with pytest.raises(GeometryError, match=r"x\.nii"):
        read(path)


def test_an_sform_does_not_need_the_spacing_beside_it(tmp_path):
    path = saved(tmp_path / "x.nii", pixdim=[1, 0, -1, 0, 0, 0, 0, 0])
    assert read(path).spacing == (2, 2, 3)


@pytest.mark.parametrize(("units", "spacing"), [(1, 3000.0), (3, 0.003)])
def test_a_wrong_unit_is_found_by_the_voxels_that_it_makes(tmp_path, units, spacing):
    with pytest.raises(GeometryError, match=f"{spacing:.4g} mm"):
        read(saved(tmp_path / "x.nii", units=units))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "fields",
    [
        {"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]},
        {"dim": [4, 5, 6, 7, 32000, 1, 1, 1]},
        {"dim": [3, 5, 6, -7, 1, 1, 1, 1]},
        {"dim": [3, 5, 6, 0, 1, 1, 1, 1]},
        {"dim": [0, 5, 6, 7, 1, 1, 1, 1]},
        {"dim": [7, 5, 6, 7, 2, 2, 2, 2]},
        {"dim": [3, 5, 6, 6, 1, 1, 1, 1]},
        {"vox_offset": [1e30]},
        {"vox_offset": [np.nan]},
        {"vox_offset": [354]},
        {"vox_offset": [352.5]},
        {"vox_offset": [2e9]},
        {"datatype": [32], "bitpix": [64]},  # complex
        {"datatype": [1792], "bitpix": [128]},
        {"datatype": [1536], "bitpix": [128]},  # of 16 bytes
        {"datatype": [2], "bitpix": [8]},
        {"datatype": [9999]},
        {"slope_inter": [np.inf, 0]},
        {"slope_inter": [1e38, 1e38]},
    ],
    ids=str,
)
def test_a_header_that_lies_is_refused_and_takes_no_memory(tmp_path, ending, fields):
    path = saved(tmp_path / f"x{ending}", **fields)
    assert path.stat().st_size < 1000
    tracemalloc.start()
    try:
        for reader in (read, read_labels):
            with pytest.raises((UnreadableFile, LabelError), match=r"x\.nii"):
                reader(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("most", [3, 5, 13, 25, 118])
def test_labels_that_nibabel_scaled_come_back_right_or_are_refused(tmp_path, most):
    truth = np.arange(most + 1, dtype=float).repeat(8).reshape(most + 1, 2, 4)
    image = nib.Nifti1Image(truth, np.diag([2.0, 2, 3, 1]))
    image.header.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "x.nii.gz")
    assert nib.load(tmp_path / "x.nii.gz").dataobj.slope != 1
    if most <= 5:
        np.testing.assert_array_equal(read_labels(tmp_path / "x.nii.gz").array, truth)
    else:
        with pytest.raises(LabelError, match="interpolated or scaled"):
            read_labels(tmp_path / "x.nii.gz")


@pytest.mark.parametrize("value", [0.98, 0.9882, 2.0235, np.nan, np.inf, -1, 70000])
def test_one_voxel_that_is_no_label_refuses_the_label_map(tmp_path, value):
    array = np.ones(SHAPE, np.float32)
    array[2, 3, 4] = value
    with pytest.raises(LabelError, match=r"x\.nii\.gz"):
        read_labels(saved(tmp_path / "x.nii.gz", array))


def test_labels_within_rounding_are_whole(tmp_path):
    array = np.full(SHAPE, 1.0004, np.float32)
    assert read_labels(saved(tmp_path / "x.nii.gz", array)).present() == (1,)


def test_voxels_that_are_no_numbers_are_counted_and_filled_before_a_network_sees_them(
    tmp_path, caplog
):
    array = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    array[0, 0, :2], array[1, 1, 1] = np.nan, np.inf
    volume = read(saved(tmp_path / "x.nii.gz", array))
    with caplog.at_level(logging.WARNING, "condyle"):
        prepared = Recipe(Preparation()).apply((volume,))
    assert "3 voxels that are NaN or infinite" in caplog.text
    assert np.isfinite(prepared.array).all()


@pytest.mark.parametrize("kept", [0.3, 0.9, -8, -1])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_label_maps_cut_short_are_refused(tmp_path, ending, kept):
    path = saved(tmp_path / f"x{ending}", np.ones(SHAPE, np.uint8))
    raw = path.read_bytes()
    path.write_bytes(raw[: kept if kept < 0 else int(kept * len(raw))])
    with pytest.raises(UnreadableFile):
        read_labels(path)


def test_a_wrong_checksum_refuses_a_label_map(tmp_path):
    path = saved(tmp_path / "x.nii.gz", np.ones(SHAPE, np.uint8))
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1
    path.write_bytes(raw)
    with pytest.raises(UnreadableFile, match="damaged"):
        read_labels(path)


def test_a_stream_that_inflates_without_end_is_read_no_further_than_the_promise(tmp_path):
    raw = saved(tmp_path / "x.nii").read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(raw + bytes(64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableFile, match="behind the last voxel"):
            read(tmp_path / "x.nii.gz")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("padding", [1, 511])
def test_zeros_behind_the_voxels_are_padding(tmp_path, padding):
    path = saved(tmp_path / "x.nii")
    path.write_bytes(path.read_bytes() + bytes(padding))
    assert read(path).array[4, 5, 6] == 209
    path.write_bytes(path.read_bytes() + b"\1")
    with pytest.raises(UnreadableFile, match="behind the last voxel"):
        read(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("offset", [-352, 0, 1, 100, 348])
@pytest.mark.parametrize("behind", [b"", b"\0" * 16])
def test_voxels_never_begin_inside_the_header(tmp_path, ending, kind, offset, behind, caplog):
    array = np.zeros((24, 22, 16), np.int16)  # zeros at its end would hide a shift
    array[6:14, 6:18, 4:12] = 900
    image = kind(array, np.diag([1.0, 1, 2, 1]))
    raw = bytearray(image.to_bytes()) + behind
    header = np.frombuffer(raw, image.header.structarr.dtype, 1)
    header["vox_offset"] = offset
    path = tmp_path / f"x{ending}"
    path.write_bytes(gzip.compress(raw) if ending == ".nii.gz" else raw)
    if behind:  # then nobody can say which are voxels
        with pytest.raises(UnreadableFile, match=r"x\.nii"):
            read(path)
        return
    assert np.array_equal(read(path).array, array)
    assert "inside its header" in caplog.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"dim": [9, 5, 6, 7, 1, 1, 1, 1]}, "9 dimensions"),
        ({"dim": [-1, 5, 6, 7, 1, 1, 1, 1]}, "-1 dimensions"),
        ({"dim": [3, -5, 6, 7, 1, 1, 1, 1]}, "-5 x 6 x 7"),
        ({"datatype": [4], "bitpix": [8]}, "16 bits, and have 8"),
        ({"units": 7}, "unit"),
        ({"magic": [b"ni1"]}, "one half of a pair"),
    ],
    ids=str,
)
@pytest.mark.parametrize("endian", ["<", ">"])
def test_a_header_that_contradicts_itself_is_refused_for_its_true_reason(
    tmp_path, fields, said, endian
):
    path = saved(tmp_path / "x.nii", **fields)
    if endian == ">":
        raw = path.read_bytes()
        header = nib.Nifti1Header(raw[:348], endianness="<", check=False).as_byteswapped(">")
        path.write_bytes(header.binaryblock + raw[348:])
    with pytest.raises((UnreadableFile, GeometryError), match=said):
        read(path)
