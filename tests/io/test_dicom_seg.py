"""DICOM-SEG: ours is filed with its scan and read rightly by others; theirs is read by us."""

import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts

from condyle.core import Grid, LabelMap, LabelScheme
from condyle.errors import (
    ConfigError,
    GeometryError,
    GridMismatch,
    LabelError,
    OverlapError,
    UnreadableFile,
)
from condyle.io import read, read_labels
from condyle.io.dicom import seg_writer as dicomseg
from condyle.io.dicom.snomed import ANATOMY, LATERALITY, STRUCTURES, TISSUE, sided
from condyle.io.safety import LPS_TO_RAS
from condyle.io.scans import sources
from slices import dicom_image, saved

hd = pytest.importorskip("highdicom")

ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
ORIENTATIONS = {
    "axial": (ROW, COLUMN),
    "prone": (-ROW, -COLUMN),
    "from the head": (-ROW, COLUMN),
    "coronal": (ROW, np.array([0.0, 0, -1])),
    "oblique": (np.array([0.8, 0.6, 0]), np.array([0.0, 0, -1])),
    "twice oblique": (np.array([0.8, 0.6, 0]), np.array([-0.36, 0.48, 0.8])),
}
SCHEME = LabelScheme.of({"femur_left": 2, "Größe": 5, "patella": 9, "sacrum": 300})
"""Numbers with gaps; the patella is never there."""


def a_slice(n, row=ROW, column=COLUMN, **more):
    """Slice n of a series of 6 rows and 5 columns, as a pydicom data set."""
    position = np.array([-50.0, 20, 300]) + n * 2.5 * np.cross(row, column)
    elements = {
        "SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Ä", "PatientID": "P7",
        "PatientSex": "F", "StudyDate": "20200102", "StudyDescription": "Hüfte",
        "SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2.4", "FrameOfReferenceUID": "1.2.5",
        "SeriesNumber": 4, "InstanceNumber": n + 1,
        "ImagePositionPatient": [f"{x:.6f}" for x in position],
        "ImageOrientationPatient": [f"{x:.6f}" for x in (*row, *column)],
        "PixelSpacing": ["0.7", "0.5"], "SliceThickness": "99",
    }  # fmt: skip
    return dicom_image(np.full((6, 5), n), **(elements | more))


def a_series(folder, row=ROW, column=COLUMN, **more):
    """Seven slices in a folder, under names in no order."""
    return saved(folder, [a_slice(n, row, column, **more) for n in range(7)])


def some_labels(grid):
    """Structures in slices 2 to 4 alone, of one voxel and of many."""
    array = np.zeros(grid.shape, np.uint16, order="F")
    array[1:4, 2:5, 2] = 2
    array[0, 0, 2] = array[4, 5, 4] = 5
    array[2:, 1:3, 4] = 300
    return LabelMap(array, grid, SCHEME)


@pytest.fixture
def series(tmp_path):
    return a_series(tmp_path / "scan")


@pytest.fixture
def written(series, tmp_path):
    labels = some_labels(read(series).grid)
    return dicomseg.save(tmp_path / "out" / "scan.dcm", labels, sources(series))


def places(array, grid):
    """Label number -> world places of its voxels, in order."""
    found = {int(n): grid.index_to_world(np.argwhere(array == n)) for n in np.unique(array) if n}
    return {n: p[np.lexsort(np.round(p, 2).T)] for n, p in found.items()}


def require_same_places(one, other):
    assert one.keys() == other.keys()
    for number, points in one.items():
        np.testing.assert_allclose(points, other[number], atol=0.01)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_labels_come_back_and_highdicom_sees_them_in_the_same_place(tmp_path, orientation):
    series = a_series(tmp_path / "scan", *ORIENTATIONS[orientation])
    labels = some_labels(read(series).grid)
    path = dicomseg.save(tmp_path / "seg.dcm", labels, sources(series))
    again = read_labels(path)
    np.testing.assert_array_equal(again.array, labels.array)
    assert again.grid.distance_to(labels.grid) < 1e-6
    assert again.scheme.to_dict() == {"femur_left": 2, "Größe": 5, "sacrum": 300}
    for label in again.scheme.labels:
        assert np.abs(np.subtract(label.colour, SCHEME[label.id].colour)).max() <= 1
    segmentation = hd.seg.segread(path)
    theirs = segmentation.get_volume(combine_segments=True, allow_missing_positions=True)
    affine = LPS_TO_RAS @ theirs.affine[:, [2, 1, 0, 3]]
    numbers = np.array([0, 2, 5, 300])[theirs.array.T]
    require_same_places(
        places(numbers, Grid(numbers.shape, affine)), places(labels.array, labels.grid)
    )


