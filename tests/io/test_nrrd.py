"""NRRD, MetaImage and 3D Slicer's segmentations, with SimpleITK as the other witness."""

import gzip
import logging
import re
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from condyle.core import KNEE, LOWER_LIMB, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import (
    ConfigError,
    GeometryError,
    LabelError,
    MissingFile,
    OverlapError,
    UnreadableFile,
)
from condyle.io import read, read_labels, write
from condyle.io.safety import HELD
from strategies import rotation

ARRAY = np.random.default_rng(0).integers(-1000, 2000, (6, 7, 8)).astype(np.int16)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: {space}\nsizes: 6 7 8\n"
    "space directions: (2,0,0) (0,3,0) (0,0,4)\nkinds: domain domain domain\n"
    "endian: little\nencoding: {encoding}\nspace origin: (10,20,30)\n{more}\n"
)


def nrrd(path, space="left-posterior-superior", encoding="raw", more="", data=None):
    """An NRRD written by hand; voxels behind the header unless `data` is b''."""
    data = ARRAY.tobytes(order="F") if data is None else data
    header = NRRD.format(space=space, encoding=encoding, more=more).encode()
    path.write_bytes(header + (gzip.compress(data) if encoding == "gzip" else data))
    return path


def segments(path, layers, names):
    """A .seg.nrrd of one layer a structure, as 3D Slicer writes segments that may overlap."""
    image = sitk.GetImageFromArray(np.stack(layers, axis=-1).transpose(2, 1, 0, 3), isVector=True)
    for n, name in enumerate(names):
        image.SetMetaData(f"Segment{n}_Name", name)
        image.SetMetaData(f"Segment{n}_LabelValue", "1")
        image.SetMetaData(f"Segment{n}_Layer", str(n))
        image.SetMetaData(f"Segment{n}_Color", "1 0.5 0")
    sitk.WriteImage(image, str(path), True)
    return path


def test_lps_becomes_ras_and_ras_stays(tmp_path):
    lps = read(nrrd(tmp_path / "lps.nrrd"))
    np.testing.assert_array_equal(
        lps.grid.affine[:3], [[-2, 0, 0, -10], [0, -3, 0, -20], [0, 0, 4, 30]]
    )
    ras = read(nrrd(tmp_path / "ras.nrrd", space="right-anterior-superior"))
    np.testing.assert_array_equal(
        ras.grid.affine[:3], [[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30]]
    )
    np.testing.assert_array_equal(ras.array, ARRAY)


def test_a_detached_header_is_read(tmp_path):
    (tmp_path / "x.raw").write_bytes(b"skip" + ARRAY.tobytes(order="F"))
    path = nrrd(tmp_path / "x.nhdr", more="byte skip: 4\ndata file: x.raw\n", data=b"")
    np.testing.assert_array_equal(read(path).array, ARRAY)


def test_a_detached_header_without_its_voxels_says_so(tmp_path):
    path = nrrd(tmp_path / "x.nhdr", more="data file: y.raw\n", data=b"")
    with pytest.raises(UnreadableFile, match=r"y\.raw, which is not beside it"):
        read(path)


def test_a_header_may_not_read_other_peoples_files(tmp_path):
    (tmp_path / "secret.raw").write_bytes(ARRAY.tobytes())
    (tmp_path / "in").mkdir()
    path = nrrd(tmp_path / "in" / "x.nhdr", more="data file: ../secret.raw\n", data=b"")
    with pytest.raises(UnreadableFile, match="outside"):
        read(path)


def test_an_nrrd_without_a_named_world_is_read_with_a_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "condyle"):
        read(nrrd(tmp_path / "x.nrrd", space="3D-right-handed"))
    assert "left-posterior-superior is taken" in caplog.text


