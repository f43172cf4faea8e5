"""What an engine's run is given of our settings, and what it records: with a stand-in for nnU-Net.

The stand-in is a real child process that trains nothing; nnU-Net's own part is in test_nnunet.py.
"""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from condyle.config import Experiment
from condyle.config.requests import RunsRequest, SegmentRequest, TrainRequest
from condyle.engines import process
from condyle.errors import ConfigError, MissingFile
from condyle.runs.folds import members_of
from condyle.workflows.runs import runs
from condyle.workflows.segment import segment
from condyle.workflows.training.train import train
from toy_nnunet import model

STAND_IN = """
import json, shutil, sys
from pathlib import Path
file = Path(sys.argv[1])
job = json.loads(file.read_text())
out = Path(job["predictions"])
out.mkdir(parents=True)
for name, scans in job["cases"].items():
    import nibabel
    scan = nibabel.load(scans[0])
    bright = (scan.get_fdata() > 140).astype("u1")
    nibabel.save(nibabel.Nifti1Image(bright, scan.affine), out / f"{name}.nii.gz")
given = job["settings"]
rate = given.get("training.rate", 0.01)
rows = [{"epoch": n, "step": 250 * n, "seconds": n + 1.0, "loss": -0.1 * n, "validation_loss": 0.1,
         "validation_dice": 0.5, "validation_iou": 0.4, "rate": rate} for n in range(3)]
settings = {"training.epochs": 1000, "training.steps": 250, "training.loss": "dice+ce",
            "training.optimizer": "sgd", "training.rate": 0.01, "training.batch": 12,
            "network.deep_supervision": True, "augmentation.flip": "all"}
engine = {"trainer": "nnUNetTrainer", "patch": [28, 28], "spacing": [1.0, 1.0],
          "mirrored_axes": [0, 1], "augmentation": ["Spatial: rotation -180 to 180 degrees"]}
file.with_name("result.json").write_text(json.dumps({
    "model": MODEL, "history": rows, "failed": {}, "parameters": 5, "seconds": 3.0,
    "seconds_a_case": 0.1, "tensors": [], "mirror": True, "settings": settings | given,
    "engine": engine, "lowres": MODEL}))
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A child in nnU-Net's place, whose trainer takes what it is given."""
    folder = tmp_path / "children"
    folder.mkdir()
    home = model(tmp_path / "model", 2)
    (folder / "run_nnunet.py").write_text(STAND_IN.replace("MODEL", repr(str(home))))
    monkeypatch.setenv("CONDYLE_ENGINES_PYTHON", sys.executable)
    monkeypatch.setattr(process, "versions", lambda _: {"nnunetv2": "2.8.1"})
    monkeypatch.setattr("condyle.workflows.training.train_engine.versions",
                        lambda _: {"nnunetv2": "2.8.1"})  # fmt: skip
    monkeypatch.setattr(process, "CHILDREN", folder)


def request(toy, out, **given):
    return TrainRequest(dataset=toy, network="nnunet:2d", device="cpu", out=out, **given)


def test_a_run_records_what_the_trainer_had_and_can_be_run_again_from_it_with_changes(
    stand_in, toy, tmp_path
):
    out = tmp_path / "run"
    train(request(toy, out))
    known = tomllib.loads((out / "config.toml").read_text())
    assert known["training"] == {
        "epochs": 1000, "steps": 250, "loss": "dice+ce", "optimizer": "sgd", "rate": 0.01,
        "batch": 12, "seed": 0,
    }  # fmt: skip
    assert known["network"] == {"name": "nnunet:2d", "deep_supervision": True}
    assert known["augmentation"] == {"flip": "all"}
    assert known["engine"]["patch"] == [28, 28]
    assert known["engine"]["weights"] == "random numbers"
    assert known["engine"]["versions"] == {"nnunetv2": "2.8.1"}
    page = (out / "report.html").read_text()
    assert "nnUNetTrainer" in page
    assert "rotation -180 to 180 degrees" in page
    for false in ("imagenet", "faded_ce", "adamw", "0.002"):
        assert false not in page
    history = (out / "history.csv").read_text()
    assert "validation_iou" in history.splitlines()[0]
    assert (out / "curves.png").stat().st_size > 10_000
    (row,) = runs(RunsRequest(folders=[tmp_path])).rows
    assert (row["loss"], row["batch"], row["weights"]) == ("dice+ce", 12, "random numbers")
    assert row["augmentation"] == "Spatial: rotation -180 to 180 degrees"
    assert (row["train"], row["test"]) == (5, 2)
    asked = {"optimizer": "adam", "loss": "bce+dice", "schedule": "constant", "foreground": 0.5}
    again = TrainRequest(
        config=str(out / "config.toml"), out=tmp_path / "again", rate=2e-3, batch=4,
        settings={"training": asked},
    )  # fmt: skip
    train(again)
    given = json.loads((tmp_path / "again" / "engine" / "train.json").read_text())["settings"]
    assert given["training.rate"] == 2e-3
    assert {name: given[f"training.{name}"] for name in asked} == asked
    second = tomllib.loads((tmp_path / "again" / "config.toml").read_text())
    changed = {"rate": 2e-3, "batch": 4, **asked}
    assert second == known | {"training": known["training"] | changed}