def test_each_frame_names_the_image_that_it_was_found_in(series, written):
    data = pydicom.dcmread(written)
    images = sources(series)
    assert data.SegmentationType == "BINARY"
    assert [s.SegmentNumber for s in data.SegmentSequence] == [1, 2, 3]
    referenced = data.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == "1.2.3"
    assert {r.ReferencedSOPInstanceUID for r in referenced.ReferencedInstanceSequence} == {
        image.SOPInstanceUID for image in images
    }
    groups = data.PerFrameFunctionalGroupsSequence
    assert len(groups) == 4  # slices without a structure are left out
    for group, image in zip(groups, data.pixel_array, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        k = [i.SOPInstanceUID for i in images].index(source)
        assert group.PlanePositionSequence[0].ImagePositionPatient == images[k].ImagePositionPatient
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        expected = some_labels(read(series).grid).array[..., k] == (2, 5, 300)[number - 1]
        np.testing.assert_array_equal(image.T, expected)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == 2.5  # whatever SliceThickness said
    assert [float(x) for x in measures.PixelSpacing] == [0.7, 0.5]


def test_it_is_filed_with_the_study_and_says_what_made_it(written):
    data = pydicom.dcmread(written)
    assert (data.StudyInstanceUID, data.FrameOfReferenceUID) == ("1.2.4", "1.2.5")
    assert (str(data.PatientName), data.PatientID, data.StudyDate) == ("Müller^Ä", "P7", "20200102")
    assert data.StudyDescription == "Hüfte"
    assert (data.Manufacturer, data.SeriesNumber) == ("Condyle", 300)
    assert data.ContentDescription == "Condyle segmentation"
    femur, unknown, sacrum = data.SegmentSequence
    kind = femur.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodeMeaning) == ("71341001", "Femur")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert unknown.SegmentLabel == "Größe"
    assert unknown.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert (
        "SegmentedPropertyTypeModifierCodeSequence"
        not in (sacrum.SegmentedPropertyTypeCodeSequence[0])
    )


def test_codes_are_those_of_the_standard():
    rows = (row for rows in concepts["SCT"].values() for row in rows.items())
    known = {(code, meaning) for code, (meaning, _) in rows}
    assert {*STRUCTURES.values(), *LATERALITY, ANATOMY, TISSUE} <= known


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("femur_left", ("femur", 0)), ("Right Femur", ("femur", 1)), ("L_tibia", ("tibia", 0)),
        ("vertebrae_L5", ("vertebrae", None)), ("rib_left_4", ("rib", 0)),
        ("femur", ("femur", None)), ("hip-bone rt", ("hip bone", 1)), ("label_1", ("label", None)),
    ],
)  # fmt: skip
def test_names_are_parted_from_their_side(name, expected):
    assert sided(name) == expected


@pytest.mark.parametrize(
    "odd",
    [
        {"PatientSex": "unknown", "StudyDate": "2.1.2020", "PatientID": None},
        {"FrameOfReferenceUID": None, "SeriesNumber": 300, "AccessionNumber": ""},
        {"SpacingBetweenSlices": "1.25", "SliceThickness": None},
    ],
    ids=["odd study", "no frame of reference", "wrong spacing"],
)
@pytest.mark.filterwarnings("ignore:Invalid value")
def test_headers_that_stray_from_the_standard_do_no_harm(tmp_path, odd):
    series = a_series(tmp_path / "scan", **odd)
    labels = some_labels(read(series).grid)
    path = dicomseg.save(tmp_path / "seg.dcm", labels, sources(series))
    np.testing.assert_array_equal(read_labels(path).array, labels.array)
    data = pydicom.dcmread(path)
    assert data.SeriesNumber == (301 if odd.get("SeriesNumber") == 300 else 300)
    assert data.FrameOfReferenceUID


def test_sources_may_come_in_any_order_and_stay_as_they_are(series, tmp_path):
    labels = some_labels(read(series).grid)
    images = sources(series)[::-1]
    before = str(images)
    path = dicomseg.save(tmp_path / "seg.dcm", labels, images)
    np.testing.assert_array_equal(read_labels(path).array, labels.array)
    assert str(images) == before


