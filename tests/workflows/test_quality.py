"""What is told of each result: learnt on held-out cases, refused where it would mislead."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from condyle.app.cli.main import main
from condyle.config import Preparation
from condyle.config.requests import QualityRequest, SegmentRequest
from condyle.core import Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, DatasetError, MissingFile, UnreadableFile
from condyle.io import open_dataset, write, write_nnunet
from condyle.predict import RecipePreprocessing, Segmenter, TrainingRecord
from condyle.quality.assess import (
    assess,
    compared_predictions,
    load_quality,
    sentence,
    write_quality,
)
from condyle.workflows import quality as workflow
from condyle.workflows.quality import quality
from condyle.workflows.segment import segment

SCHEME = LabelScheme.of({"femur_left": 1, "femur_right": 2})
SHAPE = (20, 12, 12)


class Moments(torch.nn.Module):
    """An encoder whose deepest features are the mean and the spread of a slice."""

    def forward(self, x):
        return [torch.cat([x.mean((2, 3), True), x.std((2, 3), keepdim=True)], 1)]


class Brightness(torch.nn.Module):
    """A network of slices that calls the bright left and right, less sure towards one corner."""

    spatial, memory_format = 2, torch.contiguous_format

    def __init__(self):
        super().__init__()
        self.encoder = Moments()

    def forward(self, x):
        self.encoder(x)
        n, m = x.shape[2:]
        slope = 0.2 * (torch.arange(n)[:, None] / n + torch.arange(m)[None] / m - 1)
        bright = 20 * (x[:, 0] - 0.5 - slope)
        left = (torch.arange(n) < n / 2)[:, None].expand(n, m)
        scores = torch.zeros(len(x), 3, n, m)
        scores[:, 1] = torch.where(left, bright, -9)
        scores[:, 2] = torch.where(left, torch.tensor(-9.0), bright)
        return scores


def case(seed):
    """Two bright boxes in noise."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    a, b = rng.integers(2, 4, 2)
    labels[a : a + 5, 3:9, 2:10] = 1
    labels[10 + b : 15 + b, 3:9, 2:10] = 2
    image = np.clip(100 * (labels > 0) + 8 * rng.normal(size=SHAPE), -40, 140)
    grid = Grid.regular(SHAPE)
    return (Volume(image.astype(np.float32), grid),), LabelMap(labels, grid, SCHEME)