@pytest.mark.parametrize(
    ("name", "section", "setting", "value"),
    [
        ("nnunet:2d", "training", "patch", [16, 16, 1]),
        ("nnunet:2d", "training", "loss", "focal"),
        ("nnunet:2d", "training", "ema", 0.995),  # our own value, which it would not have either
        ("nnunet:2d", "augmentation", "rotation", 15.0),
        ("nnunet:2d", "augmentation", "flip", "left-right"),
        ("nnunet:2d", "network", "weights", "imagenet"),
        ("nnunet:2d", "network", "last_layer", "new"),
        ("nnunet:3d_cascade_fullres", "training", "budget", "10m"),
        ("nnunet:2d", "training", "steps", "all"),
        ("totalsegmentator", "training", "rate", 3e-4),
        ("totalsegmentator:finetune:fast", "preparation", "spacing", [1.0, 1.0, 1.0]),
        ("unet-plain", "network", "last_layer", "new"),
    ],
)
def test_what_an_engine_cannot_take_is_refused_by_name(
    toy, tmp_path, name, section, setting, value
):
    asked = {section: {setting: value}}
    given = TrainRequest(dataset=toy, network=name, settings=asked, out=tmp_path / "run")
    with pytest.raises(ConfigError, match=f"`{section}.{setting}` cannot be used by {name}"):
        train(given)
    assert not (tmp_path / "run").exists()


def test_steps_under_a_budget_are_refused(toy, tmp_path):
    given = request(toy, tmp_path / "run", budget="10m", settings={"training": {"steps": 5}})
    with pytest.raises(ConfigError, match=r"`training.steps` cannot be used .*part of the time"):
        train(given)


@pytest.fixture
def two_folds(toy, tmp_path):
    """The toy data set with two folds."""
    folder = tmp_path / "two"
    folder.mkdir()
    for part in ("imagesTr", "labelsTr", "dataset.json"):
        (folder / part).symlink_to(Path(toy) / part)
    names = [f"toy_{n}" for n in range(9)]
    split = [{"train": names[4:], "val": names[:4]}, {"train": names[:4], "val": names[4:]}]
    (folder / "splits_final.json").write_text(json.dumps(split))
    return folder


def test_all_folds_are_trained_and_segment_together(stand_in, two_folds, tmp_path):
    out = tmp_path / "run"
    done = train(request(two_folds, out, folds=2, rate=0.02))
    assert done.summary[0]["n"] == 9  # each case is scored by a network that has not seen it
    for fold in ("fold_0", "fold_1"):
        known = Experiment.read(out / fold / "config.toml")
        assert (known.fold, known.training.rate) == (int(fold[-1]), 0.02)
    assert len(members_of(out)) == 2
    scan = two_folds / "imagesTr" / "toy_0_0000.nii.gz"
    found = segment(SegmentRequest(run=out, scans=[scan], out=tmp_path / "found", device="cpu"))
    assert len(found.written) == 1
    (out / "fold_0" / "segmenter").rename(tmp_path / "gone")  # as where another program predicts
    assert members_of(out) == (out / "fold_1",)
    (out / "fold_1" / "segmenter").rename(tmp_path / "gone too")
    with pytest.raises(MissingFile, match=r"segment with one of them, .*fold_0"):
        members_of(out)


def test_folds_of_what_is_not_trained_are_refused(two_folds, tmp_path):
    given = {"dataset": two_folds, "out": tmp_path / "run", "folds": 2}
    with pytest.raises(ConfigError, match="`folds` cannot be used by TotalSegmentator as it is"):
        train(TrainRequest(network="totalsegmentator", **given))
