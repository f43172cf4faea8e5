"""All folds by one command: every case is scored once, and all networks segment together."""

import csv
import json

import numpy as np
import pytest

import condyle
from balls import balls
from condyle.config.requests import SegmentRequest, TrainRequest
from condyle.errors import ConfigError, MissingFile
from condyle.io import read_labels
from condyle.workflows.segment import segment
from condyle.workflows.training.train import train

SETTINGS = {
    "network": {"name": "3d:unet-plain"},
    "training": {"epochs": 1, "steps": 2, "batch": 2},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    parts = [["ball_0", "ball_1", "ball_2"], ["ball_3", "ball_4"]]
    folds = [{"train": parts[n], "val": parts[1 - n]} for n in (0, 1)]
    (balls(folder) / "splits_final.json").write_text(json.dumps(folds))
    train(
        TrainRequest(dataset=folder / "balls", folds="all", settings=SETTINGS, out=folder / "run")
    )
    return folder


def test_every_case_is_scored_once_by_a_network_that_has_not_seen_it(home):
    with (home / "run" / "metrics.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["case"] for row in rows) == [f"ball_{n}" for n in range(5)]
    for row in rows:
        fold = condyle.load(home / "run" / f"fold_{row['fold']}")
        assert row["case"] in fold.training.test
    with (home / "run" / "summary.csv").open(encoding="utf-8") as stream:
        (ball, _) = csv.DictReader(stream)
    assert int(ball["n"]) == 5
    mean = np.mean([float(row["dice"]) for row in rows])
    assert float(ball["dice_mean"]) == pytest.approx(mean, abs=1e-3)


def test_segment_averages_the_networks_of_all_folds(home):
    run, scan = home / "run", home / "balls" / "imagesTr" / "ball_0_0000.nii.gz"
    given = {"scans": [scan], "runtime": "torch", "device": "cpu"}
    others = [run / "fold_1"]
    whole = segment(SegmentRequest(run=run, out=home / "whole", **given))
    named = segment(SegmentRequest(run=run / "fold_0", also=others, out=home / "named", **given))
    one, other = (read_labels(next(iter(x.written.values()))).array for x in (whole, named))
    np.testing.assert_array_equal(one, other)
    with pytest.raises(ConfigError, match="quality"):
        segment(SegmentRequest(run=run, out=home / "q", quality=True, **given))
    with pytest.raises(MissingFile, match="fold_0"):
        condyle.load(run)


def test_an_interrupted_training_of_folds_goes_on_and_says_so_until_it_is_whole(home):
    run = home / "run"
    weights = [(run / f"fold_{n}" / "segmenter" / "model.safetensors") for n in (0, 1)]
    before = [path.stat().st_mtime_ns for path in weights]
    (run / "fold_1" / "run.json").unlink()  # its last file: as if it had been interrupted
    scan = home / "balls" / "imagesTr" / "ball_0_0000.nii.gz"
    with pytest.raises(MissingFile, match=r"1 of 2 folds .* --resume"):
        segment(SegmentRequest(run=run, scans=[scan], out=home / "unfinished"))
    with pytest.raises(ConfigError, match="leave out `rate`"):
        train(TrainRequest(out=run, resume=True, rate=0.1))
    train(TrainRequest(out=run, resume=True))
    assert [path.stat().st_mtime_ns for path in weights[:1]] == before[:1]
    segment(SegmentRequest(run=run, scans=[scan], out=home / "finished", device="cpu"))


@pytest.mark.parametrize(
    ("more", "words"),
    [({"folds": 3}, "has 2 folds, not 3"), ({"folds": 2, "fold": 1}, "either"),
     ({"folds": 2, "network": "totalsegmentator"}, "TotalSegmentator")],
)  # fmt: skip
def test_folds_that_cannot_be_are_refused_before_anything_is_written(home, more, words):
    with pytest.raises(ConfigError, match=words):
        train(TrainRequest(dataset=home / "balls", out=home / "none", **more))
    assert not (home / "none").exists()
