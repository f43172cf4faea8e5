"""RTSTRUCT: contours to masks by the even-odd rule, masks to contours, and both ways whole."""

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import gaussian_filter

from condyle import read, read_labels
from condyle.app.cli.main import main
from condyle.core import Grid, LabelMap, LabelScheme
from condyle.core.lattice import on_grid
from condyle.errors import (
    GeometryError,
    GridMismatch,
    LabelError,
    OverlapError,
    UnreadableFile,
)
from condyle.io import open_dataset
from condyle.io.dicom import rtstruct_writer
from condyle.io.dicom.contours import filled, outlines
from condyle.io.scans import sources
from slices import dicom_image, saved


def box(low, high):
    """The contour of a square, in pixels."""
    return np.array([(low, low), (low, high), (high, high), (high, low)])


def test_a_contour_in_another_is_a_hole_and_one_in_that_an_island():
    lines = [box(-0.5, 6.5), box(0.5, 4.5), box(1.5, 3.5)]
    mask = np.zeros((8, 9), int)
    mask[:7, :7] = 1
    mask[1:5, 1:5] = 0
    mask[2:4, 2:4] = 1
    for order in ([0, 1, 2], [2, 0, 1]):
        for turn in (1, -1):
            found = filled([lines[n][::turn] for n in order], (8, 9))
            assert np.array_equal(found, mask == 1)