def test_other_units_than_mm_are_refused(tmp_path):
    with pytest.raises(GeometryError, match="um"):
        read(nrrd(tmp_path / "x.nrrd", more='space units: "um" "um" "um"\n'))


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("kept", [0.2, 0.5, -1])
def test_a_file_cut_short_is_refused(tmp_path, ending, packed, kept):
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(path), packed)
    data = path.read_bytes()
    path.write_bytes(data[: kept if kept < 0 else int(kept * len(data))])
    with pytest.raises(UnreadableFile):
        read(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_damaged_stream_is_refused(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY), str(path), True)
    data = bytearray(path.read_bytes())
    data[-40] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(UnreadableFile):
        read(path)


def test_a_raw_file_cut_short_beside_its_mhd_is_refused(tmp_path):
    path = write(Volume(ARRAY, Grid.regular(ARRAY.shape)), tmp_path / "x.mhd")
    raw = tmp_path / "x.raw"
    raw.write_bytes(raw.read_bytes()[:-2])
    with pytest.raises(UnreadableFile, match="promises 672 bytes"):
        read(path)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_text_under_another_name_is_refused(tmp_path, ending):
    path = tmp_path / f"x{ending}"
    path.write_text("nothing of that kind\n")
    with pytest.raises(UnreadableFile):
        read(path)


def test_colours_and_four_dimensions_are_refused(tmp_path):
    colours = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "rgb.mha"))
    with pytest.raises(UnreadableFile, match="3 numbers a voxel"):
        read(tmp_path / "rgb.mha")
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((2, 3, 4, 5), np.uint8), isVector=False),
        str(tmp_path / "t.nrrd"),
    )
    with pytest.raises(UnreadableFile, match="4 dimensions"):
        read(tmp_path / "t.nrrd")


def test_segments_keep_names_numbers_and_colours(tmp_path):
    scheme = LabelScheme.of({"femur": 7, "patella": 300}, {"femur": (1, 2, 3)})
    array = np.zeros((3, 4, 5), np.uint16)
    array[0], array[1] = 7, 300
    labels = LabelMap(array, Grid.regular((3, 4, 5)), scheme)
    back = read_labels(write(labels, tmp_path / "x.seg.nrrd"))
    assert back.scheme == scheme
    np.testing.assert_array_equal(back.array, array)


def test_a_scheme_that_knows_the_segments_names_decides_their_numbers(tmp_path):
    array = np.array([[[1, 2, 0]]], np.uint8)
    labels = LabelMap(array, Grid.regular((1, 1, 3)), LabelScheme.of({"femur": 1, "tibia": 2}))
    path = write(labels, tmp_path / "x.seg.nrrd")
    assert read_labels(path, KNEE).array.ravel().tolist() == [2, 1, 0]


def test_layers_without_overlap_become_one_label_map(tmp_path):
    femur, tibia = np.zeros((2, 3, 4, 5), np.uint8)
    femur[0], tibia[2] = 1, 1
    path = segments(tmp_path / "x.seg.nrrd", [femur, tibia], ["femur", "tibia"])
    assert np.unique(read_labels(path, LOWER_LIMB).array[0]).tolist() == [2]
    plain = read_labels(path)
    assert plain.scheme.to_dict() == {"femur": 1, "tibia": 2}
    assert plain.scheme["femur"].colour == (255, 128, 0)


def test_layers_that_overlap_are_refused_with_a_count(tmp_path):
    femur, tibia = np.zeros((2, 3, 4, 5), np.uint8)
    femur[0], tibia[:, 0] = 1, 1
    path = segments(tmp_path / "x.seg.nrrd", [femur, tibia], ["femur", "tibia"])
    with pytest.raises(OverlapError, match="overlap in 5 voxels"):
        read_labels(path)


def test_numbers_that_no_segment_names_are_refused(tmp_path):
    labels = LabelMap(np.full((2, 2, 2), 3, np.uint8), Grid.regular((2, 2, 2)), KNEE)
    image_path = tmp_path / "x.seg.nrrd"
    write(labels, image_path)
    with pytest.raises(LabelError, match=r"labels \[3\]"):
        read_labels(image_path)


