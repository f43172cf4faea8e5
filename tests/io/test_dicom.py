"""DICOM series: in Hounsfield units and in their place, or refused; SimpleITK is a witness."""

import re
import stat
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid

from condyle.errors import GeometryError, UnknownName, UnreadableFile
from condyle.io import find_scans, read, read_labels
from condyle.io import zip as archive
from slices import dicom_image, saved

ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
OBLIQUE = (np.array([0.8, 0.6, 0]), np.array([0.0, 0, -1]))
SERIES, STUDY = generate_uid(), generate_uid()
VALUES = np.random.default_rng(3).integers(0, 2000, (7, 6, 5)).astype(np.int16)
"""Hounsfield units + 1024 of the phantom: 7 slices of 6 rows and 5 columns."""


def a_slice(n, row=ROW, column=COLUMN, step=2.5, lean=0.0, slope=1, inter=-1024, **more):
    """Slice n of a phantom, as a pydicom data set."""
    position = np.array([-50.0, 20, 300]) + n * step * np.cross(row, column) + n * lean * column
    elements = {
        "SeriesInstanceUID": SERIES, "StudyInstanceUID": STUDY, "SeriesDescription": "Knee 2.5",
        "PatientName": "Canary^Patient", "PatientID": "CANARY", "InstanceNumber": n + 1,
        "ImagePositionPatient": [f"{x:.6f}" for x in position],
        "ImageOrientationPatient": [f"{x:.6f}" for x in (*row, *column)],
        "PixelSpacing": ["0.7", "0.5"], "SliceThickness": "99",
        "RescaleSlope": slope, "RescaleIntercept": inter,
    }  # fmt: skip
    stored = np.round((VALUES[n % 7] - 1024 - inter) / slope)
    return dicom_image(stored, **(elements | more))


def require_right(folder, row=ROW, column=COLUMN):
    """The phantom's values and places, and SimpleITK's agreement."""
    volume = read(folder)
    np.testing.assert_array_equal(volume.array, VALUES.astype(int).transpose(2, 1, 0) - 1024)
    assert volume.modality == "CT"
    normal = np.cross(row, column)
    lps = np.array([-50.0, 20, 300]) + 4 * 0.5 * row + 5 * 0.7 * column + 6 * 2.5 * normal
    np.testing.assert_allclose(volume.grid.index_to_world((4, 5, 6)), lps * (-1, -1, 1), atol=1e-4)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    theirs = reader.Execute()
    np.testing.assert_allclose(volume.array, sitk.GetArrayFromImage(theirs).T, atol=1e-3)
    np.testing.assert_allclose(theirs.TransformIndexToPhysicalPoint((4, 5, 6)), lps, atol=1e-3)
    return volume


def test_shuffled_names_and_a_lying_thickness_do_no_harm(tmp_path):
    volume = require_right(saved(tmp_path / "s", [a_slice(n) for n in range(7)]))
    assert volume.array.dtype == np.int16
    assert volume.spacing == pytest.approx((0.5, 0.7, 2.5))


@pytest.mark.parametrize(
    ("row", "column"), [OBLIQUE, (-ROW, COLUMN), (-ROW, -COLUMN), (COLUMN, ROW)], ids=str
)
def test_every_orientation_lies_where_it_was_scanned(tmp_path, row, column):
    require_right(saved(tmp_path / "s", [a_slice(n, row, column) for n in range(7)]), row, column)


def test_each_slice_has_its_own_slope(tmp_path):
    slices = [a_slice(n, slope=(1, 0.5, 0.25)[n % 3], inter=-1000 - n) for n in range(7)]
    assert require_right(saved(tmp_path / "s", slices)).array.dtype == np.float32


def test_values_past_16_bits_keep_their_whole_numbers(tmp_path):
    folder = saved(tmp_path / "s", [a_slice(n, slope=1, RescaleSlope=100) for n in range(7)])
    assert read(folder).array.dtype == np.int32