def test_one_slice_keeps_its_thickness(tmp_path):
    (tmp_path / "one").mkdir()
    a_slice(0, SliceThickness="3.25").save_as(tmp_path / "one" / "0.dcm", enforce_file_format=True)
    labels = LabelMap(np.ones((5, 6, 1), np.uint8), read(tmp_path / "one").grid, SCHEME)
    labels = labels.with_scheme(LabelScheme.of({"tibia": 1}))
    path = dicomseg.save(tmp_path / "seg.dcm", labels, sources(tmp_path / "one"))
    assert read_labels(path).spacing == pytest.approx((0.5, 0.7, 3.25))


def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(series, tmp_path):
    images, grid = sources(series), read(series).grid
    labels = some_labels(grid)
    cases = {
        LabelError: labels.with_array(np.zeros_like(labels.array)),
        GridMismatch: LabelMap(labels.array, grid.resized(grid.shape).cropped((0, 0, 1), (5, 6, 8)),
                               SCHEME),
    }  # fmt: skip
    for error, wrong in cases.items():
        with pytest.raises(error) as raised:
            dicomseg.save(tmp_path / "seg" / "x.dcm", wrong, images)
        assert "\n" not in str(raised.value)
    long = labels.with_scheme(LabelScheme.of({"x" * 65: 2, "b": 5, "c": 300}))
    with pytest.raises(LabelError, match="64 letters"):
        dicomseg.save(tmp_path / "seg" / "x.dcm", long, images)
    with pytest.raises(LabelError, match="does not know"):
        dicomseg.save(
            tmp_path / "seg" / "x.dcm", labels.with_scheme(LabelScheme.of({"b": 5})), images
        )
    assert not (tmp_path / "seg").exists()


def without_our_mark(path):
    """The file as a tool would write it that notes no grid."""
    data = pydicom.dcmread(path)
    data.remove_private_tags()
    data.Manufacturer = "Someone"
    data.save_as(path)
    return path


def test_frames_of_others_span_a_grid_with_empty_slices_between(series, written):
    labels = read_labels(without_our_mark(written))
    whole = some_labels(read(series).grid)
    assert labels.grid.shape == (5, 6, 3)  # slices 2 to 4; there is no frame of slice 3
    assert labels.spacing == pytest.approx((0.5, 0.7, 2.5))
    assert labels.scheme.to_dict() == {"femur_left": 1, "Größe": 2, "sacrum": 3}
    numbers = np.array([0, 2, 5, 300])[labels.array]
    require_same_places(places(numbers, labels.grid), places(whole.array, whole.grid))


def test_beside_its_scan_it_lies_on_the_scans_grid(series, written, tmp_path):
    without_our_mark(written).rename(series / "seg.dcm")
    assert read_labels(series).grid.same_as(read(series).grid)
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for file in series.iterdir():
            archive.write(file, file.name)
    labels = read_labels(tmp_path / "both.zip")
    whole = some_labels(read(series).grid)
    np.testing.assert_array_equal(np.array([0, 2, 5, 300])[labels.array], whole.array)


def test_a_scheme_that_knows_all_names_decides_the_numbers(written):
    scheme = LabelScheme.of({"sacrum": 1, "femur_left": 2, "Größe": 3, "tibia": 4})
    labels = read_labels(written, scheme)
    assert labels.scheme == scheme
    assert labels.present() == (1, 2, 3)
    assert np.count_nonzero(labels.mask("femur_left")) == 9


def made(series, pixels, kind, numbers=(1, 2), **more):
    """Another tool's file, of (frame, row, column[, segment]) numbers."""
    names = {n: f"part {n}" for n in numbers}
    return hd.seg.Segmentation(
        source_images=[Dataset(image) for image in complete(sources(series))],
        pixel_array=pixels, segmentation_type=kind,
        segment_descriptions=[
            hd.seg.SegmentDescription(
                n, name, hd.sr.CodedConcept(*TISSUE[:1], "SCT", "Tissue"),
                hd.sr.CodedConcept(*TISSUE[:1], "SCT", "Tissue"), "MANUAL",
            )
            for n, name in names.items()
        ],
        series_instance_uid=hd.UID(), series_number=9, sop_instance_uid=hd.UID(),
        instance_number=1, manufacturer="Someone", manufacturer_model_name="x",
        software_versions="1", device_serial_number="1", **more,
    )  # fmt: skip


