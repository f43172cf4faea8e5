"""Several networks trained on the same folds, scored on the same patients and compared."""

from __future__ import annotations

import gc
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from condyle.config import Comparison, Experiment, flattened
from condyle.config.requests import CompareRequest, TrainRequest
from condyle.core import Case, Dataset
from condyle.engines import EngineName, is_engine
from condyle.errors import ConfigError, OutputError
from condyle.io import open_dataset
from condyle.jobs.batch import Batch, Done, Task, run_batch
from condyle.jobs.job import Job, Progress, verb, warn
from condyle.jobs.outputs import write_text
from condyle.jobs.records import OutputFolder, Record
from condyle.measure.evaluate import failed_case
from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.measure.slices import score_slices
from condyle.networks import NetworkName
from condyle.prepare.splits import fold_of
from condyle.report.comparison_page import write_comparison
from condyle.report.comparison_tables import Model, Place
from condyle.runs.folder import RunFolder
from condyle.runs.record import environment, read_csv
from condyle.workflows.training.probabilities import read_histograms
from condyle.workflows.training.support import require_supported, without_unused
from condyle.workflows.training.train import train

__all__ = ["BATCH", "Compared", "Trial", "compare", "trials"]


Row = dict[str, Any]

ABSENT = ("MissingExtra", "WeightsError")
"""The errors that say that a model is not available here, which is not the model's failure."""


@dataclass(frozen=True)
class Trial:
    """One training of a comparison: a model on a fold with a seed, and its run folder."""

    model: str
    experiment: Experiment
    folder: Path
    held_out: tuple[Case, ...]

    @property
    def name(self) -> str:
        """Of its own in the comparison; two models of the same settings are one training."""
        return f"{self.model} {self.folder.name}"


def trials(asked: Comparison, dataset: Dataset, out: Path) -> list[Trial]:
    """All trainings of a comparison, all models on the first fold first.

    A run folder's name ends with the hash of all its settings and of its fold's cases: the same
    training is never made twice, and no other is taken for it.
    """
    found: list[Trial] = []
    for seed in asked.seeds:
        for number in asked.folds:
            for model in asked.models:
                experiment = asked.experiment(model, number, seed)
                _require_known(experiment.network.name)
                own = flattened(asked.models[model])  # what is set for all need not suit each
                experiment = without_unused(experiment, own)
                require_supported(experiment)
                fold = fold_of(dataset, number, experiment.training.seed)
                settings = experiment.model_dump(
                    mode="json", exclude={"device", "dataset", "log", "engine"},
                    exclude_unset=is_engine(experiment.network.name),
                )  # fmt: skip
                text = json.dumps([settings, fold.train, fold.validation, fold.test])
                name = re.sub(r"[^\w.-]+", "-", experiment.network.name)
                digest = hashlib.sha256(text.encode()).hexdigest()[:10]
                folder = out / "runs" / f"{name}_fold{number}_seed{seed}_{digest}"
                found.append(Trial(model, experiment, folder, dataset.select(fold.test)))
    return found


@dataclass(frozen=True)
class Compared:
    """The main table of a comparison, a row a model; and why it has no intervals and tests."""

    rows: list[Row]
    too_few: str = ""


@verb
def compare(request: CompareRequest, job: Job) -> Compared:
    """Train and score all models, and write their tables and report.html.

    A model whose packages or weights are not here is named as that and left out of statistics; one
    whose training fails has the worst figures for all patients of its fold.

    Raises
    ------
    ConfigError, DatasetError, SplitError
        If the settings of any model, the data set or a fold are wrong, before anything is trained.
    """
    out, comparison = request.out, Comparison.read(request.experiment)
    before = out / "comparison.json"
    if out.exists() and any(out.iterdir()) and not before.exists():
        raise OutputError(f"{out} holds other files: choose another `out`")
    _planned(request, job)
    write_text(before, comparison.model_dump_json(indent=2) + "\n")
    with job.logged(RunFolder(out).log):
        return run_batch(BATCH, request, job)


def _planned(request: CompareRequest, job: Job) -> dict[str, Trial]:
    """Name -> training, of all of the comparison."""

    def planned() -> dict[str, Trial]:
        comparison = Comparison.read(request.experiment)
        found = trials(comparison, open_dataset(Path(comparison.dataset)), request.out)
        _require_patients(found)
        return {trial.name: trial for trial in found}

    return job.keep("trials", planned)


def _tasks(request: CompareRequest, job: Job) -> list[Task]:
    return [Task(name, given=trial) for name, trial in _planned(request, job).items()]


