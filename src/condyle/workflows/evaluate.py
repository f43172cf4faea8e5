"""Predictions against the truth: tables, pictures, and one page that shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from condyle.config import Experiment
from condyle.config.requests import EvaluateRequest
from condyle.core import Case, LabelMap
from condyle.errors import CondyleError, DatasetError
from condyle.io import is_dataset, open_dataset, read_labels, scans_by_name
from condyle.io.labelmaps import read_named
from condyle.jobs.batch import Batch, Done, Task, run_batch
from condyle.jobs.job import Job, verb, warn
from condyle.jobs.outputs import write_bytes, write_csv, write_json, write_text, written_together
from condyle.jobs.records import MANIFEST, OutputFolder, Record, done, failures
from condyle.measure.evaluate import failed_case, score_case, summarise
from condyle.measure.slices import score_slices
from condyle.mesh import surfaces
from condyle.prepare.splits import held_out
from condyle.report import Picture, Report, figures, nnunet, tables, write_report
from condyle.runs.folder import RunFolder
from condyle.runs.record import environment
from condyle.workflows.training.probabilities import read_histograms

__all__ = ["BATCH", "Evaluated", "Scores", "TrainingSummary", "evaluate", "evaluate_run"]


Row = dict[str, Any]

TOLERANCE_MM = 2.0
"""Of the normalised surface Dice in a run's own report."""


@dataclass(frozen=True)
class TrainingSummary:
    """What a training knows of itself, for its report.

    Parameters
    ----------
    data : names and values: cases of each part of the fold, where the weights came from, ...
    history : a row an epoch, as in history.csv.
    parameters : how many trainable parameters the network has; None where that is not known.
    seconds : of fitting and choosing, over all the times that the training was gone on with.
    seconds_a_case : of segmenting a held-out scan, from file to file; None without any.
    """

    data: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    parameters: int | None
    seconds: float
    seconds_a_case: float | None


def evaluate_run(
    cases: Sequence[Case],
    predictions: Mapping[str, Path],
    run: RunFolder,
    experiment: Experiment,
    training: TrainingSummary,
    job: Job,
) -> list[Row]:
    """Score what a run predicted for test cases, into its folder; gives the summary's rows.

    The last file written is run.json, with what the run cost; a run that has it is finished.
    """
    found = [_score(case.id, case.labels, predictions.get(case.id), TOLERANCE_MM)
             for case in job.track("scoring", cases)]  # fmt: skip
    scores = Scores.of(found)
    with written_together():
        _write_scores(scores, run.path)
        write_bytes(run.curves, figures.curves(training.history))
    report = Report(
        title=f"{experiment.network.name} on {Path(experiment.dataset).name}",
        subtitle=f"{len(cases)} test cases, fold {experiment.fold}",
        settings=json.loads(experiment.model_dump_json()),
        data=training.data,
        rows=scores.rows,
        summary=scores.summary,
        history=training.history,
        pictures=_pictures(cases, scores.rows, predictions, job),
        histograms=read_histograms(run.path),
        environment=environment(),
        warnings=[warned.sentence for warned in job.warnings],
        files={file.name: file.name for file in run.linked},
    )
    write_report(report, run.report)
    cost = {key: value for key, value in vars(training).items() if key not in ("data", "history")}
    run.finish(cost | {"warnings": list(report.warnings)})
    return scores.summary


@dataclass(frozen=True)
class Scores:
    """Figures of predictions: a row a case and structure, a row a slice of these, a summary."""

    rows: list[Row]
    slices: list[Row]
    summary: list[Row]
    nnunet: dict[str, Any]
    """The same as nnU-Net writes it into its summary.json."""

    @classmethod
    def of(cls, cases: Sequence[Mapping[str, Any]]) -> Scores:
        """From what `_score` gives for each case: the worst case first."""
        rows = [row for case in cases for row in case["rows"]]
        order = {name: at for at, name in enumerate(_worst_first(rows))}
        rows.sort(key=lambda row: order[row["case"]])
        slices = [row for case in cases for row in case["slices"]]
        return cls(
            rows, slices, summarise(rows), nnunet.summary([case["nnunet"] for case in cases])
        )