def test_slices_in_folders_among_other_files_are_found(tmp_path):
    saved(tmp_path / "a", [a_slice(n) for n in range(3)])
    saved(tmp_path / "b" / "c", [a_slice(n) for n in range(3, 7)])
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / ".DS_Store").write_bytes(b"")
    assert read(tmp_path).grid.shape == (5, 6, 7)


def broken(n, **changes):
    """The phantom with slice n changed."""
    return [a_slice(k, **(changes if k == n else {})) for k in range(7)]


CANNOT = {
    "missing slice": ([a_slice(n) for n in (0, 1, 2, 4, 5, 6)], r"missing.*305.* steps of 5 mm"),
    "other numbers at one place": (
        [*(a_slice(n) for n in range(7)), a_slice(3, RescaleIntercept=0)],
        r"more than one slice at 307\.5",
    ),
    "too steep": ([a_slice(n, lean=3) for n in range(7)], r"tilted by 50\.2 degrees"),
    "shifted slice": (
        broken(3, ImagePositionPatient=["-50", "23", "307.5"]),
        "do not lie over each other",
    ),
    "one place only": (
        [a_slice(0, RescaleIntercept=-1024 - n) for n in range(4)],
        "one slice 4 times",
    ),
    "odd bits": (broken(3, HighBit=11), "odd bits"),
    "bogus size": (broken(3, Rows=60000, Columns=60000), "which it cannot hold"),
    "turned a little": (
        broken(3, ImageOrientationPatient=[0.98, 0.199, 0, -0.199, 0.98, 0]),
        "Orientation",
    ),
    "turned right away": (broken(3, row=OBLIQUE[0], column=OBLIQUE[1]), "missing"),
    "other pixel size": (broken(3, PixelSpacing=["0.8", "0.5"]), "PixelSpacing"),
    "no position": (broken(3, ImagePositionPatient=None), "no ImagePositionPatient"),
    "colour": (broken(3, SamplesPerPixel=3, PhotometricInterpretation="RGB"), "colour"),
    "multi-frame": (broken(3, NumberOfFrames=7), "7 frames and does not say where"),
    "few pixels": (broken(3, PixelData=b"\0\0" * 29), "damaged or cut short"),
}


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_be_read_rightly_is_refused_in_one_sentence(tmp_path, case):
    slices, words = CANNOT[case]
    with pytest.raises((GeometryError, UnreadableFile), match=words) as caught:
        read(saved(tmp_path / "s", slices))
    assert "\n" not in str(caught.value)
    assert "Canary" not in str(caught.value)


def test_ct_without_a_rescale_slope_is_refused(tmp_path):
    slices = [a_slice(n) for n in range(7)]
    del slices[2].RescaleSlope
    with pytest.raises(UnreadableFile, match="Hounsfield"):
        read(saved(tmp_path / "s", slices))


def test_a_truncated_file_is_named(tmp_path):
    folder = saved(tmp_path / "s", [a_slice(n) for n in range(7)])
    for kept in (0, 100, 200, 400, 600, -20):
        whole = (folder / "3.dcm").read_bytes()
        (folder / "3.dcm").write_bytes(whole[:kept])
        with pytest.raises(UnreadableFile, match=r"3\.dcm"):
            read(folder)
        (folder / "3.dcm").write_bytes(whole)


def test_two_series_are_listed_without_the_patient(tmp_path):
    slices = [a_slice(n) for n in range(7)]
    scout = a_slice(0, SeriesInstanceUID=generate_uid(), SeriesDescription="Scout")
    folder = saved(tmp_path / "s", [*slices, scout])
    with pytest.raises(UnreadableFile, match=r"holds 2 series .*choose one by `series`") as e:
        read(folder)
    assert "canary" not in str(e.value).lower()
    number = re.search(r"(\d): 7 images of CT 5x6 'Knee 2.5'", str(e.value))[1]
    assert read(folder, series=number).grid.shape == read(folder, series=SERIES).grid.shape
    with pytest.raises(UnknownName, match="7 images"):
        read(folder, series="3")


def test_a_folder_without_dicom_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UnreadableFile, match="no DICOM images"):
        read(tmp_path)


def test_labels_are_not_read_from_dicom(tmp_path):
    with pytest.raises(UnreadableFile, match=r"\.nii\.gz"):
        read_labels(saved(tmp_path / "s", [a_slice(0)]))


