"""Each way in which a DICOM series can lie: repaired with a warning, or refused; never silent.

The phantom is CT of 16 slices with an asymmetric bone of known volume; dcm2niix is a witness.
"""

import re
import subprocess

import dcm2niix
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedCTImageStorage,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from condyle.errors import GeometryError, UnreadableFile
from condyle.io import read
from slices import dicom_image, saved

BONE = 370
"""HU half way between soft tissue and bone."""

SERIES, STUDY, FRAME = generate_uid(), generate_uid(), generate_uid()
PIXEL, STEP, COUNT, ROWS, COLUMNS = (0.8, 0.6), 1.5, 16, 40, 48
TILTS = (15, -15)
"""Degrees."""


def body_at(x, y, z):
    """HU at places in mm: a leaning, tapering shaft in soft tissue in air."""
    body = ((x - 14) / 12) ** 2 + ((y - 16) / 13) ** 2 < 1
    return np.where(beside_shaft(x, y, z) < 0, 700, np.where(body, 40, -1000))


def beside_shaft(x, y, z):
    """How many mm places lie outside the shaft, across it; negative within."""
    return np.hypot(x - 11 - 0.15 * z, y - 14 - 0.1 * z) - (5 - 0.08 * z)


def hounsfield(n):
    """HU, (rows, columns), of slice n, with noise."""
    y, x = np.mgrid[:ROWS, :COLUMNS] * np.reshape(PIXEL, (2, 1, 1))
    return body_at(x, y, n * STEP) + np.random.default_rng(n).integers(-9, 10, x.shape)


def bone_mm3(volume):
    return np.count_nonzero(volume.array > BONE) * volume.grid.voxel_volume


def a_slice(n, column=(0.0, 1, 0), stored=None, **more):
    """Slice n of the phantom, with other header elements where they are given."""
    elements = {
        "SeriesInstanceUID": SERIES, "StudyInstanceUID": STUDY, "FrameOfReferenceUID": FRAME,
        "SeriesNumber": 4, "InstanceNumber": n + 1, "SeriesDescription": "Bone",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": [f"{v:.6f}" for v in (-20.0, 35.0, 100.0 + n * STEP)],
        "ImageOrientationPatient": [f"{v:.8f}" for v in (1, 0, 0, *column)],
        "PixelSpacing": [str(p) for p in PIXEL], "SliceThickness": str(STEP),
        "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0,
    }  # fmt: skip
    stored = hounsfield(n) + 1024 if stored is None else stored
    return dicom_image(stored, **(elements | more))


def series(**more):
    return [a_slice(n, **more) for n in range(COUNT)]


def placed(places):
    """Slices of the body at other heights than every 1.5 mm."""
    return [a_slice(n, ImagePositionPatient=[-20, 35, 100 + z]) for n, z in enumerate(places)]


def tilted(degrees):
    """The same body by a tilted gantry: the table moves along z, the images lean."""
    lean = np.radians(degrees)
    column = (0.0, np.cos(lean), np.sin(lean))
    return [a_slice(n, column, leaning(n, lean) + 1024) for n in range(COUNT)]


def leaning(n, lean):
    """HU of the plane through z = n * STEP that leans by so many radians, cut out of the body."""
    y, x = np.mgrid[:ROWS, :COLUMNS] * np.reshape(PIXEL, (2, 1, 1))
    return body_at(x, y * np.cos(lean), n * STEP + y * np.sin(lean))


def scout():
    return a_slice(
        99,
        stored=np.full((ROWS, COLUMNS), 900),
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImagePositionPatient=[0, 0, 112],
    )


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return read(saved(tmp_path_factory.mktemp("truth") / "s", series()))


def inverted():
    return [
        a_slice(n, stored=4095 - (hounsfield(n) + 1024), PhotometricInterpretation="MONOCHROME1")
        for n in range(COUNT)
    ]


def overlaid():
    """An overlay in bit 12, as old scanners keep it."""
    return [a_slice(n, stored=(hounsfield(n) + 1024) | (1 << 12)) for n in range(COUNT)]


def sloped():
    return [
        a_slice(
            n,
            stored=np.round((hounsfield(n) + 1024 + n) / (1, 0.5, 0.25)[n % 3]),
            RescaleSlope=(1, 0.5, 0.25)[n % 3],
            RescaleIntercept=-1024 - n,
            BitsStored=16,
            HighBit=15,
        )
        for n in range(COUNT)
    ]