def _score(
    name: str, truth_of: Callable[[], LabelMap], predicted: Path | None, tolerance_mm: float
) -> Row:
    """The rows of one case; without a prediction, or with a wrong one, it counts as failed."""
    truth = truth_of()
    try:
        if predicted is None:
            raise CondyleError("the prediction is missing")
        labels = read_labels(predicted, truth.scheme)
        found = score_case(truth, labels, tolerance_mm)
    except CondyleError as error:
        warn(f"case {name} counts as failed: {error}", about=name)
        labels, found = truth.emptied(), failed_case(truth)
    return {
        "rows": [{"case": name, **row} for row in found],
        "slices": [{"case": name, **row} for row in score_slices(truth, labels)],
        "nnunet": nnunet.case(name, predicted, truth.scheme, found),
    }


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Parameters
    ----------
    summary : a row a structure, and one of their mean.
    failed : the sentence of each case whose truth could not be read.
    """

    summary: list[Row]
    failed: dict[str, str]


@verb
def evaluate(request: EvaluateRequest, job: Job) -> Evaluated:
    """Score a folder of predictions against the truth.

    Into `out` go metrics.csv (a row a case and structure, the worst case first), slices.csv (a
    row a slice of these), summary.csv, summary.md, summary.tex, and summary.json as nnU-Net has it.

    A case that has no prediction counts as failed: its scores are the worst there are.

    Raises
    ------
    DatasetError
        If there is no truth, or no prediction has the name of a case.
    """
    return run_batch(BATCH, request, job)


def _tasks(request: EvaluateRequest, job: Job) -> list[Task]:
    truths = _truths(request.labels, request.fold)
    files = scans_by_name([request.predictions], labels=True)
    if len(truths) == len(files) == 1:
        files = dict(zip(truths, files.values(), strict=True))
    strangers = sorted(set(files) - set(truths))
    if not set(files) & set(truths):
        raise DatasetError(
            f"no prediction in {request.predictions} has the name of a case in {request.labels}: "
            f"predictions are called {_some(files)}, cases {_some(truths)}"
        )
    if strangers:
        warn(f"predictions without a case are ignored: {_some(strangers)}")
    tasks: list[Task] = []
    for name, (truth, read) in truths.items():
        inputs = tuple(path for path in (truth, files.get(name)) if path)
        tasks.append(Task(name, inputs, given=(read, files.get(name))))
    return tasks


def _compute(request: EvaluateRequest, task: Task, _: None, job: Job) -> Done:
    read, predicted = task.given
    return Done(data=_score(task.key, read, predicted, request.tolerance_mm))


def _gather(
    request: EvaluateRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> Evaluated:
    """Write the tables, all of them or none."""
    scored, failed = done(records), failures(records)
    if not scored:
        raise DatasetError(f"no case could be scored: {next(iter(failed.values()))}")
    scores = Scores.of([record.data for record in scored])
    with written_together(folder.path / MANIFEST):
        tables = _write_scores(scores, folder.path)
    folder.write_manifest((), tables)
    return Evaluated(scores.summary, failed)


BATCH = Batch(
    home="condyle.workflows.evaluate:BATCH", stage="scoring", request=EvaluateRequest,
    tasks=_tasks, compute=_compute, gather=_gather,
)  # fmt: skip


Truths = dict[str, tuple[Path | None, Callable[[], LabelMap]]]


def _truths(labels: Path, fold: int | None) -> Truths:
    """Case -> the file of its true label map, and what reads it."""
    if fold is not None or is_dataset(labels):
        dataset = open_dataset(labels)
        cases = dataset.labelled() if fold is None else held_out(dataset, fold)
        return {case.id: (case.label, case.labels) for case in cases}
    files = scans_by_name([labels], labels=True)
    if not files:
        raise DatasetError(f"no label maps found in {labels}")
    return {name: (path, partial(read_named, path)) for name, path in files.items()}


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")


def _write_scores(scores: Scores, out: Path) -> list[Path]:
    """Write metrics.csv, slices.csv and the summary in four forms into a folder."""
    run, table = RunFolder(out), tables.metrics_table(scores.summary)
    return [
        write_csv(run.metrics, scores.rows),
        write_csv(run.slice_metrics, scores.slices),
        write_csv(run.summary, scores.summary),
        write_text(run.summary.with_suffix(".md"), tables.markdown(table)),
        write_text(run.summary.with_suffix(".tex"), tables.latex(table)),
        write_json(run.summary_json, scores.nnunet),
    ]


def _pictures(
    cases: Sequence[Case], rows: list[Row], predictions: Mapping[str, Path], job: Job
) -> list[Picture]:
    """Overlays of the worst and the best cases, and how far surfaces of these lie apart."""
    scores = _worst_first(rows)
    order = [name for name in scores if name in predictions]
    chosen = list(dict.fromkeys([*order[:2], *order[-2:]]))
    by_id = {case.id: case for case in cases}
    pictures: list[Picture] = []
    for name in job.track("drawing", chosen):
        case = by_id[name]
        truth = case.labels()
        predicted = read_labels(predictions[name], truth.scheme)
        word = "best" if name == order[-1] else "worst" if name == order[0] else "case"
        pictures.append(
            Picture(
                f"{word}: {name}, mean Dice {scores[name]:.3f}; filled: predicted, outlined: true",
                figures.overlay(case.image(), truth, predicted),
            )
        )
        if word != "case" and predicted.present() and truth.present():
            drawn = figures.distances(surfaces(predicted), surfaces(truth))
            caption = f"{word}: {name}, its surfaces by their distance from the true ones"
            pictures.append(Picture(caption, drawn, "surfaces"))
    return pictures


def _worst_first(rows: list[Row]) -> dict[str, float]:
    """Case -> mean Dice over the structures that are there, 0 if none is; the worst first."""
    means = dict.fromkeys((str(row["case"]) for row in rows), 0.0) | tables.mean_dice(rows)
    return dict(sorted(means.items(), key=lambda item: item[1]))
