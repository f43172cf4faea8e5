"""Several networks trained on the same folds, scored on the same patients and compared."""

from __future__ import annotations

import gc
import hashlib
import json
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from condyle.config import Comparison, Experiment, flattened
from condyle.config.requests import CompareRequest, TrainRequest
from condyle.core import Case, Dataset
from condyle.engines import EngineName, is_engine
from condyle.errors import ConfigError, OutputError, TrainingFailed, UnknownName, WeightsError
from condyle.io import open_dataset
from condyle.jobs.batch import WAIT_SECONDS, Batch, Done, Task, run_batch
from condyle.jobs.job import Job, Progress, verb, warn
from condyle.jobs.outputs import write_text
from condyle.jobs.records import OutputFolder, Record
from condyle.measure.evaluate import failed_case
from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.measure.slices import score_slices
from condyle.networks import NetworkName
from condyle.prepare.slices import AXIS
from condyle.prepare.splits import fold_of
from condyle.report.comparison_page import write_comparison
from condyle.report.comparison_tables import Model, Place, Slice
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
    parent: Trial | None = None
    """The training from whose run it starts."""

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
    order = asked.in_order()
    for seed in asked.seeds:
        for number in asked.folds:
            made: dict[str, Trial] = {}
            for model in order:
                parent = made.get(asked.parent(model))
                made[model] = _trial(asked, model, parent, (number, seed), dataset, out)
            found += made.values()
    return found


def _trial(
    asked: Comparison, model: str, parent: Trial | None, place: tuple[int, int], dataset: Dataset,
    out: Path,
) -> Trial:  # fmt: skip
    """A model's training on a fold with a seed, from the run of its parent, if it has one."""
    number, seed = place
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
    if parent is not None:
        if is_engine(experiment.network.name) or is_engine(parent.experiment.network.name):
            raise ConfigError(
                f"model {model!r} cannot start from {parent.model!r}: engines (nnunet, "
                "totalsegmentator) start from no run, and no run starts from theirs",
                setting="network.weights",
            )
        settings["network"]["weights"] = parent.folder.name  # wherever `out` lies
        weights = experiment.network.changed(weights=str(parent.folder))
        experiment = experiment.changed(network=weights)
    text = json.dumps([settings, fold.train, fold.validation, fold.test])
    name = re.sub(r"[^\w.-]+", "-", experiment.network.name)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    folder = out / "runs" / f"{name}_fold{number}_seed{seed}_{digest}"
    return Trial(model, experiment, folder, dataset.select(fold.test), parent)


@dataclass(frozen=True)
class Compared:
    """The main table of a comparison.

    Parameters
    ----------
    rows : a row a model, the best first.
    too_few : why it has no intervals and tests; '' if it has.
    failed : training that failed -> why; its patients have the worst figures.
    """

    rows: list[Row]
    too_few: str = ""
    failed: Mapping[str, str] = field(default_factory=dict[str, str])


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
    out, comparison = request.out, request.comparison()
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
        comparison = request.comparison()
        found = trials(comparison, open_dataset(Path(comparison.dataset)), request.out)
        _require_patients(found)
        _shown(request, found)
        return {trial.name: trial for trial in found}

    return job.keep("trials", planned)


def _tasks(request: CompareRequest, job: Job) -> list[Task]:
    return [Task(name, given=trial) for name, trial in _planned(request, job).items()]


def _compute(request: CompareRequest, task: Task, _: None, job: Job) -> Done:
    """Train and score, going on with what was begun; nothing where that is finished."""
    trial: Trial = task.given
    run = RunFolder(trial.folder)
    if trial.parent is not None:
        _await(trial, trial.parent, BATCH.folder(request), job)
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


def _await(trial: Trial, parent: Trial, folder: OutputFolder, job: Job) -> None:
    """Wait until the run that a training starts from is finished, in whatever process.

    Raises
    ------
    WeightsError, TrainingFailed
        If that model is not available here; if its training failed.
    """
    while not RunFolder(parent.folder).is_finished:
        job.check()
        record = folder.record(parent.name)
        if record is not None and record.state == "failed":
            kind, what = (
                (WeightsError, "is not available here")
                if record.error in ABSENT
                else (TrainingFailed, "failed")
            )
            raise kind(f"{trial.model} starts from {parent.model}, which {what}: {record.reason}")
        time.sleep(WAIT_SECONDS)


def _gather(
    request: CompareRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> Compared:
    comparison = request.comparison()
    planned = _planned(request, job)
    absent: dict[str, str] = {}
    failed: dict[Path, str] = {}
    named: dict[str, str] = {}
    warnings: list[str] = []
    for record in records:
        trial = planned[record.key]
        warnings += record.warnings
        if record.error in ABSENT:
            absent[trial.model] = record.reason
            warnings.append(f"{trial.model} is not available here: {record.reason}")
        elif record.state == "failed":
            failed[trial.folder] = record.reason
            named[f"{trial.model}, fold {trial.experiment.fold}"] = record.reason
            warnings.append(
                f"{trial.model} failed on fold {trial.experiment.fold} and is scored with the "
                f"worst values for its patients: {record.reason}"
            )
    models: list[Model] = []
    for name in comparison.models:
        mine = [trial for trial in planned.values() if trial.model == name]
        of_ends = mine[0].experiment.training.hard_slices is not None
        found = Model(name, absent[name]) if name in absent else _scored(name, mine, failed)
        models.append(replace(found, of_ends=of_ends))
    for sentence in dict.fromkeys(warnings):
        warn(sentence)
    compared = write_comparison(
        models,
        Place(
            title=f"{len(models)} models on {open_dataset(Path(comparison.dataset)).name}",
            settings=json.loads(comparison.model_dump_json()),
            ends=comparison.ends,
            environment=environment(),
            warnings=list(dict.fromkeys(warnings)),
            cases={case.id: case for trial in planned.values() for case in trial.held_out},
            planes=comparison.planes,
            shown=_shown(request, planned.values()),
        ),
        folder.path,
    )
    return Compared(compared.views["3d"], compared.too_few, named)


BATCH = Batch(
    home="condyle.workflows.compare:BATCH", stage="training all", request=CompareRequest,
    tasks=_tasks, compute=_compute, gather=_gather,
)  # fmt: skip


def _shown(request: CompareRequest, planned: Iterable[Trial]) -> list[Slice]:
    """The slices that are to be drawn as all models predicted them.

    Raises
    ------
    ConfigError
        If one is not written as CASE:PLANE:INDEX, or there is no such test case or slice.
    """
    cases = {case.id: case for trial in planned for case in trial.held_out}
    found: list[Slice] = []
    for text in request.show:
        case, plane, index = [*text.rsplit(":", 2), "", ""][:3]
        if plane not in AXIS or not index.isdigit():
            raise ConfigError(
                f"`show` = {text!r} is no slice: write CASE:PLANE:INDEX, such as "
                f"{next(iter(cases))}:axial:40; the plane is {', '.join(AXIS)}", setting="show",
            )  # fmt: skip
        if case not in cases:
            raise UnknownName("test case", case, cases)
        count = cases[case].labels().reoriented("RAS").grid.shape[AXIS[plane]]
        if int(index) >= count:
            raise ConfigError(
                f"`show` = {text!r}: {case} has {plane} slices 0 to {count - 1}", setting="show"
            )
        found.append(Slice(case, plane, int(index)))
    return found


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
        slices += [
            {"case": case.id, **row} for row in score_slices(truth, truth.emptied(), planes="all")
        ]
    return rows, slices
