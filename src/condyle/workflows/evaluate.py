"""Predictions against the truth: tables, pictures, and one page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from condyle.config import Experiment
from condyle.config.requests import EvaluateRequest
from condyle.core import Case, Fold, LabelMap, LabelScheme
from condyle.core.lattice import together
from condyle.core.relabel import listed, matched, under_names_of
from condyle.errors import CondyleError, DatasetError, UnknownName
from condyle.io import read_labels
from condyle.jobs.batch import Batch, Done, Task, run_batch
from condyle.jobs.job import Job, verb, warn
from condyle.jobs.outputs import write_bytes, write_csv, write_json, write_text, written_together
from condyle.jobs.records import MANIFEST, OutputFolder, Record, done, failures
from condyle.measure.evaluate import failed_case, score_case, summarise
from condyle.measure.slices import score_slices
from condyle.mesh import surfaces
from condyle.prepare.splits import described
from condyle.report import Picture, Report, figures, nnunet, tables, write_report
from condyle.report.advice import advice, never_found
from condyle.runs.folder import RunFolder
from condyle.runs.record import environment
from condyle.workflows.judged_labels import Found, one_scheme, paired, predictions_at, truths_at

__all__ = ["BATCH", "Evaluated", "Scores", "TrainingSummary", "evaluate", "evaluate_run"]


Row = dict[str, Any]

TOLERANCE_MM = 2.0
"""Of the normalised surface Dice in a run's own report."""

NOTHING: Mapping[str, str] = MappingProxyType({})


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
    scheme : of the data set; its colours are those of the structures on the whole page.
    """

    data: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    parameters: int | None
    seconds: float
    seconds_a_case: float | None
    scheme: LabelScheme

    @property
    def cost(self) -> Row:
        """What run.json says of it."""
        return {key: getattr(self, key) for key in ("parameters", "seconds", "seconds_a_case")}

    @property
    def colours(self) -> dict[str, tuple[int, int, int]]:
        """Structure -> its colour."""
        return {label.name: label.colour for label in self.scheme.labels}


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
    from condyle.workflows.training.probabilities import read_histograms  # brings torch in

    found = [_score_own(case, predictions.get(case.id)) for case in job.track("scoring", cases)]
    scores = Scores.of(found)
    for structure, held in never_found(scores.rows).items():
        word = "holds" if held == 1 else "hold"
        job.warn(f"{structure} was found in no test case, and {held} of them {word} it")
    advised = advice(scores.rows, training.history, experiment.training.budget)
    curves = figures.curves(training.history, training.colours)
    with written_together():
        _write_scores(scores, run.path)
        write_bytes(run.curves, curves)
    report = Report(
        title=f"{experiment.network.name} on {Path(experiment.dataset).name}",
        subtitle=f"fold {experiment.fold} of {_split(training)}",
        settings=experiment.known(),
        data=training.data,
        colours=training.colours,
        rows=scores.rows,
        summary=scores.summary,
        history=training.history,
        curves=curves,
        pictures=_pictures(cases, scores.rows, predictions, job),
        histograms=read_histograms(run.path),
        environment=environment(),
        warnings=[warned.sentence for warned in job.warnings],
        advice=advised,
        files={file.name: file.name for file in run.linked},
    )
    write_report(report, run.report)
    run.finish(training.cost | {"warnings": list(report.warnings), "advice": advised})
    return scores.summary


def _split(training: TrainingSummary) -> str:
    """How many scans trained, chose and judged."""
    parts = (training.data.get(name, ()) for name in ("train", "validation", "test"))
    return described(Fold(*(tuple(part) for part in parts)))


@dataclass(frozen=True)
class Scores:
    """Figures of predictions: a row a case and structure, a row a slice of these, a summary."""

    rows: list[Row]
    slices: list[Row]
    summary: list[Row]
    nnunet: dict[str, Any]
    """The same as nnU-Net writes it into its summary.json."""
    failed: Mapping[str, str]
    """Case -> why it could not be compared."""

    @classmethod
    def of(cls, cases: Sequence[Mapping[str, Any]], failed: Mapping[str, str] = NOTHING) -> Scores:
        """From what `_score` gives for each case: the worst case first."""
        rows = [row for case in cases for row in case["rows"]]
        order = {name: at for at, name in enumerate(_worst_first(rows))}
        rows.sort(key=lambda row: order[row["case"]])
        slices = [row for case in cases for row in case["slices"]]
        summary = nnunet.summary([case["nnunet"] for case in cases])
        return cls(rows, slices, summarise(rows), summary, failed)

    @property
    def names(self) -> tuple[str, ...]:
        """The structures that have figures."""
        return tuple(dict.fromkeys(str(row["structure"]) for row in self.rows))

    def metrics(self) -> list[Row]:
        """The rows of metrics.csv: first the cases that could not be compared, and why."""
        notes = [{"case": case, "structure": "", "note": f"not compared: {why}"}
                 for case, why in self.failed.items()]  # fmt: skip
        columns = dict.fromkeys(self.rows[0] if self.rows else (), "")
        return [*(columns | note for note in notes), *self.rows]


def _score_own(case: Case, predicted: Path | None) -> Row:
    """The rows of a case that a run has predicted; it counts as failed where there is nothing."""
    truth = case.labels()
    labels: LabelMap | None = None
    try:
        if predicted is None:
            raise CondyleError("the prediction is missing")
        truth, labels = together(
            truth, read_labels(predicted, truth.scheme, scan=truth.grid), case.id
        )
    except CondyleError as error:
        warn(f"case {case.id} counts as failed: {error}", about=case.id)
    return _score(case.id, truth, labels, predicted, TOLERANCE_MM)


def _score(
    name: str, truth: LabelMap, labels: LabelMap | None, file: Path | None, tolerance_mm: float
) -> Row:
    """The rows of one case; without a prediction it counts as failed."""
    found = failed_case(truth) if labels is None else score_case(truth, labels, tolerance_mm)
    labels = truth.emptied() if labels is None else labels
    scheme = labels.scheme.extended(labels.present())
    planes = "axial" if truth.grid.is_picture else "all"
    return {
        "rows": [{"case": name, **row} for row in found],
        "slices": [{"case": name, **row} for row in score_slices(truth, labels, planes=planes)],
        "nnunet": nnunet.case(name, file, scheme, found),
    }


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Parameters
    ----------
    summary : a row a structure, and one of their mean.
    failed : the sentence of each case that could not be compared.
    missing : the cases that have no prediction, and count as failed.
    cases : how many are in the figures.
    """

    summary: list[Row]
    failed: dict[str, str]
    missing: tuple[str, ...] = ()
    cases: int = 0


