"""Whose answers a fine-tuning keeps: those that are better on validation cases."""

from pathlib import Path

import numpy as np
import pytest

from condyle.config import Experiment
from condyle.engines.names import EngineName
from condyle.engines.nnunet import Trained
from condyle.engines.totalsegmentator import Part, Task
from condyle.io import open_dataset, read_labels, write
from condyle.jobs.job import Job
from condyle.prepare.splits import fold_of
from condyle.runs.folder import RunFolder
from condyle.workflows.training import train_engine as engines

CLASSES = {1: "ball", 2: "box"}


def answers(dataset, cases, folder, right):
    """Label maps of cases: the truth, or the truth with its second half left out."""
    found = {}
    for case in dataset.select(cases):
        truth = case.labels()
        array = truth.array.copy()
        if not right:
            array[array.shape[0] // 2 :] = 0
        found[case.id] = write(truth.with_array(array), folder / f"{case.id}.nii.gz")
    return found


@pytest.mark.parametrize("better", [True, False])
def test_fine_tuning_counts_where_it_is_better_on_validation_cases(
    toy, tmp_path, monkeypatch, better
):
    name, out = "totalsegmentator:finetune:trunk_cavities", tmp_path / "run"
    experiment = Experiment.parse({"dataset": str(toy), "network": {"name": name}})
    dataset = open_dataset(toy)
    fold = fold_of(dataset, 0)
    part = Part(tmp_path, "", True, "nnUNetTrainer", "3d_fullres", {})
    task = Task("trunk_cavities", CLASSES, (part,), ())

    def zero_shot(task, cases, folder, device, joined, scheme, out, tell):
        return answers(dataset, tuple(cases), out, not better), {}, 1.0

    def learnt(work, start, deadline):
        (out / "segmenter").mkdir()
        found = answers(dataset, (*fold.test, *fold.validation), out / "predictions", better)
        tensors = [{"tensor": "x", "shape": "1", "outcome": "kept"}]
        facts = {"training.rate": 3e-4}, {"mirrored_axes": []}
        return Trained(Path("model"), [], found, {}, 1, 1.0, 1.0, tensors, True, *facts)

    monkeypatch.setattr(engines.totalsegmentator, "predict", zero_shot)
    monkeypatch.setattr(engines.totalsegmentator, "model_of", lambda part: part.folder)
    monkeypatch.setattr(engines._Work, "trained", learnt)
    work = engines._Work(
        experiment, EngineName.parse(name), dataset, fold, RunFolder(out), 0.0, Job(), task
    )
    outcome = engines.by_totalsegmentator(work)
    assert outcome.data["predictions"] == ("fine-tuned" if better else "zero-shot")
    assert (out / "segmenter").exists() == better
    assert (out / "engine.json").is_file() != better
    assert sorted(outcome.predictions) == sorted(fold.test)
    for case in dataset.select(fold.test):  # in both cases it is the better one that stays
        found = read_labels(outcome.predictions[case.id])
        np.testing.assert_array_equal(found.array, case.labels().array)
    before, after = (outcome.data[f"validation Dice {x} fine-tuning"] for x in ("before", "after"))
    assert max(before, after) == 1.0
    assert (after > before) == better
    assert not (out / "zero-shot").exists()