def _compute(request: CompareRequest, task: Task, _: None, job: Job) -> Done:
    """Train and score, going on with what was begun; nothing where that is finished."""
    trial: Trial = task.given
    run = RunFolder(trial.folder)
    if not run.is_finished:
        if run.path.exists() and not run.is_begun:
            shutil.rmtree(run.path)  # ours by its name, and nothing in it can be gone on with
        where = f"{trial.model}, fold {trial.experiment.fold}"

        def on_progress(progress: Progress) -> None:
            job.say(replace(progress, stage=f"{where}: {progress.stage}"))

        inner = replace(job.for_case(""), on_progress=on_progress)
        train(TrainRequest.of(trial.experiment, run.path, resume=True), inner)
        gc.collect()  # a network and its optimizer hold each other
    return Done((run.cost,))


def _gather(
    request: CompareRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> Compared:
    comparison = Comparison.read(request.experiment)
    planned = _planned(request, job)
    absent: dict[str, str] = {}
    failed: dict[Path, str] = {}
    warnings: list[str] = []
    for record in records:
        trial = planned[record.key]
        warnings += record.warnings
        if record.error in ABSENT:
            absent[trial.model] = record.reason
            warnings.append(f"{trial.model} is not available here: {record.reason}")
        elif record.state == "failed":
            failed[trial.folder] = record.reason
            warnings.append(
                f"{trial.model} failed on fold {trial.experiment.fold} and is scored with the "
                f"worst values for its patients: {record.reason}"
            )
    models = [
        Model(name, absent=absent[name])
        if name in absent
        else _scored(name, [x for x in planned.values() if x.model == name], failed)
        for name in comparison.models
    ]
    for sentence in dict.fromkeys(warnings):
        warn(sentence)
    found = write_comparison(
        models,
        Place(
            title=f"{len(models)} models on {open_dataset(Path(comparison.dataset)).name}",
            settings=json.loads(comparison.model_dump_json()),
            ends=comparison.ends,
            environment=environment(),
            warnings=list(dict.fromkeys(warnings)),
            cases={case.id: case for trial in planned.values() for case in trial.held_out},
        ),
        folder.path,
    )
    return Compared(found.views["3d"], found.too_few)


BATCH = Batch(
    home="condyle.workflows.compare:BATCH", stage="training all", request=CompareRequest,
    tasks=_tasks, compute=_compute, gather=_gather,
)  # fmt: skip


def _require_patients(planned: list[Trial]) -> None:
    """Refuse folds that have no test cases, or a patient twice."""
    tested: dict[tuple[str, int], list[str]] = {}
    for trial in planned:
        if not trial.held_out:
            raise ConfigError(f"fold {trial.experiment.fold} has no test cases to compare on")
        key = trial.model, trial.experiment.training.seed
        tested.setdefault(key, []).extend(case.id for case in trial.held_out)
    twice = sorted({name for names in tested.values() for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"case {twice[0]} is a test case in more than one of the folds, and each patient may "
            "count only once: give folds with different test cases"
        )


def _require_known(name: str) -> None:
    """Refuse a network's name that means nothing."""
    if is_engine(name):
        EngineName.parse(name)
    elif name != "auto":
        NetworkName.parse(name)


def _scored(name: str, trials: list[Trial], failed: Mapping[Path, str]) -> Model:
    """A model with the figures of all its trainings."""
    model, histogram = Model(name), ProbabilityHistogram.none()
    for trial in trials:
        folder = RunFolder(trial.folder)
        patients = {case.id: case.patient for case in trial.held_out}
        key: Row = {"fold": trial.experiment.fold, "seed": trial.experiment.training.seed}
        run: Row = {**key, "folder": str(trial.folder), "failed": failed.get(trial.folder, "")}
        if run["failed"]:
            rows, slices = _worst(trial.held_out)
        else:
            run |= json.loads(folder.cost.read_text(encoding="utf-8"))
            rows, slices = (read_csv(one) for one in (folder.metrics, folder.slice_metrics))
            if folder.history.is_file():
                model.histories.append(read_csv(folder.history))
            for count in read_histograms(trial.folder).values():
                histogram += count
            found = folder.predictions
            model.predictions.update(
                {case: p for case in patients if (p := found / f"{case}.nii.gz").is_file()}
            )
        model.runs.append(run)
        for known, new in ((model.rows, rows), (model.slices, slices)):
            known.extend({**key, "patient": patients[row["case"]], **row} for row in new)
    return replace(model, histogram=histogram)


def _worst(cases: tuple[Case, ...]) -> tuple[list[Row], list[Row]]:
    """The figures of cases for which nothing was predicted, also slice by slice."""
    rows: list[Row] = []
    slices: list[Row] = []
    for case in cases:
        truth = case.labels()
        rows += [{"case": case.id, **row} for row in failed_case(truth)]
        slices += [{"case": case.id, **row} for row in score_slices(truth, truth.emptied())]
    return rows, slices