@verb
def evaluate(request: EvaluateRequest, job: Job) -> Evaluated:
    """Score a folder of predictions against the truth.

    Structures are matched by their names, which are in the files, beside them in labels.json or
    dataset.json, or those of masks; by their numbers where neither side has names. What a
    prediction holds and the truth does not counts as invented, whatever its name or number.

    Into `out` go metrics.csv (a row a case and structure, the worst case first), slices.csv (a
    row a slice of these), summary.csv, summary.md, summary.tex, and summary.json as nnU-Net has it.

    A case that has no prediction counts as failed: its scores are the worst there are. A case
    that cannot be compared has no scores, and is named in the tables.

    Raises
    ------
    DatasetError
        If there is no truth, no prediction has the name of a case, or no case can be compared.
    """
    if not request.names:
        truths, predictions = _judged(request, job)
        request = request.changed(names=one_scheme(truths, predictions).to_dict())
    return run_batch(BATCH, request, job)


def _judged(request: EvaluateRequest, job: Job) -> tuple[Found, Found]:
    """Case -> truth, and case -> prediction; looked for once a job."""

    def found() -> tuple[Found, Found]:
        where = request.labels, request.predictions
        truths = truths_at(*where, request.fold, request.overlap)
        return truths, paired(
            truths, predictions_at(request.predictions, request.labels, request.overlap), where
        )

    return job.keep("judged", found)


def _tasks(request: EvaluateRequest, job: Job) -> list[Task]:
    truths, predictions = _judged(request, job)
    tasks: list[Task] = []
    for name, truth in truths.items():
        predicted = predictions.get(name)
        inputs = (*truth.files, *(predicted.files if predicted else ()))
        tasks.append(Task(name, inputs, given=(truth, predicted)))
    return tasks


def _compute(request: EvaluateRequest, task: Task, _: None, job: Job) -> Done:
    scheme = LabelScheme.of(request.names)
    source, predicted = task.given
    truth = under_names_of(source.read(None), scheme, f"the truth of {task.key}")
    labels = None
    if predicted is not None:
        labels = under_names_of(predicted.read(truth.grid), scheme, f"the prediction of {task.key}")
    file = predicted.files[0] if predicted else None
    found = _score(task.key, truth, labels, file, request.tolerance_mm)
    if request.structures:
        found = _only(found, request.structures, scheme if labels is None else labels.scheme)
    return Done(data=found | {"missing": predicted is None})


