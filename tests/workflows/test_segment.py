"""Segmenting into DICOM-SEG: for the scans that are DICOM, and the others say why not."""

import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from condyle.core import LabelMap, LabelScheme
from condyle.io import find_scans, read, read_labels, write
from condyle.workflows import segment as workflow
from condyle.workflows.judge import evaluate

SCHEME = LabelScheme.of({"tibia": 1, "femur": 2})


def bright(channels, device, box):
    """A stand-in for a network: what is brighter than air is femur."""
    array = np.where(channels[0].array > -500, 2, 0).astype(np.uint8)
    return LabelMap(array, channels[0].grid, SCHEME)


@pytest.fixture
def segmenter(monkeypatch):
    made = SimpleNamespace(channels=1, scheme=SCHEME, segment=bright, reach_mm=0)
    monkeypatch.setattr(workflow.Segmenter, "load", lambda run: made)


@pytest.fixture
def series(shared):
    return shared / "dicom_robustness" / "dcmqi" / "segmentations" / "ct-3slice"


def test_each_dicom_scan_gets_its_file_and_the_others_say_why_not(segmenter, series, tmp_path):
    scans = tmp_path / "scans"
    shutil.copytree(series, scans / "folder")
    with zipfile.ZipFile(scans / "zipped.zip", "w") as archive:
        for file in series.iterdir():
            archive.write(file, f"inside/{file.name}")
    volume = read(series)
    write(volume, scans / "other.nii.gz")
    done = workflow.segment(tmp_path, [scans], tmp_path / "out", format="dicom-seg")
    assert {name: path.name for name, path in done.written.items()} == {
        "folder": "folder.dcm",
        "zipped": "zipped.dcm",
    }
    assert list(done.failed) == ["other"]
    assert "other.nii.gz is no DICOM" in done.failed["other"]
    for path in done.written.values():
        labels = read_labels(path)
        assert labels.grid.same_as(volume.grid)
        np.testing.assert_array_equal(labels.array == 2, volume.array > -500)
        series_uid = pydicom.dcmread(path).ReferencedSeriesSequence[0].SeriesInstanceUID
        assert series_uid == pydicom.dcmread(series / "01.dcm").SeriesInstanceUID


def test_a_scan_in_which_nothing_was_found_fails_alone(segmenter, series, tmp_path, monkeypatch):
    def nothing(channels, device, box):
        return LabelMap(np.zeros(channels[0].grid.shape, np.uint8), channels[0].grid, SCHEME)

    monkeypatch.setattr(workflow.Segmenter.load(""), "segment", nothing)
    done = workflow.segment(tmp_path, [series], tmp_path / "out", format="dicom-seg")
    assert "no structure was found" in done.failed["ct-3slice"]
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_a_folder_of_dicom_seg_results_can_be_judged(segmenter, series, tmp_path):
    scans = tmp_path / "scans"
    shutil.copytree(series, scans / "a")
    shutil.copytree(series, scans / "b")
    workflow.segment(tmp_path, [scans], tmp_path / "out", format="dicom-seg")
    assert [path.name for path in find_scans(tmp_path / "out")] == ["a.dcm", "b.dcm"]
    (summary, *_) = evaluate(tmp_path / "out", tmp_path / "out", tmp_path / "scores")
    assert summary["dice_mean"] == 1.0
    assert summary["n"] == 2