@pytest.mark.parametrize("number", ["0", "-1", "4000000000", "99999999999999999999"])
def test_a_segment_may_not_have_just_any_number(tmp_path, number):
    labels = LabelMap(np.full((2, 2, 2), 1, np.uint8), Grid.regular((2, 2, 2)), KNEE)
    path = write(labels, tmp_path / "x.seg.nrrd")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"LabelValue:=1", b"LabelValue:=" + number.encode()))
    with pytest.raises(LabelError, match=re.escape(number)):
        read_labels(path)


META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "TransformMatrix = 0 1 0 -1 0 0 0 0 1\nOffset = 10 20 30\nElementSpacing = 2 3 4\n"
    "DimSize = 6 7 8\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)


def meta(path, old="", new="", data=None):
    """A MetaImage written by hand, with one piece of its header replaced."""
    assert old in META
    header = META.replace(old, new).encode() if old else META.encode()
    path.write_bytes(header + (ARRAY.tobytes(order="F") if data is None else data))
    return path


def require_as_simpleitk(path):
    """Our voxels, and their places, are those that SimpleITK finds."""
    ours, theirs = read(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(ours.array, sitk.GetArrayFromImage(theirs).T)
    assert ours.array.dtype == sitk.GetArrayViewFromImage(theirs).dtype
    for at in np.ndindex(2, 2, 2):
        index = tuple(int(a * (n - 1)) for a, n in zip(at, ours.grid.shape, strict=True))
        lps = np.array(theirs.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose(ours.grid.index_to_world(index), lps * (-1, -1, 1), atol=1e-6)


@pytest.mark.parametrize("dtype", HELD)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_what_simpleitk_writes_is_read_as_simpleitk_reads_it(tmp_path, dtype, packed, ending):
    image = sitk.GetImageFromArray(ARRAY.astype(dtype))
    image.SetSpacing((0.5, 0.7, 3))
    image.SetOrigin((-20, 30, 400))
    image.SetDirection(rotation((0.3, -0.2, 0.5)).ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / f"x{ending}"), packed)
    require_as_simpleitk(tmp_path / f"x{ending}")


@pytest.mark.parametrize("space", ["RAS", "left-anterior-superior", "LPS", "scanner-xyz"])
@pytest.mark.parametrize("endian", ["big", "little"])
def test_nrrd_worlds_and_byte_orders_are_those_of_simpleitk(tmp_path, space, endian):
    path = nrrd(tmp_path / "x.nrrd", space=space)
    path.write_bytes(path.read_bytes().replace(b"endian: little", f"endian: {endian}".encode()))
    require_as_simpleitk(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MSB = False", "MSB = True"),
        ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
        ("TransformMatrix", "Rotation"),
        ("Offset", "Position"),
        ("TransformMatrix = 0 1 0 -1 0 0 0 0 1\n", ""),
        ("Offset = 10 20 30\n", ""),
        ("MET_SHORT", "MET_USHORT"),
    ],
)
def test_metaimage_fields_mean_what_they_mean_to_simpleitk(tmp_path, old, new):
    require_as_simpleitk(meta(tmp_path / "x.mha", old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("NDims = 3", "NDims = 83"),  # these two end a process that lets ITK read them
        ("NDims = 3", "NDims = -3"),
        ("0 1 0 -1", "nan 1 0 -1"),  # and this one hangs it
        ("ElementSpacing = 2 3 4\n", ""),
        ("ElementSpacing = 2 3 4", "ElementSpacing = 2 3"),
        ("ElementSpacing = 2 3 4", "ElementSpacing = 2 3 inf"),
        ("DimSize = 6 7 8", "DimSize = 6 7 0"),
        ("DimSize = 6 7 8", "DimSize = 6 7"),
        ("DimSize = 6 7 8", "DimSize = 32000 32000 32000"),
        ("DimSize = 6 7 8", "DimSize = 6 7 7"),
        ("MET_SHORT", "MET_LONG"),
        ("MET_SHORT", "MET_UCHAR"),
        ("Offset = 10 20 30", "Offset = 10 20 30\nOffset = 0 0 0"),
        ("ElementType", "ElementToIntensityFunctionSlope = 2\nElementType"),
    ],
)
def test_a_metaimage_that_misleads_is_refused(tmp_path, old, new):
    with pytest.raises((UnreadableFile, GeometryError), match=r"x\.mha"):
        read(meta(tmp_path / "x.mha", old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sizes: 6 7 8", "sizes: 6 7 7"),
        ("sizes: 6 7 8", "sizes: 6 7 8 2"),
        ("sizes: 6 7 8", "sizes: 6 7 99999999999999999999"),
        ("dimension: 3", "dimension: 4"),
        ("(2,0,0)", "(2,0)"),
        ("(2,0,0)", "(nan,0,0)"),
        ("(2,0,0)", "none"),
        ("(2,0,0) (0,3,0)", "(2,0,0) (4,0,0)"),
        ("space directions: (2,0,0) (0,3,0) (0,0,4)\n", ""),
        ("endian: little\n", ""),
        ("type: short", "type: block"),
        ("type: short", "type: uchar"),
        ("type: short", "type: short\ntype: short"),
    ],
)
def test_an_nrrd_that_misleads_is_refused(tmp_path, old, new):
    path = nrrd(tmp_path / "x.nrrd")
    raw = path.read_bytes()
    assert old.encode() in raw
    path.write_bytes(raw.replace(old.encode(), new.encode()))
    with pytest.raises((UnreadableFile, GeometryError), match=r"x\.nrrd"):
        read(path)


