"""nnU-Net itself, on a toy data set: a run folder like ours, the same labels as its own command."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import condyle
from condyle.config import Experiment
from condyle.config.requests import SegmentRequest, TrainRequest
from condyle.engines.nnunet import Space
from condyle.engines.process import python
from condyle.errors import OutputError, UnknownName
from condyle.io import open_dataset, read_labels
from condyle.jobs.job import Job
from condyle.predict.nnunet_import import import_nnunet
from condyle.workflows.segment import segment
from condyle.workflows.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["2d", "3d_fullres", "resenc-m"])
def run(request, nnunet, toy, tmp_path_factory):
    """A finished run of nnU-Net."""
    out = tmp_path_factory.mktemp("runs") / request.param
    experiment = Experiment.parse(
        {"dataset": str(toy), "device": "cpu", "network": {"name": f"nnunet:{request.param}"},
         "training": {"epochs": 3, "steps": 12}}
    )  # fmt: skip
    heard = []
    train(TrainRequest.of(experiment, out), Job(on_progress=heard.append))
    assert {"planning", "preprocessing", "training", "segmenting"} <= {said.stage for said in heard}
    return out


def by_its_own_command(run, toy, out, *flags):
    """The label maps of nnU-Net's own command for the held-out cases."""
    scans = out / "scans"
    scans.mkdir(parents=True)
    for name in ("toy_7_0000.nii.gz", "toy_8_0000.nii.gz"):
        shutil.copy(toy / "imagesTr" / name, scans)
    (model,) = (run / "engine" / "results").glob("*/*")
    command = Path(python()).with_name("nnUNetv2_predict_from_modelfolder")
    words = [command, "-i", scans, "-o", out / "found", "-m", model, "-f", "0", "-device", "cpu"]
    folders = {name: str(out) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    subprocess.run(
        [python(), *map(str, words), "-npp", "1", "-nps", "1", *flags],
        check=True, env={**os.environ, **folders}, capture_output=True,
    )  # fmt: skip
    return {name: read_labels(out / "found" / f"{name}.nii.gz") for name in ("toy_7", "toy_8")}


def test_the_run_folder_is_like_ours(run, toy):
    there = {path.name for path in run.iterdir()}
    assert {"config.toml", "predictions", "metrics.csv", "summary.csv", "report.html",
            "history.csv", "run.json", "segmenter", "environment.json"} <= there  # fmt: skip
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(float(row["loss"]) < 3 for row in rows)
    assert float(rows[0]["rate"]) == 0.01
    known = Experiment.read(run / "config.toml")
    assert (known.training.optimizer, known.training.rate) == ("sgd", 0.01)
    assert (known.training.loss, known.training.schedule) == ("dice+ce", "poly")
    assert (known.training.epochs, known.training.steps) == (3, 12)
    assert known.network.deep_supervision
    assert len(known.engine["patch"]) == len(known.engine["spacing"]) in (2, 3)
    assert any("rotation" in words for words in known.engine["augmentation"])
    assert not list((run / "engine").glob("preprocessed/Dataset*"))
    for case in open_dataset(toy).select(["toy_7", "toy_8"]):
        found = read_labels(run / "predictions" / f"{case.id}.nii.gz", case.labels().scheme)
        assert found.grid.same_as(case.image().grid)
        assert set(found.present()) <= {3, 7}


def test_its_labels_are_those_of_its_own_command(run, toy, tmp_path):
    for name, theirs in by_its_own_command(run, toy, tmp_path).items():
        ours = read_labels(run / "predictions" / f"{name}.nii.gz")
        assert np.array_equal(ours.array, np.array([0, 3, 7])[theirs.array])


@pytest.mark.parametrize("flips", ["none", "all"])
def test_it_runs_in_our_runtime(run, toy, tmp_path, flips):
    import_nnunet(run / "engine" / "results", tmp_path / "imported")
    own = by_its_own_command(run, toy, tmp_path, *(["--disable_tta"] if flips == "none" else []))
    same = []
    for name, theirs in own.items():
        scan = condyle.read(toy / "imagesTr" / f"{name}_0000.nii.gz")
        ours = condyle.load(tmp_path / "imported").segment(
            scan, "cpu", mirroring=flips, runtime="torch"
        )
        same.append((ours.array == theirs.array).mean())
    assert np.mean(same) >= 0.999


def test_its_run_folder_segments_in_the_data_set_s_numbers(run, toy, tmp_path):
    done = segment(
        SegmentRequest(
            run=run,
            scans=[toy / "imagesTr" / "toy_8_0000.nii.gz"],
            out=tmp_path,
            device="cpu",
            runtime="torch",
            flips="all",
        )
    )
    (file,) = done.written.values()
    kept = read_labels(run / "predictions" / "toy_8.nii.gz")
    assert (read_labels(file).array == kept.array).mean() >= 0.999


def test_a_run_folder_that_is_in_use_is_refused(run, toy):
    experiment = Experiment.read(run / "config.toml")
    with pytest.raises(OutputError, match="is not empty"):
        train(TrainRequest.of(experiment, run))
    assert json.loads((run / "run.json").read_text())


def test_a_training_that_is_killed_goes_on_from_its_last_epoch(nnunet, toy, tmp_path):
    out, log = tmp_path / "run", tmp_path / "log.txt"
    settings = {"epochs": 6, "steps": 3}
    experiment = Experiment.parse(
        {"dataset": str(toy), "device": "cpu", "network": {"name": "nnunet:3d_fullres"},
         "training": settings}
    )  # fmt: skip
    (tmp_path / "asked.toml").write_text(experiment.to_toml())
    words = [sys.executable, "-m", "condyle", "train", "--config", str(tmp_path / "asked.toml")]
    with log.open("w") as stream:
        process = subprocess.Popen([*words, "--out", str(out)], stdout=stream, stderr=stream)
    kept = "engine/results/*/*/fold_0/checkpoint_latest.pth"
    while not list(out.glob(kept)):
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.kill()
    process.wait()
    time.sleep(4)  # its child ends itself
    [told] = out.glob(kept.replace("checkpoint_latest.pth", "progress.json"))
    before = json.loads(told.read_text())["rows"]
    assert 1 <= len(before) < 6
    with pytest.raises(OutputError, match="`resume`"):
        train(TrainRequest.of(experiment, out))
    heard = []
    train(
        TrainRequest.of(experiment, out, resume=True),
        Job(on_progress=lambda progress: heard.append(progress.stage)),
    )
    assert not {"planning", "preprocessing", "writing for nnU-Net"} & set(heard)
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == [str(n) for n in range(6)]
    assert float(rows[0]["loss"]) == before[0]["loss"]
    assert not list(out.glob(kept))
    assert (out / "report.html").is_file()
    summary = train(
        TrainRequest.of(experiment, out, resume=True)
    ).summary  # it is finished: nothing is done
    assert summary[-1]["structure"] == "mean"


def test_an_unknown_configuration_is_named(toy, tmp_path):
    experiment = Experiment.parse({"dataset": str(toy), "network": {"name": "nnunet:4d"}})
    with pytest.raises(UnknownName, match="unknown network 'nnunet:4d'"):
        train(TrainRequest.of(experiment, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_folders_that_the_user_set_are_honoured_and_their_data_sets_left_alone(tmp_path):
    given = {"nnUNet_raw": str(tmp_path / "raw"), "nnUNet_results": str(tmp_path / "results")}
    (tmp_path / "raw" / "Dataset001_mine").mkdir(parents=True)
    space = Space.of(tmp_path / "run", given)
    assert space.number == 2
    assert space.environment["nnUNet_raw"] == str(tmp_path / "raw")
    assert space.environment["nnUNet_preprocessed"] == str(tmp_path / "run" / "preprocessed")
    assert Space.of(tmp_path / "other", given).number == 3  # the second is another run's by now


def begun(folder, given, learnt=True):
    """A training that was interrupted, before or after its first epoch."""
    space = Space.of(folder, given)
    folder.mkdir(exist_ok=True)
    job = {"dataset": space.number, "roots": space.environment}
    (folder / "train.json").write_text(json.dumps(job))
    if learnt:
        model = space.roots["nnUNet_results"] / space.name / "trainer__plans__2d" / "fold_0"
        model.mkdir(parents=True)
        (model / "checkpoint_latest.pth").touch()
    return space


def test_an_interrupted_training_finds_its_own_data_set_again(tmp_path):
    given = {"nnUNet_results": str(tmp_path / "results")}
    begun(tmp_path / "other", given)
    space = begun(tmp_path / "run", given)
    assert Space.of(tmp_path / "run", given) == space
    assert space.can_go_on


def test_a_run_never_takes_another_runs_data_set_for_its_own(tmp_path):
    given = {"nnUNet_results": str(tmp_path / "results")}
    begun(tmp_path / "run", given)
    elsewhere = {"nnUNet_results": str(tmp_path / "elsewhere")}
    other = begun(tmp_path / "other", elsewhere)  # has the same number there
    space = Space.of(tmp_path / "run", elsewhere)
    assert space.number != other.number
    assert not space.can_go_on
    assert other.can_go_on


def test_a_training_that_failed_before_its_first_epoch_gives_its_number_back(tmp_path):
    given = {"nnUNet_results": str(tmp_path / "results")}
    begun(tmp_path / "run", given, learnt=False).give_up()
    other = begun(tmp_path / "other", given)
    assert other.number == 1
    assert Space.of(tmp_path / "run", given).number == 2
    assert other.can_go_on
