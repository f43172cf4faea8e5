"""Segmenting into DICOM-SEG: for the scans that are DICOM, and the others say why not."""

import dataclasses
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import torch

from condyle.config import Preparation
from condyle.config.requests import EvaluateRequest, SegmentRequest
from condyle.core import Grid, LabelScheme, Volume
from condyle.errors import ConfigError
from condyle.io import list_scans, read, read_labels, write
from condyle.predict import RecipePreprocessing, Segmenter, TrainingRecord
from condyle.workflows import segment as workflow
from condyle.workflows.evaluate import evaluate

SCHEME = LabelScheme.of({"tibia": 1, "femur": 2})


class Bright(torch.nn.Module):
    """What is brighter than air is femur."""

    spatial, memory_format = 2, torch.contiguous_format

    def forward(self, x):
        scores = torch.zeros(x.shape[0], 3, *x.shape[2:])
        scores[:, 2] = 20 * (x[:, 0] - 0.5)
        return scores


def made_of(network):
    settings = Preparation(intensity="window", window=(-501, -499))
    return Segmenter("unet-plain", network, RecipePreprocessing(settings=settings), SCHEME)


@pytest.fixture
def segmenter(monkeypatch):
    monkeypatch.setattr(workflow.Segmenter, "load", lambda run: made_of(Bright()))


@pytest.fixture
def series(shared):
    return shared / "dicom_robustness" / "dcmqi" / "segmentations" / "ct-3slice"


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_each_dicom_scan_gets_its_file_and_the_others_say_why_not(
    segmenter, series, tmp_path, kind
):
    scans = tmp_path / "scans"
    shutil.copytree(series, scans / "folder")
    with zipfile.ZipFile(scans / "zipped.zip", "w") as archive:
        for file in series.iterdir():
            archive.write(file, f"inside/{file.name}")
    volume = read(series)
    write(volume, scans / "other.nii.gz")
    done = workflow.segment(
        SegmentRequest(run=tmp_path, scans=[scans], out=tmp_path / "out", format=kind)
    )
    assert {name: path.name for name, path in done.written.items()} == {
        "folder": "folder.dcm",
        "zipped": "zipped.dcm",
    }
    assert list(done.failed) == ["other"]
    assert "other.nii.gz is not DICOM" in done.failed["other"]
    for path in done.written.values():
        labels = read_labels(path, scan=volume.grid)
        assert labels.grid.same_as(volume.grid)
        np.testing.assert_array_equal(labels.array == 2, volume.array > -500)
        data = pydicom.dcmread(path)
        if kind == "rtstruct":
            (place,) = data.ReferencedFrameOfReferenceSequence
            data = place.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
        else:
            data = data.ReferencedSeriesSequence[0]
        assert data.SeriesInstanceUID == pydicom.dcmread(series / "01.dcm").SeriesInstanceUID


def test_a_scan_in_which_nothing_was_found_fails_alone(segmenter, series, tmp_path, monkeypatch):
    class Nothing(Bright):
        def forward(self, x):
            return -super().forward(x).abs() - x.new_tensor([0, 1, 1]).reshape(3, 1, 1)

    monkeypatch.setattr(workflow.Segmenter, "load", lambda run: made_of(Nothing()))
    done = workflow.segment(
        SegmentRequest(run=tmp_path, scans=[series], out=tmp_path / "out", format="dicom-seg")
    )
    assert "no structure was found" in done.failed["ct-3slice"]
    assert not list((tmp_path / "out").glob("*.dcm"))


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_a_folder_of_results_filed_with_their_scans_can_be_judged(
    segmenter, series, tmp_path, kind
):
    scans = tmp_path / "scans"
    shutil.copytree(series, scans / "a")
    shutil.copytree(series, scans / "b")
    workflow.segment(SegmentRequest(run=tmp_path, scans=[scans], out=tmp_path / "out", format=kind))
    truth = SegmentRequest(run=tmp_path, scans=[scans], out=tmp_path / "truth")
    workflow.segment(truth)
    found = list_scans(tmp_path / "out", labels=True).scans
    assert [path.name for path in found] == ["a.dcm", "b.dcm"]
    rows = evaluate(
        EvaluateRequest(
            predictions=tmp_path / "out", labels=tmp_path / "truth", out=tmp_path / "scores"
        )
    ).summary
    assert {row["dice_mean"] for row in rows if row["n"]} == {1.0}
    assert max(row["n"] for row in rows) == 2