def complete(images):
    for image in images:
        image.PatientBirthDate = image.AccessionNumber = image.StudyID = image.StudyTime = ""
        image.SliceThickness = "2.5"
    return images


def test_label_maps_of_others_keep_their_numbers(series, tmp_path):
    pixels = np.zeros((7, 6, 5), np.uint8)
    pixels[3, 1, 2], pixels[5, 4:, :2] = 3, 7
    made(series, pixels, "LABELMAP", (3, 7)).save_as(tmp_path / "s.dcm")
    labels = read_labels(tmp_path / "s.dcm")
    assert labels.scheme.to_dict() == {"part 3": 3, "part 7": 7}
    require_same_places(places(labels.array, labels.grid), places(pixels.T, read(series).grid))
    data = pydicom.dcmread(tmp_path / "s.dcm")
    del data.SegmentSequence[-1]
    data.save_as(tmp_path / "s.dcm")
    with pytest.raises(LabelError, match=r"labels \[7\] that none"):
        read_labels(tmp_path / "s.dcm")


def test_probabilities_count_above_one_half_and_shares_are_refused(series, tmp_path, caplog):
    pixels = np.zeros((7, 6, 5, 2))
    pixels[2, 2, :, 0] = (0, 0.2, 0.49, 0.51, 1)
    pixels[3, 2, :3, 1] = 0.9
    path = tmp_path / "s.dcm"
    made(series, pixels, "FRACTIONAL", fractional_type="PROBABILITY").save_as(path)
    labels = read_labels(path)
    assert [np.count_nonzero(labels.mask(n)) for n in (1, 2)] == [2, 3]
    assert "above 0.5" in caplog.text
    made(series, pixels, "FRACTIONAL", fractional_type="OCCUPANCY").save_as(path)
    with pytest.raises(LabelError, match="OCCUPANCY"):
        read_labels(path)
    made(series, np.round(pixels), "FRACTIONAL", fractional_type="OCCUPANCY").save_as(path)
    np.testing.assert_array_equal(read_labels(path).array, labels.array)


def test_segments_that_overlap_are_counted(series, tmp_path):
    pixels = np.zeros((7, 6, 5, 3), np.uint8)
    pixels[2, :, :, 0] = pixels[2, 1, :, 1] = pixels[2, 1, :2, 2] = 1
    made(series, pixels, "BINARY", (1, 2, 3)).save_as(tmp_path / "s.dcm")
    with pytest.raises(OverlapError, match="overlap in 5 voxels"):
        read_labels(tmp_path / "s.dcm")


def changed(path, change):
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)


def twice_the_name(data):
    data.SegmentSequence[1].SegmentLabel = data.SegmentSequence[0].SegmentLabel


def shifted_frame(data):
    data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[0] += 1


WRONG = {
    "name twice": (twice_the_name, LabelError, "several segments called femur_left"),
    "uneven": (shifted_frame, GeometryError, "even steps"),
    "unplaced": (
        lambda d: d.SharedFunctionalGroupsSequence[0].pop("PlaneOrientationSequence"),
        UnreadableFile,
        "where it lies",
    ),
    "surface": (lambda d: d.pop("SegmentationType"), UnreadableFile, "another kind"),
    "short": (lambda d: setattr(d, "PixelData", d.PixelData[:4]), UnreadableFile, "damaged"),
    "no frames": (lambda d: d.pop("PixelData"), UnreadableFile, "damaged"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_would_mislead_is_refused_in_one_sentence(written, name):
    change, error, words = WRONG[name]
    changed(written, change)
    with pytest.raises(error, match=words) as raised:
        read_labels(written)
    assert "\n" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_dicom_without_one_segmentation_says_so(series, written):
    with pytest.raises(UnreadableFile, match="without a segmentation"):
        read_labels(series)
    with pytest.raises(UnreadableFile, match="without a segmentation"):
        read_labels(next(series.iterdir()))
    (written.parent / "again.dcm").write_bytes(written.read_bytes())
    with pytest.raises(UnreadableFile, match=r"2 segmentations: give one file \(again.dcm, scan"):
        read_labels(written.parent)


def test_sources_are_of_dicom_alone(series, tmp_path):
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in series.iterdir():
            archive.write(file, file.name)
    images = sources(tmp_path / "scan.zip")
    assert [i.SOPInstanceUID for i in images] == [i.SOPInstanceUID for i in sources(series)]
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkInt16), str(tmp_path / "a.nii.gz"))
    with pytest.raises(ConfigError, match="is not DICOM"):
        sources(tmp_path / "a.nii.gz")