def signed():
    return [
        a_slice(n, stored=hounsfield(n), PixelRepresentation=1, RescaleIntercept=0)
        for n in range(COUNT)
    ]


def numbered(slices, **more):
    for d in slices:
        for name, value in more.items():
            setattr(d, name, value)
    return slices


AS_IT_IS = {
    "a thickness that lies": (lambda: series(SliceThickness="5"), ""),
    "signed pixels": (signed, ""),
    "a slope for each slice": (sloped, ""),
    "bright and dark swapped": (inverted, "MONOCHROME1"),
    "an overlay above the bits that count": (overlaid, ""),
    "a scout in the same series": (lambda: [*series(), scout()], "ignored as scouts.*scout"),
    "a file that is there twice": (lambda: [*series(), a_slice(3)], "1 images twice"),
    "numbers in reverse": (lambda: [*map(renumbered, series())], ""),
    "compression with loss": (lambda: series(LossyImageCompression="01"), "with loss"),
}


def renumbered(d):
    d.InstanceNumber = COUNT - d.InstanceNumber + 1
    return d


@pytest.mark.parametrize("case", AS_IT_IS)
def test_the_phantom_comes_back_whole(tmp_path, truth, caplog, case):
    slices, warning = AS_IT_IS[case]
    volume = read(saved(tmp_path / "s", slices()))
    assert volume.grid.same_as(truth.grid)
    np.testing.assert_array_equal(volume.array, truth.array)
    assert len(caplog.messages) == bool(warning)
    assert re.search(warning, caplog.text)