def zipped(path, folder, extra=()):
    with zipfile.ZipFile(path, "w") as archive_:
        for file in sorted(folder.iterdir()):
            archive_.write(file, f"study/{file.name}")
        for info, data in extra:
            archive_.writestr(info, data)
    return path


def test_a_zip_is_read_like_its_folder(tmp_path):
    folder = saved(tmp_path / "s", [a_slice(n) for n in range(7)])
    path = zipped(tmp_path / "s.zip", folder, [("__MACOSX/._0.dcm", b"mac")])
    np.testing.assert_array_equal(read(path).array, read(folder).array)


def test_a_fault_inside_a_zip_names_the_zip(tmp_path):
    folder = saved(tmp_path / "s", [a_slice(n) for n in (0, 1, 3)])
    with pytest.raises(GeometryError, match=r"s\.zip has slices missing"):
        read(zipped(tmp_path / "s.zip", folder))


@pytest.mark.parametrize("name", ["../out.dcm", "/out.dcm", "a\\..\\out.dcm", "C:/out.dcm", "link"])
def test_a_zip_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    folder = saved(tmp_path / "in" / "s", [a_slice(0)])
    info = zipfile.ZipInfo("x")
    info.filename = name
    if name == "link":
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = zipped(tmp_path / "in" / "s.zip", folder, [(info, "/etc/passwd")])
    with pytest.raises(UnreadableFile, match="points outside"):
        read(path)
    assert not list(tmp_path.rglob("out.dcm"))


def test_a_zip_bomb_is_stopped_while_it_inflates(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("0.dcm", bytes(20 << 20))
    with pytest.raises(UnreadableFile, match="inflates"), archive.unpacked(path, size=1 << 20):
        pass
    with pytest.raises(UnreadableFile, match="1 files"), archive.unpacked(path, entries=0):
        pass


def test_scans_are_found(tmp_path):
    saved(tmp_path / "p1" / "ct", [a_slice(0)])
    saved(tmp_path / "p2", [a_slice(0)])
    (tmp_path / "b.nii.gz").write_bytes(b"")
    (tmp_path / "._b.nii.gz").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("x")
    assert find_scans(tmp_path) == [tmp_path / "b.nii.gz", tmp_path / "p1" / "ct", tmp_path / "p2"]
    assert find_scans(tmp_path / "p2") == [tmp_path / "p2"]


def test_a_real_series_equals_the_same_scan_in_nifti(shared):
    ours = read(shared / "sts_dicom_rtstruct/STS_028/CT/image")
    nifti = read(shared / "sts_extremity/STS_028/CT_image.nii.gz")
    assert ours.grid.distance_to(nifti.grid) < 1e-2  # NIfTI's header is single precision
    np.testing.assert_array_equal(ours.array, nifti.array)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"Rows": 5}, "more pixels than 5 rows"),
        ({"Columns": 4}, "more pixels"),
        ({"Rows": 7}, "damaged or cut short"),
        ({"Rows": 0}, "damaged or cut short"),
        ({"PixelSpacing": [0, 1]}, "pixels of"),
        ({"PixelSpacing": [-1, 1]}, "pixels of"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "right angles"),
        ({"BitsStored": 0, "HighBit": -1 % 65536}, "odd bits"),
        ({"RescaleSlope": 0}, "scales its voxels"),
    ],
)
@pytest.mark.parametrize("border", [0, 700])
def test_a_header_that_contradicts_its_pixels_is_refused(tmp_path, wrong, why, border):
    stored = np.full((6, 5), 900)
    stored[5:], stored[:, 4:] = border, border
    images = [
        dicom_image(stored, SeriesInstanceUID=SERIES, PixelSpacing=[1, 1],
                    ImagePositionPatient=[0, 0, n]) for n in range(3)
    ]  # fmt: skip
    for image in images:
        for name, value in wrong.items():
            setattr(image, name, value)
    with pytest.raises((UnreadableFile, GeometryError), match=why):
        read(saved(tmp_path / "s", images))