def data(folder, first, train, validation, test=0):
    names = [f"case_{first + n:02d}" for n in range(train + validation + test)]
    pairs = ((name, *case(int(name[-2:]))) for name in names)
    fold = Fold(
        tuple(names[:train]),
        tuple(names[train : train + validation]),
        tuple(names[train + validation :]),
    )
    return write_nnunet(folder, "legs", pairs, SCHEME, ("CT",), (fold,))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Four cases to train on, twelve to choose by, and two to judge by."""
    return data(tmp_path_factory.mktemp("legs") / "data", 0, 4, 12, 2)


@pytest.fixture
def segmenter(home):
    return made(home)


def made(home):
    (fold,) = open_dataset(home).folds
    return Segmenter(
        "unet-plain",
        Brightness(),
        RecipePreprocessing(settings=Preparation(intensity="minmax")),
        SCHEME,
        training=TrainingRecord(train=fold.train, validation=fold.validation),
    )


def run_folder(folder, home):
    """A run folder as far as quality looks into it."""
    (folder / "segmenter").mkdir(parents=True)
    (folder / "segmenter" / "segmenter.json").write_text(json.dumps({"sha256": "a" * 64}))
    (folder / "config.toml").write_text(f'dataset = "{home.as_posix()}"\n')
    return folder


@pytest.fixture
def run(home, segmenter, tmp_path, monkeypatch):
    monkeypatch.setattr(workflow.Segmenter, "load", lambda path: segmenter)
    return run_folder(tmp_path / "run", home)


@pytest.fixture(scope="module")
def learnt(home, tmp_path_factory):
    """The calibration that most tests look at."""
    folder = run_folder(tmp_path_factory.mktemp("learnt") / "run", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow.Segmenter, "load", lambda path: made(home))
        quality(QualityRequest(run=folder, worse=3, device="cpu"))
    return folder / "segmenter" / "quality.json"


@pytest.fixture
def calibrated(run, learnt):
    shutil.copy(learnt, run / "segmenter")
    return run


def told(segmenter, run, channels):
    labels, compared = compared_predictions(segmenter.predictor(device="cpu"), channels)
    return assess(segmenter, load_quality(run, segmenter), channels, labels, compared, "cpu")


def test_quality_learnt_on_three_planes_is_told_of_scans_looked_at_in_three(run, home, tmp_path):
    quality(QualityRequest(run=run, worse=0, planes="all", device="cpu"))
    scan, out = write(case(16)[0][0], tmp_path / "scan.nii.gz"), tmp_path / "out"
    way = {"quality": True, "device": "cpu", "runtime": "torch"}
    with pytest.raises(ConfigError, match="calibrated with other `planes`"):
        segment(SegmentRequest(run=run, scans=[scan], out=out, **way))
    assert not out.exists()
    assert segment(SegmentRequest(run=run, scans=[scan], out=out, planes="all", **way)).failed == {}
    rows = list(csv.DictReader((out / "quality.csv").read_text().splitlines()))
    assert [row["structure"] for row in rows] == list(SCHEME.names)
    assert all(float(row["expected_dice"]) > 0.8 for row in rows)


def test_quality_learnt_on_two_runs_passes_over_what_either_was_trained_on(
    run, home, segmenter, monkeypatch, tmp_path
):
    other = made(home)
    seen = segmenter.training.validation[:2]
    record = other.training.changed(train=(*other.training.train, *seen))
    folder = run_folder(tmp_path / "other", home) / "segmenter"
    other = replace(other, training=record, weights="a" * 64, folder=folder)
    monkeypatch.setattr(
        workflow.Segmenter, "load", lambda path: other if "other" in str(path) else segmenter
    )
    quality(QualityRequest(run=run, also=[tmp_path / "other"], worse=0, device="cpu"))
    learnt = load_quality(run, segmenter)
    assert set(learnt.cases) == set(segmenter.training.validation) - set(seen)
    scan = write(case(16)[0][0], tmp_path / "scan.nii.gz")
    way = {"quality": True, "device": "cpu", "runtime": "torch"}
    done = segment(
        SegmentRequest(
            run=run, scans=[scan], out=tmp_path / "out", also=[tmp_path / "other"], **way
        )
    )
    assert (done.failed, list(done.written)) == ({}, ["scan"])
    with pytest.raises(ConfigError, match="`also`"):
        segment(SegmentRequest(run=run, scans=[scan], out=tmp_path / "alone", **way))


def test_a_good_scan_is_trusted_and_a_spoilt_one_is_flagged_with_reasons(segmenter, calibrated):
    channels, _ = case(16)
    rows = told(segmenter, calibrated, channels)
    assert [row["structure"] for row in rows] == list(SCHEME.names)
    for row in rows:
        assert 0.8 < row["expected_dice"] <= row["high"] <= 1
        assert row["low"] <= row["expected_dice"]
        assert row["flag"] == ""
    assert sentence("good", rows) == ""
    noise = 150 * np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    spoilt = (channels[0].with_array(channels[0].array + noise),)
    worse = told(segmenter, calibrated, spoilt)
    assert {row["flag"] for row in worse} == {"look"}
    assert all(row["expected_dice"] < 0.8 for row in worse)
    line = sentence("spoilt", worse)
    assert line.startswith("spoilt: femur_left has an expected Dice of 0.")
    assert "\n" not in line


def test_the_slices_to_look_at_are_those_on_which_the_compared_differ(segmenter, calibrated):
    channels, _ = case(17)
    labels, _ = compared_predictions(segmenter.predictor(device="cpu"), channels)
    one = labels.array.copy()
    one[:, :, 5:7] = 0
    same = [labels, labels.with_array(one)]
    learnt = load_quality(calibrated, segmenter)
    rows = assess(segmenter, learnt, channels, labels, same, "cpu")
    assert {row["look_at"] for row in rows} == {"5-6"}


def test_compared_come_back_the_right_way_round(segmenter):
    channels, truth = case(3)
    labels, compared = compared_predictions(segmenter.predictor(device="cpu"), channels)
    assert len(compared) == 2
    for vote in compared:
        for name in SCHEME.names:
            shared = (vote.mask(name) & truth.mask(name)).sum()
            assert shared > 0.8 * truth.mask(name).sum()
    np.testing.assert_array_equal(compared[0].array, labels.array)


def test_a_structure_that_was_always_there_and_is_not_found_is_expected_to_have_no_dice(
    segmenter, calibrated
):
    channels, _ = case(16)
    _, compared = compared_predictions(segmenter.predictor(device="cpu"), channels)
    lost = [vote.with_array(np.where(vote.array == 1, 0, vote.array)) for vote in compared]
    learnt = load_quality(calibrated, segmenter)
    left, right = assess(segmenter, learnt, channels, lost[0], lost, "cpu")
    assert (left["expected_dice"], left["low"], left["high"], left["flag"]) == (0, 0, 0, "look")
    assert "was not found" in left["reasons"]
    assert right["flag"] == ""


def test_the_table_is_written(segmenter, calibrated, tmp_path):
    rows = [{"scan": "one", **row} for row in told(segmenter, calibrated, case(16)[0])]
    path = write_quality(tmp_path, rows)
    with path.open() as stream:
        (first, _) = csv.DictReader(stream)
    assert path.name == "quality.csv"
    assert list(first) == ["scan", "structure", "expected_dice", "low", "high", "flag", "reasons",
                           "look_at"]  # fmt: skip


def test_other_weights_other_cleaning_and_other_compared_are_refused(segmenter, calibrated):
    learnt = load_quality(calibrated, segmenter)
    channels, _ = case(16)
    labels, compared = compared_predictions(segmenter.predictor(device="cpu"), channels)
    with pytest.raises(ConfigError, match="calibrated on 2 predictions per scan, here are 3"):
        assess(segmenter, learnt, channels, labels, [*compared, labels], "cpu")
    segmenter.refinement["keep_largest"] = 1
    with pytest.raises(ConfigError, match="other cleaning steps"):
        load_quality(calibrated, segmenter)
    segmenter.refinement.clear()
    card = calibrated / "segmenter" / "segmenter.json"
    card.write_text(json.dumps({"sha256": "b" * 64}))
    with pytest.raises(ConfigError, match="other weights"):
        load_quality(calibrated, segmenter)


def test_a_run_never_calibrated_and_a_damaged_file_say_what_to_do(segmenter, run):
    with pytest.raises(MissingFile, match="condyle quality"):
        load_quality(run, segmenter)
    (run / "segmenter" / "quality.json").write_text('{"format": 1')
    with pytest.raises(UnreadableFile, match="damaged"):
        load_quality(run, segmenter)


def test_too_few_held_out_cases_are_refused_before_anything_is_computed(
    run, segmenter, home, tmp_path, monkeypatch
):
    monkeypatch.setattr(workflow, "trained_on", None)
    fewer = segmenter.training.changed(validation=segmenter.training.validation[:9])
    few_held_out = replace(segmenter, training=fewer)
    monkeypatch.setattr(workflow.Segmenter, "load", lambda path: few_held_out)
    with pytest.raises(DatasetError, match=r"10 patients or more, .* has 9"):
        quality(QualityRequest(run=run))
    few = data(tmp_path / "few", 40, 1, 2)
    with pytest.raises(DatasetError, match="has 3"):
        quality(QualityRequest(run=run, dataset=few))
    assert not (run / "segmenter" / "quality.json").exists()


def test_cases_that_were_trained_on_are_passed_over(run, home, segmenter, caplog):
    quality(QualityRequest(run=run, dataset=home, worse=0, device="cpu"))
    assert "4 cases" in caplog.text
    learnt = load_quality(run, segmenter)
    assert set(learnt.cases).isdisjoint(segmenter.training.train)
    assert len(learnt.cases) == 14


def test_it_is_learnt_on_labelss_cleaned_as_they_will_be(run, segmenter):
    segmenter.refinement["min_mm3"] = 1e6
    with pytest.raises(DatasetError, match="here are 0"):  # nothing is left of any labels
        quality(QualityRequest(run=run, worse=0, device="cpu"))


def test_a_data_set_that_is_gone_is_named(run, segmenter, home, tmp_path):
    (run / "config.toml").write_text('dataset = "elsewhere"\n')
    with pytest.raises(DatasetError, match="elsewhere"):
        quality(QualityRequest(run=run))
    quality(
        QualityRequest(run=run, dataset=home, worse=0, device="cpu")
    )  # given by hand, it holds them too


def test_the_same_seed_stores_the_same(run):
    quality(QualityRequest(run=run, worse=1, device="cpu"))
    path = run / "segmenter" / "quality.json"
    first = path.read_bytes()
    quality(QualityRequest(run=run, worse=1, device="cpu"))
    assert path.read_bytes() == first


def test_the_verb(run, capsys, monkeypatch):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)

    with pytest.raises(SystemExit) as ended:
        main(["quality", str(run), "--worse", "1", "--device", "cpu"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "femur_left" in out
    assert "condyle segment --quality" in out


def test_segmenting_says_which_results_to_look_at_and_which_scan_failed(
    calibrated, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)
    scans, out = tmp_path / "scans", tmp_path / "out"
    (good,), _ = case(16)
    noise = 150 * np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    write(good, scans / "good.nii.gz")
    write(good.with_array(good.array + noise), scans / "spoilt.nii.gz")
    (scans / "broken.nii.gz").write_bytes((scans / "good.nii.gz").read_bytes()[:900])
    with pytest.raises(SystemExit) as ended:
        main(["segment", str(calibrated), str(scans), "--out", str(out), "--quality",
              "--device", "cpu"])  # fmt: skip
    said, complaint = capsys.readouterr()
    assert ended.value.code == 2
    assert f"2 label maps written into {out}, computed by " in said
    assert "check spoilt: femur_left has an expected Dice of 0." in said
    assert "check good" not in said
    assert "broken failed: " in complaint
    with (out / "quality.csv").open() as stream:
        assert {row["scan"] for row in csv.DictReader(stream)} == {"good", "spoilt"}