REFUSED = {
    "an inner slice is missing": (lambda: series()[:7] + series()[8:], r"missing.* 3 mm"),
    "spacing that varies": (
        lambda: placed([*(1.5 * n for n in range(8)), *(10.5 + 2.5 * n for n in range(1, 9))]),
        "unevenly spaced",
    ),
    "another slice at the same place": (
        lambda: [*series(), a_slice(3, stored=hounsfield(5) + 1024)],
        "more than one slice at",
    ),
    "two series": (
        lambda: [*series(), *numbered(series(), SeriesInstanceUID="1.2.3")],
        "holds 2 series",
    ),
    "a scout of the same direction": (
        lambda: [*series(), a_slice(8, PixelSpacing=["1.2", "1.2"])],
        "PixelSpacing differs",
    ),
    "a fifth of a slice missing": (
        lambda: [*series(), a_slice(3, ImagePositionPatient=[-20, 35, 104.8])],
        "unevenly spaced",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_known_truth_is_refused(tmp_path, case):
    slices, words = REFUSED[case]
    with pytest.raises((GeometryError, UnreadableFile), match=words):
        read(saved(tmp_path / "s", slices()))


ENDS = {
    "the header knows how many": (
        lambda: numbered(series(), ImagesInAcquisition=COUNT)[:8],
        "its header announces 16 images, 8 are here",
    ),
    "the first half is gone": (lambda: series()[8:], "numbered 9 to 16, and start late"),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_stack_that_ends_early_is_read_with_a_warning(tmp_path, caplog, case):
    slices, words = ENDS[case]
    assert read(saved(tmp_path / "s", slices())).grid.shape[2] == 8
    assert words in caplog.text


@pytest.mark.parametrize("degrees", TILTS)
def test_a_tilted_gantry_is_straightened(tmp_path, caplog, degrees):
    volume = read(saved(tmp_path / "s", tilted(degrees)))
    assert "tilted by 15 degrees" in caplog.text
    lean = np.radians(degrees)
    assert volume.spacing == pytest.approx((PIXEL[1], PIXEL[0], STEP * np.cos(lean)), abs=1e-6)
    whole = [leaning(n, lean) == 700 for n in range(COUNT)]
    mm3 = np.count_nonzero(whole) * PIXEL[0] * PIXEL[1] * STEP * np.cos(lean)
    assert bone_mm3(volume) == pytest.approx(mm3, rel=0.01)
    # every point of the shaft lies where the body has it
    points = volume.grid.index_to_world(np.argwhere(volume.array > BONE)) * (-1, -1, 1)
    assert beside_shaft(*(points - (-20, 35, 100)).T).max() < 0.5


def test_a_tilted_gantry_gives_dcm2niixs_volume(tmp_path):
    """Only this way round: of the other, dcm2niix 1.0.20260724 places the body 4.5 mm off."""
    ours = read(saved(tmp_path / "s", tilted(-15))).reoriented("RAS")
    theirs = converted(tmp_path / "s", tmp_path / "out", "_Tilt")
    assert ours.grid.distance_to(theirs.grid) < 1e-3
    assert bone_mm3(ours) == pytest.approx(bone_mm3(theirs), rel=1e-3)


def converted(folder, out, ending=""):
    """What dcm2niix makes of a folder."""
    out.mkdir()
    command = [dcm2niix.bin, "-z", "n", "-b", "n", "-f", "scan", "-o", out, folder]
    subprocess.run(command, check=True, capture_output=True)
    (file,) = [f for f in out.glob("*.nii") if ending in f.name]
    return read(file).reoriented("RAS")


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_compressed_slices_are_the_same(tmp_path, truth, syntax):
    slices = series()
    for d in slices:
        d.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(read(saved(tmp_path / "s", slices)).array, truth.array)


def item(**elements):
    d = Dataset()
    for name, value in elements.items():
        setattr(d, name, value)
    return d


def multi_frame(order, moments=1):
    """The phantom as one enhanced CT file, its frames in any order, each with its own slope."""
    d = a_slice(0)
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID = EnhancedCTImageStorage
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                 "RescaleSlope", "RescaleIntercept", "SliceThickness"):  # fmt: skip
        delattr(d, name)
    d.BitsStored, d.HighBit = 16, 15
    shared = item(
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelMeasuresSequence=Sequence([item(PixelSpacing=list(PIXEL), SliceThickness=STEP)]),
    )
    d.SharedFunctionalGroupsSequence = Sequence([shared])
    frames, pixels = [], []
    for n, moment in order:
        slope, inter = 1 + n % 2, -1024 - 2 * n
        frames.append(
            item(
                FrameContentSequence=Sequence([item(TemporalPositionIndex=moment + 1)]),
                PlanePositionSequence=Sequence(
                    [item(ImagePositionPatient=[-20, 35, 100 + n * STEP])]
                ),
                PixelValueTransformationSequence=Sequence(
                    [item(RescaleSlope=slope, RescaleIntercept=inter)]
                ),
            )
        )
        pixels.append((hounsfield(n) - inter + 100 * moment) // slope)
    d.PerFrameFunctionalGroupsSequence = Sequence(frames)
    d.NumberOfFrames = len(frames)
    d.PixelData = np.stack(pixels).astype("<u2").tobytes()
    d["PixelData"].VR = "OW"
    return d


def test_an_enhanced_file_is_sorted_and_scaled_frame_by_frame(tmp_path, truth):
    order = [(n, 0) for n in np.random.default_rng(2).permutation(COUNT).tolist()]
    volume = read(saved(tmp_path / "s", [multi_frame(order)]))
    assert volume.grid.same_as(truth.grid)
    assert np.abs(volume.array - truth.array).max() <= 1  # slopes of 2 keep even numbers


def test_time_points_are_volumes_to_choose_from(tmp_path, truth):
    order = [(n, moment) for n in range(COUNT) for moment in (1, 0, 2)]
    folder = saved(tmp_path / "enhanced", [multi_frame(order)])
    with pytest.raises(UnreadableFile, match="3 volumes: choose one by `volume`, 0 to 2"):
        read(folder)
    for moment in range(3):
        volume = read(folder, volume=moment)
        assert np.abs(volume.array - truth.array - 100 * moment).max() <= 1
    slices = [
        a_slice(n, stored=hounsfield(n) + 1024 + 100 * m, TemporalPositionIdentifier=m + 1)
        for m in (1, 0)
        for n in range(COUNT)
    ]
    folder = saved(tmp_path / "classic", slices)
    np.testing.assert_array_equal(read(folder, volume=0).array, truth.array)
    np.testing.assert_array_equal(read(folder, volume=1).array, truth.array + 100)


def test_the_bone_volume_is_that_of_dcm2niix(tmp_path, truth):
    theirs = converted(saved(tmp_path / "s", series()), tmp_path / "out")
    assert theirs.grid.distance_to(truth.reoriented("RAS").grid) < 1e-3
    assert bone_mm3(truth) == pytest.approx(bone_mm3(theirs), rel=1e-6)
    assert bone_mm3(truth) > 1000


def test_ct_that_is_not_in_hounsfield_units_is_said(tmp_path, caplog):
    read(saved(tmp_path / "s", series(RescaleIntercept=0)))
    assert "not Hounsfield units" in caplog.text
