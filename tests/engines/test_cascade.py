"""nnU-Net's coarse configuration and its cascade, planned as for scans that a GPU cannot hold."""

import csv
import tomllib

import numpy as np
import pytest

import condyle
from condyle.config import Experiment
from condyle.config.requests import ImportWeightsRequest, SegmentRequest, TrainRequest
from condyle.engines import nnunet, process
from condyle.errors import ConfigError, WeightsError
from condyle.io import open_dataset, read_labels
from condyle.prepare.splits import fold_of
from condyle.workflows.import_weights import import_weights
from condyle.workflows.segment import segment
from condyle.workflows.training.train import train

SMALL_GPU = """
import runpy, sys
from pathlib import Path
from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner as planner

whole = planner.ExperimentPlanner.__init__

def small(self, *args, **named):
    whole(self, *args, **{**named, "gpu_memory_target_in_gb": 0.004})

if __name__ == "__main__":
    planner.ExperimentPlanner.__init__ = small
    sys.path.insert(0, "CHILDREN")
    runpy.run_path("CHILDREN/run_nnunet.py", run_name="__main__")
"""
"""A child whose planner thinks that the GPU is tiny: so that small scans need the cascade."""


@pytest.fixture
def small_gpu(tmp_path, monkeypatch):
    folder = tmp_path / "children"
    folder.mkdir()
    (folder / "run_nnunet.py").write_text(SMALL_GPU.replace("CHILDREN", str(process.CHILDREN)))
    monkeypatch.setattr(process, "CHILDREN", folder)


def experiment(toy, what):
    return Experiment.parse(
        {"dataset": str(toy), "device": "cpu", "network": {"name": f"nnunet:{what}"},
         "training": {"epochs": 1, "steps": 6}}
    )  # fmt: skip


@pytest.mark.slow
def test_lowres_is_trained_and_runs_in_our_runtime(nnunet, small_gpu, toy, tmp_path):
    out = tmp_path / "run"
    train(TrainRequest.of(experiment(toy, "3d_lowres"), out))
    known = tomllib.loads((out / "config.toml").read_text())["engine"]
    assert known["configuration"] == "3d_lowres"
    assert min(known["spacing"]) > 1.0  # coarser than the scans
    (model,) = (out / "engine" / "results").glob("*/*")
    import_weights(ImportWeightsRequest(files=[model], out=tmp_path / "imported"))
    scan = condyle.read(toy / "imagesTr" / "toy_8_0000.nii.gz")
    found = condyle.load(tmp_path / "imported").segment(
        scan, "cpu", mirroring="all", runtime="torch"
    )
    kept = read_labels(out / "predictions" / "toy_8.nii.gz")
    assert (found.array == np.searchsorted([0, 3, 7], kept.array)).mean() >= 0.999


@pytest.mark.slow
def test_the_cascade_sees_what_lowres_networks_found_that_had_not_seen_the_case(
    nnunet, small_gpu, toy, tmp_path
):
    out = tmp_path / "run"
    train(TrainRequest.of(experiment(toy, "3d_cascade_fullres"), out))
    (home,) = (out / "engine" / "results").glob("*/*__3d_lowres")
    there = {path.name.split(".")[0] for path in home.glob("predicted_next_stage/*/*")}
    assert there == {f"toy_{n}" for n in range(7)}  # and none of the test cases
    assert sorted(path.name for path in home.glob("fold_*")) == [f"fold_{n}" for n in range(1, 6)]
    rows = list(csv.DictReader((out / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0"]
    assert float(rows[0]["loss"]) < 3  # and no NaN
    known = tomllib.loads((out / "config.toml").read_text())["engine"]
    assert known["configuration"] == "3d_cascade_fullres"
    assert known["3d_lowres"]["folds"] == 5
    assert min(known["3d_lowres"]["spacing"]) > min(known["spacing"])
    kept = {path.name for path in (out / "predictions").glob("*.nii.gz")}
    assert kept == {"toy_7.nii.gz", "toy_8.nii.gz"}
    done = segment(
        SegmentRequest(
            run=out, scans=[toy / "imagesTr" / "toy_8_0000.nii.gz"], out=tmp_path / "again",
            device="cpu",
        )
    )  # fmt: skip
    (file,) = done.written.values()
    same = read_labels(out / "predictions" / "toy_8.nii.gz")
    assert (read_labels(file).array == same.array).mean() >= 0.999
    (cascade,) = (out / "engine" / "results").glob("*/*__3d_cascade_fullres")
    with pytest.raises(WeightsError, match="a cascade after 3d_lowres, which cannot be imported"):
        import_weights(ImportWeightsRequest(files=[cascade], out=tmp_path / "imported"))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["3d_lowres", "3d_cascade_fullres"])
def test_scans_that_are_too_small_for_a_cascade_are_refused(nnunet, toy, tmp_path, what):
    with pytest.raises(ConfigError, match=f"nnU-Net plans no {what} for this data set"):
        train(TrainRequest.of(experiment(toy, what), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_each_case_is_in_one_of_the_folds_before_a_cascade_and_test_cases_in_none(toy):
    dataset = open_dataset(toy)
    own = fold_of(dataset, 0)
    folds = nnunet._lowres_folds(dataset, own)
    held = [case for fold in folds for case in fold.validation]
    assert sorted(held) == sorted((*own.train, *own.validation))
    assert len(folds) == 5
    assert all(not set(fold.train) & set(fold.validation) for fold in folds)


def test_a_budget_for_a_cascade_is_refused(toy, tmp_path):
    request = TrainRequest(
        dataset=toy, network="nnunet:3d_cascade_fullres", budget="10m", out=tmp_path / "run"
    )
    with pytest.raises(ConfigError, match=r"`training.budget` cannot be used.*several trainings"):
        train(request)
