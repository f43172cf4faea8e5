"""NIfTI: what damages or misleads is refused with a sentence, and nothing is scaled unasked."""

import gzip
import io
import logging
import zlib

import nibabel as nib
import numpy as np
import pytest
from isal import igzip

from condyle.core import Grid, Volume
from condyle.errors import ConfigError, GeometryError, LabelError, UnreadableFile
from condyle.io import read, read_channels, read_labels, write

SHAPE = (5, 6, 7)


def saved(path, array=None, affine=None, **header):
    """A NIfTI file made by nibabel alone, with header fields set by hand."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if array is None else array
    image = nib.Nifti1Image(array, np.diag([2.0, 2, 3, 1]) if affine is None else affine)
    image.set_sform(image.affine, header.pop("sform_code", 1))
    image.set_qform(header.pop("qform", None), header.pop("qform_code", 0))
    if "unit" in header:
        image.header.set_xyzt_units(header.pop("unit"))
    for name, value in header.items():
        image.header[name] = value
    image.to_filename(path)
    return path


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0, 10, 348, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, ending, kept):
    path = saved(tmp_path / f"scan{ending}")
    data = path.read_bytes()
    path.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(UnreadableFile, match="scan"):
        read(path)


@pytest.mark.parametrize("damage", ["crc", "length", "no trailer", "voxel", "garbage behind"])
def test_a_gzip_stream_with_any_damage_is_refused(tmp_path, damage):
    path = saved(tmp_path / "scan.nii")
    raw = path.read_bytes()
    good = gzip.compress(raw)
    wrong = zlib.compress(raw)[2:-4]  # the bare stream
    changed = bytearray(raw)
    changed[400] ^= 1
    packed = {
        "crc": good[:-8] + b"\0\0\0\0" + good[-4:],
        "length": good[:-4] + b"\1\0\0\0",
        "no trailer": good[:-8],
        "voxel": good[:10] + zlib.compress(bytes(changed))[2:-4] + good[-8:],
        "garbage behind": good + b"garbage that is no member",
    }[damage]
    assert wrong
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(packed)
    with pytest.raises(UnreadableFile):
        read(path)


def test_igzip_refuses_a_wrong_checksum_and_a_cut_stream():
    good = gzip.compress(b"voxels" * 1000)
    for bad in (good[:-8] + b"\0\0\0\0" + good[-4:], good[:-1], good[: len(good) // 2]):
        with pytest.raises((EOFError, gzip.BadGzipFile)):
            igzip.open(io.BytesIO(bad)).read()


def test_text_that_is_called_nifti_is_refused(tmp_path):
    for ending in (".nii", ".nii.gz"):
        path = tmp_path / f"notes{ending}"
        path.write_text("no scan at all, only words " * 40)
        with pytest.raises(UnreadableFile, match="notes"):
            read(path)


def test_a_header_that_promises_more_than_the_file_can_hold_takes_no_memory(tmp_path):
    raw = bytearray(saved(tmp_path / "scan.nii").read_bytes())
    raw[42:48] = np.array([32000, 32000, 32000], "<i2").tobytes()
    (tmp_path / "scan.nii").write_bytes(raw)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    for name in ("scan.nii", "scan.nii.gz"):
        with pytest.raises(UnreadableFile, match="promises 65536000000000 bytes"):
            read(tmp_path / name)


def test_a_gzip_bomb_behind_the_voxels_is_not_inflated(tmp_path):
    raw = saved(tmp_path / "scan.nii").read_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(raw + bytes(8 << 20)))
    with pytest.raises(UnreadableFile, match="behind the last voxel"):
        read(tmp_path / "scan.nii.gz")


def test_two_geometries_that_disagree_are_refused_with_their_distance(tmp_path):
    path = saved(tmp_path / "x.nii", qform=np.diag([-2.0, 2, 3, 1]), qform_code=1)
    with pytest.raises(GeometryError, match=r"16 mm apart \(qform and sform disagree\)"):
        read(path)


def test_two_geometries_that_differ_by_rounding_pass(tmp_path):
    near = np.diag([2.0, 2, 3, 1])
    near[0, 3] = 0.05
    assert read(saved(tmp_path / "x.nii", qform=near, qform_code=1)).grid.origin == (0, 0, 0)


def test_a_file_without_geometry_is_read_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "condyle"):
        volume = read(saved(tmp_path / "x.nii", sform_code=0, qform_code=0))
    assert volume.spacing == (2, 2, 3)
    assert "codes are 0" in caplog.text


def test_sheared_axes_are_refused(tmp_path):
    affine = np.diag([2.0, 2, 3, 1])
    affine[0, 2] = 0.3
    with pytest.raises(GeometryError, match="sheared"):
        read(saved(tmp_path / "x.nii", affine=affine))


def test_a_sheared_grid_is_written_with_an_sform_alone(tmp_path):
    affine = np.diag([2.0, 2, 3, 1])
    affine[0, 2] = 0.3
    path = write(Volume(np.zeros(SHAPE, np.uint8), Grid(SHAPE, affine)), tmp_path / "x.nii.gz")
    header = nib.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)


@pytest.mark.parametrize("field", ["pixdim", "srow_x"])
def test_a_geometry_that_is_no_number_is_refused(tmp_path, field):
    path = saved(tmp_path / "x.nii")
    raw = bytearray(path.read_bytes())
    at = {"pixdim": 80, "srow_x": 280}[field]
    raw[at : at + 4] = np.array([np.nan], "<f4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(GeometryError):
        read(path)


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1e-3), ("meter", 1e3), ("mm", 1)])
def test_units_become_mm(tmp_path, unit, factor):
    affine = np.diag([2 / factor, 2 / factor, 3 / factor, 1])
    assert read(saved(tmp_path / "x.nii", affine=affine, unit=unit)).spacing == pytest.approx(
        (2, 2, 3)
    )


@pytest.mark.parametrize("spacing", [0.005, 60])
def test_voxels_that_no_scanner_makes_are_refused(tmp_path, spacing):
    with pytest.raises(GeometryError, match="mm"):
        read(saved(tmp_path / "x.nii", affine=np.diag([spacing, 1, 1, 1])))


def test_colours_are_refused(tmp_path):
    array = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for reader in (read, read_labels):
        with pytest.raises(UnreadableFile, match="colours"):
            reader(saved(tmp_path / "x.nii", array))


def test_scaled_integers_become_floats_that_hold_them(tmp_path):
    array = np.array([[[0, 1, 2, 1000]]], np.int16)
    path = saved(tmp_path / "x.nii", array)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -1024], "<f4").tobytes()
    path.write_bytes(raw)
    volume = read(path)
    assert volume.array.dtype == np.float32
    assert volume.array.ravel().tolist() == [-1024, -1023.5, -1023, -524]


def test_a_file_of_several_volumes_needs_a_choice(tmp_path):
    array = np.arange(48, dtype=np.uint8).reshape(2, 3, 4, 2)
    path = saved(tmp_path / "x.nii.gz", array)
    with pytest.raises(UnreadableFile, match="2 volumes"):
        read(path)
    with pytest.raises(ConfigError, match="0 to 1"):
        read(path, volume=2)
    np.testing.assert_array_equal(read(path, volume=1).array, array[..., 1])
    assert [v.array[0, 0, 0] for v in read_channels([path])] == [0, 1]
    assert read(saved(tmp_path / "y.nii", array[..., :1])).grid.shape == (2, 3, 4)


def test_labels_that_are_no_whole_numbers_are_refused(tmp_path):
    with pytest.raises(LabelError, match=r"holds 0\.5"):
        read_labels(saved(tmp_path / "x.nii.gz", np.full(SHAPE, 0.5, np.float32)))


def test_float_labels_of_whole_numbers_become_integers(tmp_path):
    labels = read_labels(saved(tmp_path / "x.nii.gz", np.full(SHAPE, 3.0)))
    assert labels.array.dtype == np.uint8
    assert labels.scheme.to_dict() == {"label_3": 3}


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, bool])
def test_numbers_that_no_format_holds_are_named(tmp_path, dtype):
    with pytest.raises(ConfigError, match=np.dtype(dtype).name):
        write(Volume(np.zeros(SHAPE, dtype), Grid.regular(SHAPE)), tmp_path / "x.nii.gz")
    assert not list(tmp_path.iterdir())


def test_real_scans_are_read_as_nibabel_reads_them(shared):
    files = [f for f in sorted(shared.glob("[st]*/**/*.nii.gz")) if f.stat().st_size < 5e5]
    assert len(files) > 20
    for file in files:
        theirs, ours = nib.load(file), read(file)
        np.testing.assert_array_equal(ours.array, np.asarray(theirs.dataobj))
        np.testing.assert_allclose(ours.grid.affine, theirs.affine)