@pytest.fixture
def scans(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        array = rng.integers(-1000, 500, (12, 10, 6)).astype(np.int16)
        write(Volume(array, Grid.regular(array.shape), "CT"), tmp_path / "scans" / f"{name}.nii.gz")
    return tmp_path / "scans"


def test_one_broken_scan_is_named_and_the_others_finish(segmenter, scans, tmp_path):
    whole = (scans / "b.nii.gz").read_bytes()
    (scans / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    done = workflow.segment(SegmentRequest(run=tmp_path, scans=[scans], out=tmp_path / "out"))
    assert list(done.written) == ["a", "c"]
    assert "b.nii.gz" in done.failed["b"]
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == ["a.nii.gz", "c.nii.gz"]


def test_memory_that_ends_with_one_scan_does_not_end_the_batch(scans, tmp_path, monkeypatch):
    class Hungry(Bright):
        calls = 0

        def forward(self, x):
            Hungry.calls += 1
            if Hungry.calls == 1:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().forward(x)

    monkeypatch.setattr(workflow.Segmenter, "load", lambda run: made_of(Hungry()))
    done = workflow.segment(SegmentRequest(run=tmp_path, scans=[scans], out=tmp_path / "out"))
    assert list(done.written) == ["b", "c"]
    assert "allocate memory" in done.failed["a"]


def test_a_batch_goes_on_where_it_was_interrupted(segmenter, scans, tmp_path):
    out = tmp_path / "out"
    workflow.segment(SegmentRequest(run=tmp_path, scans=[scans / "a.nii.gz"], out=out, resume=True))
    first = (out / "a.nii.gz").stat().st_mtime_ns
    (out / "b.nii.gz").write_bytes(b"half of one")  # there, but never finished
    done = workflow.segment(SegmentRequest(run=tmp_path, scans=[scans], out=out, resume=True))
    assert list(done.written) == ["a", "b", "c"]
    assert (out / "a.nii.gz").stat().st_mtime_ns == first
    np.testing.assert_array_equal(
        read_labels(out / "b.nii.gz").array == 2, read(scans / "b.nii.gz").array > -500
    )
    with pytest.raises(ConfigError, match="flips"):
        workflow.segment(
            SegmentRequest(run=tmp_path, scans=[scans], out=out, resume=True, flips="all")
        )
    again = workflow.segment(SegmentRequest(run=tmp_path, scans=[scans], out=out))
    assert list(again.written) == ["a", "b", "c"]
    assert (out / "a.nii.gz").stat().st_mtime_ns > first


def test_a_list_of_scans_names_them_from_its_own_folder(segmenter, scans, tmp_path):
    (tmp_path / "these.txt").write_text("scans/c.nii.gz\n\nscans/a.nii.gz\n")
    done = workflow.segment(
        SegmentRequest(run=tmp_path, scans=[tmp_path / "these.txt"], out=tmp_path / "out")
    )
    assert list(done.written) == ["c", "a"]


def test_planes_flips_and_other_runs_are_joined(segmenter, scans, tmp_path):
    done = workflow.segment(
        SegmentRequest(
            run=tmp_path,
            scans=[scans],
            out=tmp_path / "out",
            planes="all",
            flips="all",
            also=[tmp_path],
        )
    )
    for name, path in done.written.items():
        bright = read(scans / f"{name}.nii.gz").array > -500
        np.testing.assert_array_equal(read_labels(path).array == 2, bright)


def test_mirror_images_that_were_not_learnt_are_said_to_be_left_out(
    scans, tmp_path, monkeypatch, caplog
):
    made = dataclasses.replace(made_of(Bright()), training=TrainingRecord(mirroring="left-right"))
    monkeypatch.setattr(workflow.Segmenter, "load", lambda run: made)
    workflow.segment(
        SegmentRequest(run=tmp_path, scans=[scans], out=tmp_path / "some", flips="left-right")
    )
    assert not caplog.text
    workflow.segment(SegmentRequest(run=tmp_path, scans=[scans], out=tmp_path / "all", flips="all"))
    assert (
        "was trained on left-right mirror images alone: `flips` = all predicts no others"
        in caplog.text
    )


def test_the_cleaning_that_was_chosen_is_done_unless_raw(scans, tmp_path, monkeypatch):
    cleaned = dataclasses.replace(made_of(Bright()), refinement={"keep_largest": 1})
    monkeypatch.setattr(workflow.Segmenter, "load", lambda run: cleaned)
    array = np.full((12, 10, 6), -1000, np.int16)
    array[1:4, 1:4, 1:4] = array[10, 8, 5] = 300
    write(Volume(array, Grid.regular(array.shape), "CT"), tmp_path / "one" / "d.nii.gz")
    found = {
        raw: read_labels(
            workflow.segment(
                SegmentRequest(
                    run=tmp_path, scans=[tmp_path / "one"], out=tmp_path / str(raw), raw=raw
                )
            ).written["d"]
        )
        for raw in (True, False)
    }
    assert np.count_nonzero(found[True].array) == 28
    assert np.count_nonzero(found[False].array) == 27
