"""What a run of an engine leaves behind when it cannot be: nothing, and a reason."""

import sys

import pytest

from condyle.app.cli.main import EXIT_CODES
from condyle.config import Experiment
from condyle.config.requests import TrainRequest
from condyle.engines import process
from condyle.errors import ConfigError, EngineFailed, MissingExtra
from condyle.workflows.training.train import train


def experiment(toy, name="nnunet:2d", **training):
    return Experiment.parse(
        {"dataset": str(toy), "device": "cpu", "network": {"name": name}, "training": training}
    )


@pytest.mark.parametrize("name", ["nnunet:2d", "totalsegmentator", "totalsegmentator:finetune"])
def test_an_engine_that_is_not_installed_is_said_before_anything_is_written(
    toy, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(process, "versions", lambda _: {})
    with pytest.raises(MissingExtra, match=r"pip install 'condyle\[engines\]'"):
        train(TrainRequest.of(experiment(toy, name), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_engine_that_crashes_leaves_nothing_behind(toy, tmp_path, monkeypatch):
    script = tmp_path / "run_nnunet.py"
    script.write_text("raise RuntimeError('no such luck')")
    monkeypatch.setenv("CONDYLE_ENGINES_PYTHON", sys.executable)
    monkeypatch.setattr(process, "versions", lambda _: {"nnunetv2": "2.8"})
    monkeypatch.setattr(process, "CHILDREN", tmp_path)
    with pytest.raises(EngineFailed, match="nnU-Net failed: RuntimeError: no such luck") as caught:
        train(TrainRequest.of(experiment(toy), tmp_path / "run"))
    assert EXIT_CODES[type(caught.value)] == 1
    assert not (tmp_path / "run").exists()


def test_epochs_and_a_budget_at_once_are_refused(toy, tmp_path):
    with pytest.raises(ConfigError, match="either `budget` or `epochs`"):
        train(TrainRequest.of(experiment(toy, epochs=1, budget="1m"), tmp_path / "run"))