def test_zeros_behind_the_voxels_are_padding_and_a_bomb_of_them_is_not_inflated(tmp_path):
    padded = ARRAY.tobytes(order="F") + bytes(500)
    for path in (
        meta(tmp_path / "x.mha", data=padded),
        nrrd(tmp_path / "x.nrrd", data=padded),
        nrrd(tmp_path / "y.nrrd", encoding="gzip", data=padded),
    ):
        np.testing.assert_array_equal(read(path).array, ARRAY)
    bomb = zlib.compress(ARRAY.tobytes(order="F") + bytes(64 << 20))
    path = meta(tmp_path / "x.mha", "NDims", "CompressedData = True\nNDims", bomb)
    with pytest.raises(UnreadableFile, match="behind the last voxel"):
        read(path)


def test_a_scan_is_no_segmentation(tmp_path):
    with pytest.raises(ConfigError, match="label map"):
        write(Volume(ARRAY, Grid.regular(ARRAY.shape)), tmp_path / "x.seg.nrrd")


def test_unknown_endings_and_missing_files(tmp_path):
    with pytest.raises(ConfigError, match=r"\.nii\.gz"):
        write(Volume(ARRAY, Grid.regular(ARRAY.shape)), tmp_path / "x.gif")
    (tmp_path / "x.gif").write_bytes(b"x" * 200)
    with pytest.raises(UnreadableFile, match=r"\.nii\.gz"):
        read(tmp_path / "x.gif")
    with pytest.raises(MissingFile, match=r"x\.nrrd is not there"):
        read(tmp_path / "x.nrrd")


def test_real_nrrd_files_lie_where_simpleitk_says(shared):
    files = [f for f in sorted(shared.rglob("*.nrrd")) if f.stat().st_size < 3e6]
    assert files
    for file in files:
        ours, theirs = read(file), sitk.ReadImage(str(file))
        np.testing.assert_array_equal(ours.array, sitk.GetArrayFromImage(theirs).T)
        last = tuple(n - 1 for n in ours.grid.shape)
        lps = np.array(theirs.TransformIndexToPhysicalPoint(last))
        np.testing.assert_allclose(ours.grid.index_to_world(last), lps * (-1, -1, 1), atol=1e-6)
