"""What TensorBoard and MLflow are told of a training, read back with their own readers."""

import csv
import logging
import math
import sys

import pytest

from balls import balls
from condyle.app.cli.main import main
from condyle.config import Experiment
from condyle.config.requests import TrainRequest
from condyle.errors import MissingExtra
from condyle.jobs.job import Job
from condyle.runs.tracking import tracked
from condyle.workflows.training.train import train

pytest.importorskip("tensorboard", reason="pip install tensorboard")
pytest.importorskip("mlflow", reason="pip install mlflow-skinny")

EPOCHS = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return balls(tmp_path_factory.mktemp("data"), "ball (left)")


def experiment(dataset):
    return Experiment.parse(
        {
            "dataset": str(dataset),
            "log": ["tensorboard", "mlflow"],
            "network": {"name": "3d:unet-plain"},
            "training": {"epochs": EPOCHS, "steps": 2, "batch": 2},
        }
    )


@pytest.fixture(scope="module")
def run(dataset):
    """A run interrupted in its third epoch, and gone on with."""
    out = dataset.parent / "first"

    def interrupted(progress):
        if progress.stage == "training" and progress.done > 2.2 / EPOCHS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TrainRequest.of(experiment(dataset), out), Job(on_progress=interrupted))
    assert mlflow_run(out).info.status == "KILLED"
    train(TrainRequest.of(experiment(dataset), out, resume=True))
    return out


def mlflow_client(out):
    from mlflow import MlflowClient

    return MlflowClient((out.parent / "mlruns").as_uri())


def mlflow_run(out):
    client = mlflow_client(out)
    [found] = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return found


def history(out):
    with (out / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_tensorboard_holds_each_epoch_once(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard")).Reload()
    names = ["loss", "rate", "validation_dice", "validation_iou", "validation_ball (left)"]
    assert set(names) <= set(events.Tags()["scalars"])
    rows = history(run)
    assert len(rows) == EPOCHS
    for name in names:
        told = events.Scalars(name)
        assert [event.step for event in told] == list(range(EPOCHS))
        wanted = [float(row[name]) for row in rows]
        assert [event.value for event in told] == pytest.approx(wanted, rel=1e-6)
    [score] = events.Scalars("test_dice_ball (left)")
    assert score.step == EPOCHS - 1
    assert 0 <= score.value <= 1
    [picture] = events.Images("slices")
    assert picture.encoded_image_string.startswith(b"\x89PNG")


def test_mlflow_holds_settings_epochs_scores_and_files_in_one_run(run):
    found = mlflow_run(run)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "first"
    assert found.data.params["network.name"] == "3d:unet-plain"
    assert found.data.params["training.epochs"] == str(EPOCHS)
    client, rows = mlflow_client(run), history(run)
    for name in ("loss", "validation_dice"):
        told = client.get_metric_history(found.info.run_id, name)
        assert [metric.step for metric in told] == list(range(EPOCHS))
        wanted = [float(row[name]) for row in rows]
        assert [metric.value for metric in told] == pytest.approx(wanted, rel=1e-6)
    assert "test_dice_ball _left_" in found.data.metrics
    files = {file.path for file in client.list_artifacts(found.info.run_id)}
    assert files == {"config.toml", "summary.csv", "slices.png"}


def test_runs_in_one_folder_stand_side_by_side_in_mlflow(dataset, run, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(f'dataset = "{dataset}"\nfold = 1\n')
        with tracked(["mlflow"], tmp_path / name) as track:
            track.epoch({"epoch": 0.0, "loss": 1.0, "validation_dice": math.nan})
    client = mlflow_client(tmp_path / "one")
    [told] = client.search_experiments(filter_string="name = 'balls'")
    found = client.search_runs([told.experiment_id])
    assert {run.info.run_name for run in found} == {"one", "two"}
    assert all(run.data.metrics == {"loss": 1.0} for run in found)


def test_what_goes_wrong_there_ends_no_training(tmp_path, caplog):
    (tmp_path / "mlruns").write_text("a file, no folder")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text('dataset = "balls"\n')
    with caplog.at_level(logging.WARNING), tracked(["mlflow"], tmp_path / "run") as track:
        track.epoch({"epoch": 0.0, "loss": 1.0})
        track.epoch({"epoch": 1.0, "loss": 1.0})
    assert len(caplog.records) == 1
    assert "the training goes on without it" in caplog.text


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_without_its_package_nothing_is_written(dataset, tmp_path, name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")  # no new process with other settings
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as left:
        main(["train", str(dataset), "--out", str(out), "--log", name, "--epochs", "1"])
    assert left.value.code == 2
    assert "pip install" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(MissingExtra):
        train(TrainRequest.of(experiment(dataset), out))