@pytest.fixture
def dcmqi(shared):
    return shared / "dicom_robustness" / "dcmqi" / "segmentations"


@pytest.mark.parametrize(
    ("segmentation", "reference"),
    [
        ("liver.dcm", "liver_seg.nrrd"),
        ("sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd"),
        ("sparse-labelmap-ppv5.dcm", "sparse_labelmap_noppv_seg.nrrd"),
        ("23x38x3/seg/label.seg", "23x38x3/nrrd/label.nrrd"),
        ("24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"),
        ("24x38x3", "24x38x3/nrrd/label.nrrd"),
    ],
)
def test_files_of_dcmqi_equal_their_references_voxel_for_voxel(dcmqi, segmentation, reference):
    ours = read_labels(dcmqi / segmentation)
    theirs = sitk.ReadImage(str(dcmqi / reference))
    np.testing.assert_array_equal(ours.array > 0, sitk.GetArrayFromImage(theirs).T > 0)
    assert ours.scheme.names == ("Liver",)
    for index in ((0, 0, 0), tuple(n - 1 for n in ours.grid.shape)):
        there = np.array(theirs.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(ours.grid.index_to_world(index), there, atol=1e-4)


def test_overlaps_in_dcmqis_file_are_as_many_as_in_its_references(dcmqi):
    data = pydicom.dcmread(dcmqi / "partial_overlaps.dcm")
    counts = {}
    for group, image in zip(data.PerFrameFunctionalGroupsSequence, data.pixel_array, strict=True):
        place = str(group.PlanePositionSequence[0].ImagePositionPatient)
        counts[place] = counts.get(place, 0) + image.astype(int)
    expected = sum(np.count_nonzero(count > 1) for count in counts.values())
    with pytest.raises(OverlapError, match=f"overlap in {expected} voxels"):
        read_labels(dcmqi / "partial_overlaps.dcm")


REAL = {
    "series": ("sts_dicom_rtstruct/STS_028/CT/image", ""),
    "multi-frame": ("dicom_robustness/dcmqi/segmentations/23x38x3/multiframe/mf.dcm", ""),
    "enhanced": ("dicom_robustness/dicom2nifti/philips_enhanced", "2"),
    "dcmqi": ("dicom_robustness/dcmqi/segmentations/ct-3slice", ""),
}


@pytest.mark.parametrize("name", REAL)
def test_labels_of_real_scans_come_back(shared, tmp_path, name):
    path, number = shared / REAL[name][0], REAL[name][1]
    grid = read(path, series=number).grid
    i, j, k = grid.shape
    array = np.zeros(grid.shape, np.uint8, order="F")
    array[i // 4 : i // 2, j // 3 :, k // 3 : k // 2 + 1] = 1
    array[i // 2 :, : j // 3, k // 2 :] = 4
    labels = LabelMap(array, grid, LabelScheme.of({"tibia": 1, "pelvis": 4}))
    out = dicomseg.save(tmp_path / "seg.dcm", labels, sources(path, series=number))
    again = read_labels(out)
    np.testing.assert_array_equal(again.array, array)
    assert again.grid.same_as(grid)
    theirs = hd.seg.segread(out).get_volume(combine_segments=True, allow_missing_positions=True)
    affine = LPS_TO_RAS @ theirs.affine[:, [2, 1, 0, 3]]
    numbers = np.array([0, 1, 4])[theirs.array.T]
    ends = {n: grid.index_to_world(np.argwhere(array == n)[[0, -1]]) for n in (1, 4)}
    seen = Grid(numbers.shape, affine)
    for number_, points in ends.items():
        index = np.rint(seen.world_to_index(points)).astype(int)
        np.testing.assert_allclose(seen.index_to_world(index), points, atol=0.02)
        assert (numbers[tuple(index.T)] == number_).all()
    assert (
        np.bincount(numbers.ravel())[[1, 4]].tolist() == np.bincount(array.ravel())[[1, 4]].tolist()
    )


def test_a_tilted_series_is_refused(shared):
    with pytest.raises(GeometryError, match="`format` nifti"):
        sources(shared / "dicom_robustness" / "dcm_qa_ct" / "Philips_tilt-18p5_10slices")