def _only(found: Row, structures: Sequence[str], scheme: LabelScheme) -> Row:
    """The figures of some structures alone."""
    asked = LabelScheme.of({name: n for n, name in enumerate(structures, 1)})
    kept = {known: scheme[known].id for known in matched(asked, scheme).values()}
    numbers = set(map(str, kept.values()))
    metrics = {key: row for key, row in found["nnunet"]["metrics"].items() if key in numbers}
    rows, slices = ([r for r in found[k] if r["structure"] in kept] for k in ("rows", "slices"))
    return {"rows": rows, "slices": slices, "nnunet": found["nnunet"] | {"metrics": metrics}}


def _gather(
    request: EvaluateRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> Evaluated:
    """Write the tables, all of them or none."""
    scored, failed = done(records), failures(records)
    if not scored:
        raise DatasetError(f"no case could be compared: {next(iter(failed.values()))}")
    scores = Scores.of([record.data for record in scored], failed)
    there = LabelScheme.of({name: n for n, name in enumerate(scores.names, 1)} or request.names)
    for name in request.structures:
        if name not in matched(LabelScheme.of({name: 1}), there) or not scores.rows:
            raise UnknownName("structure", name, request.names)
    missing = tuple(record.key for record in scored if record.data["missing"])
    if missing:
        has = "it has" if len(missing) == 1 else "they have"
        counts = "counts" if len(missing) == 1 else "count"
        warn(f"case {listed(missing)} {counts} as failed: {has} no prediction")
    _warn_of_strangers(request, scores.rows)
    with written_together(folder.path / MANIFEST):
        tables = _write_scores(scores, folder.path)
    folder.write_manifest((), tables)
    return Evaluated(scores.summary, failed, missing, len(scored))


def _warn_of_strangers(request: EvaluateRequest, rows: Sequence[Row]) -> None:
    """Say which structures were predicted that the truth has no name, or number, for."""
    cases: dict[str, int] = {}
    for row in rows:
        if row["structure"] not in request.names:
            cases[row["structure"]] = cases.get(row["structure"], 0) + 1
    if cases:
        found = [f"{name} ({count} case{'s' * (count != 1)})" for name, count in cases.items()]
        warn(
            f"the truth knows no {listed(found)}: all of it counts as invented; name in "
            "`structures` those that are to be scored, if others are none of the truth's business"
        )


BATCH = Batch(
    home="condyle.workflows.evaluate:BATCH", stage="scoring", request=EvaluateRequest,
    tasks=_tasks, compute=_compute, gather=_gather,
    tables=lambda request: _tables(request.out),
)  # fmt: skip


def _tables(out: Path) -> list[Path]:
    """The files that `_write_scores` writes."""
    run = RunFolder(out)
    summaries = [run.summary.with_suffix(ending) for ending in (".csv", ".md", ".tex")]
    return [run.metrics, run.slice_metrics, *summaries, run.summary_json]


def _write_scores(scores: Scores, out: Path) -> list[Path]:
    """Write metrics.csv, slices.csv and the summary in four forms into a folder."""
    run, table = RunFolder(out), tables.metrics_table(scores.summary)
    lost = "".join(f"\nNot compared: {case}: {why}\n" for case, why in scores.failed.items())
    return [
        write_csv(run.metrics, scores.metrics()),
        write_csv(run.slice_metrics, scores.slices),
        write_csv(run.summary, scores.summary),
        write_text(run.summary.with_suffix(".md"), tables.markdown(table) + lost),
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
        predicted = read_labels(predictions[name], truth.scheme, scan=truth.grid)
        word = "best" if name == order[-1] else "worst" if name == order[0] else "case"
        pictures.append(
            Picture(
                f"{word}: {name}, mean Dice {scores[name]:.3f}; filled: predicted, outlined: true",
                figures.overlay(case.channels(), truth, predicted),
            )
        )
        if word != "case" and not truth.grid.is_picture and predicted.present() and truth.present():
            drawn = figures.distances(surfaces(predicted), surfaces(truth))
            caption = f"{word}: {name}, its surfaces by their distance from the true ones"
            pictures.append(Picture(caption, drawn, "surfaces"))
    return pictures


def _worst_first(rows: list[Row]) -> dict[str, float]:
    """Case -> mean Dice over the structures that are there, 0 if none is; the worst first."""
    means = dict.fromkeys((str(row["case"]) for row in rows), 0.0) | tables.mean_dice(rows)
    return dict(sorted(means.items(), key=lambda item: item[1]))