@settings(max_examples=150, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_masks_come_back_from_their_contours(mask):
    lines = outlines(mask)
    assert np.array_equal(filled(lines, mask.shape), mask)
    assert all(len(line) >= 4 for line in lines)


def test_holes_are_joined_to_their_outline_so_that_readers_without_even_odd_see_them():
    mask = gaussian_filter(np.random.default_rng(4).standard_normal((90, 80)), 3) > 0
    mask[[0, -1]] = mask[:, [0, -1]] = True
    lines = outlines(mask)
    apart = np.sum([filled([line], mask.shape) for line in lines], axis=0)
    assert apart.max() == 1  # no contour lies in another
    assert np.array_equal(apart == 1, mask)


def series(folder, shape=(30, 24, 10), oblique=False):
    """A CT series, and its volume as `read` gives it."""
    turn = [0.8, 0.6, 0, -0.6, 0.8, 0] if oblique else [1, 0, 0, 0, 1, 0]
    uid, study, place = (pydicom.uid.generate_uid() for _ in range(3))
    columns, rows, count = shape
    images = [
        dicom_image(np.full((rows, columns), 1024), SeriesInstanceUID=uid, StudyInstanceUID=study,
                    FrameOfReferenceUID=place, InstanceNumber=k + 1, PixelSpacing=[0.75, 0.5],
                    ImageOrientationPatient=turn, ImagePositionPatient=[-20, 15, 3.0 * k - 400],
                    PatientID="P7", PatientName="Doe^Jane", StudyDate="20260102")
        for k in range(count)
    ]  # fmt: skip
    saved(folder, images)
    return read(folder)


def blobs(grid, count=3, seed=0):
    """Structures with holes and islands; `count` of them."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(grid.shape), 1.5)
    edges = np.quantile(noise, np.linspace(0.4, 1, count + 1))
    array = np.digitize(noise, edges[:-1]).astype(np.uint8)
    names = {f"bone {n}": n + 2 for n in range(count)}
    array[array > 0] += 1
    colours = {name: (10 * n, 20 * n, 30 * n) for n, name in enumerate(names, 1)}
    return LabelMap(array, grid, LabelScheme.of(names, colours))


@pytest.mark.parametrize("oblique", [False, True])
def test_label_maps_come_back_whole_with_names_numbers_and_colours(tmp_path, oblique):
    scan = series(tmp_path / "ct", oblique=oblique)
    labels = blobs(scan.grid)
    path = rtstruct_writer.save(tmp_path / "RS.dcm", labels, sources(tmp_path / "ct"))
    for scheme in (None, labels.scheme):
        found = read_labels(path, scheme, scan=scan.grid)
        assert np.array_equal(found.array, labels.array)
        assert found.grid.same_as(scan.grid, 1e-6)
        assert found.scheme.to_dict() == labels.scheme.to_dict()
    colours = {
        label.name: label.colour for label in read_labels(path, scan=scan.grid).scheme.labels
    }
    assert colours == {label.name: label.colour for label in labels.scheme.labels}
    path.rename(tmp_path / "ct" / "RS.dcm")  # beside its scan it needs no other
    assert np.array_equal(read_labels(tmp_path / "ct").array, labels.array)
    assert np.array_equal(read_labels(tmp_path / "ct" / "RS.dcm").array, labels.array)


def test_it_is_filed_with_its_scan_and_every_contour_names_its_image(tmp_path):
    scan = series(tmp_path / "ct")
    path = rtstruct_writer.save(tmp_path / "RS.dcm", blobs(scan.grid), sources(tmp_path / "ct"))
    data = pydicom.dcmread(path)
    one = pydicom.dcmread(next((tmp_path / "ct").glob("*.dcm")))
    for name in (
        "PatientID",
        "PatientName",
        "StudyInstanceUID",
        "StudyDate",
        "FrameOfReferenceUID",
    ):
        assert data[name].value == one[name].value
    assert data.SeriesInstanceUID != one.SeriesInstanceUID
    heights = {
        image.SOPInstanceUID: float(image.ImagePositionPatient[2])
        for image in map(pydicom.dcmread, (tmp_path / "ct").glob("*.dcm"))
    }
    for region in data.ROIContourSequence:
        for line in region.ContourSequence:
            (image,) = line.ContourImageSequence
            z = {float(value) for value in line.ContourData[2::3]}
            assert z == {heights[image.ReferencedSOPInstanceUID]}
            assert line.NumberOfContourPoints == len(line.ContourData) / 3
    ids = [item.ROINumber for item in data.StructureSetROISequence]
    assert [item.ReferencedROINumber for item in data.RTROIObservationsSequence] == ids == [2, 3, 4]


def test_scans_other_than_its_own_are_refused(tmp_path):
    scan = series(tmp_path / "ct")
    (tmp_path / "rt").mkdir()
    path = tmp_path / "rt" / "RS.dcm"
    rtstruct_writer.save(path, blobs(scan.grid), sources(tmp_path / "ct"))
    with pytest.raises(GeometryError, match="with its scan"):
        read_labels(path)
    affine = scan.grid.affine.copy()
    affine[2, 3] += 1.5
    with pytest.raises(GridMismatch, match="do not lie on the slices"):
        read_labels(path, scan=Grid(scan.grid.shape, affine))
    with pytest.raises(GridMismatch):
        rtstruct_writer.save(
            tmp_path / "no.dcm", blobs(Grid(scan.grid.shape, affine)), sources(tmp_path / "ct")
        )
    empty = LabelMap(np.zeros(scan.grid.shape, np.uint8), scan.grid, LabelScheme.of({"a": 1}))
    with pytest.raises(LabelError, match="no structure was found"):
        rtstruct_writer.save(tmp_path / "no.dcm", empty, sources(tmp_path / "ct"))
    assert not (tmp_path / "no.dcm").exists()


def with_regions(path, folder, names, copy=0, keep=slice(None)):
    """An RTSTRUCT with another region, which is a copy of one of its own."""
    data = pydicom.dcmread(path)
    for number, name in enumerate(names, 50):
        item, drawn = pydicom.Dataset(), pydicom.Dataset()
        item.ROINumber, item.ROIName = number, name
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = data.ROIContourSequence[copy].ContourSequence[keep]
        data.StructureSetROISequence.append(item)
        data.ROIContourSequence.append(drawn)
    folder.mkdir(exist_ok=True)
    data.save_as(folder / "RS.dcm")
    return folder / "RS.dcm"


def test_regions_that_overlap_are_refused_by_name_and_imported_by_a_policy(tmp_path, capsys):
    scan = series(tmp_path / "leg")
    labels = blobs(scan.grid)
    path = rtstruct_writer.save(tmp_path / "RS.dcm", labels, sources(tmp_path / "leg"))
    both = with_regions(path, tmp_path / "both", ["PTV"])
    with pytest.raises(OverlapError, match="PTV with bone 0"):
        read_labels(both, scan=scan.grid)
    given = ["import", str(tmp_path / "leg"), "--masks", str(both), "--out"]
    assert ended([*given, str(tmp_path / "no")]) == 2
    assert "overlap" in capsys.readouterr().err
    assert ended([*given, str(tmp_path / "data"), "--overlap", "background"]) == 0
    (case,) = open_dataset(tmp_path / "data")
    found = case.labels()
    assert set(found.scheme.to_dict()) == {"bone 0", "bone 1", "bone 2", "PTV"}
    for name in ("bone 1", "bone 2"):
        assert np.array_equal(found.mask(name), labels.mask(name))
    assert not found.mask("bone 0").any()
    assert not found.mask("PTV").any()


def ended(arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


def test_what_is_odd_is_said(tmp_path, caplog):
    scan = series(tmp_path / "ct")
    array = np.zeros(scan.grid.shape, np.uint8)
    array[3:9, 3:9, 1:9] = 1
    labels = LabelMap(array, scan.grid, LabelScheme.of({"femur": 1}))
    path = rtstruct_writer.save(tmp_path / "RS.dcm", labels, sources(tmp_path / "ct"))
    data = pydicom.dcmread(path)
    data.ROIContourSequence[0].ContourSequence = data.ROIContourSequence[0].ContourSequence[::2]
    data.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "POINT"
    data.save_as(tmp_path / "gaps.dcm")
    found = read_labels(tmp_path / "gaps.dcm", scan=scan.grid)
    assert found.array[4, 4].tolist() == [0, 0, 0, 1, 0, 1, 0, 1, 0, 0]
    assert "drawn in 3 of the 5 slices" in caplog.text
    del data.ROIContourSequence
    data.save_as(tmp_path / "none.dcm")
    with pytest.raises(UnreadableFile, match="nothing is drawn"):
        read_labels(tmp_path / "none.dcm", scan=scan.grid)


@pytest.mark.parametrize("kind", ["CT", "MR_T1", "PET"])
def test_a_real_file_gives_the_mask_that_its_publishers_give(shared, kind):
    folder = shared / "sts_dicom_rtstruct" / "STS_028" / kind
    published = shared / "sts_extremity" / "STS_028" / f"{kind}_mask.nii.gz"
    if not folder.exists() or not published.exists():
        pytest.skip("STS_028 is not here")
    scan = read(folder / "image")
    found = read_labels(folder / "mask", scan=scan.grid)
    truth = read(published)
    mask = LabelMap((truth.array > 0).astype(np.uint8), truth.grid, LabelScheme.of({"tumour": 1}))
    assert np.array_equal(found.array > 0, on_grid(mask, scan.grid, "the mask").array > 0)
    assert list(found.scheme.to_dict()) == [f"GTV_Mass_{kind}"]
