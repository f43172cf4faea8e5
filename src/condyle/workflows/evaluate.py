"""Predictions against the truth: tables, pictures, and one page that shows them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from condyle.config import Experiment
from condyle.core import Case, LabelMap
from condyle.errors import CondyleError, ConfigError, DatasetError
from condyle.io import find_scans, is_dataset, open_dataset, read_labels, scan_name
from condyle.io.labelmaps import read_named
from condyle.jobs.job import warn
from condyle.jobs.outputs import Manifest, write_bytes, write_text
from condyle.jobs.progress import Tell, silent, told
from condyle.measure.evaluate import failed_case, score_case, summarise
from condyle.measure.slices import score_slices
from condyle.mesh import surfaces
from condyle.report import Picture, Report, figures, nnunet, tables, write_report
from condyle.runs.record import environment, 
from condyle.prepare.splits import held_out
from condyle.workflows.training.probabilities import read_likelihood

__all__ = ["Learnt", "Scores", "evaluate", "judge", "scored", "write_scores"]


Row = dict[str, Any]

FILES = (
    "metrics.csv", "slices.csv", "summary.csv", "summary.json", "history.csv", "likelihood.csv",
    "config.toml", "environment.json", "log.txt",
)  # fmt: skip
"""What a run's page links to, of what is there."""


@dataclass(frozen=True)
class Learnt:
    """What a training knows of itself, for its report.

    Parameters
    ----------
    data : names and values: cases of each part of the fold, where the weights came from, ...
    history : a row an epoch, as in history.csv.
    parameters : how many numbers of the network are learnt; None where nobody can say.
    seconds : of fitting and choosing, over all the times that the training was gone on with.
    seconds_a_case : of segmenting a held-out scan, from file to file; None without any.
    warnings : everything the run warned of.
    """

    data: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    parameters: int | None
    seconds: float
    seconds_a_case: float | None
    warnings: Sequence[str]


def judge(
    cases: Sequence[Case],
    predictions: dict[str, Path],
    out: Path,
    experiment: Experiment,
    learnt: Learnt,
    tell: Tell,
) -> list[Row]:
    """Score what a run predicted for held-out cases, into its folder; gives the summary's rows.

    The last file written is run.json, with what the run cost; a run that has it is finished.
    """
    truths = {case.id: case.labels for case in cases}
    scores = scored(truths, predictions, tell)
    write_scores(scores, out)
    write_bytes(out / "curves.png", figures.curves(learnt.history))
    report = Report(
        title=f"{experiment.network.name} on {Path(experiment.dataset).name}",
        subtitle=f"{len(cases)} held-out cases, fold {experiment.fold}",
        settings=json.loads(experiment.model_dump_json()),
        data=learnt.data,
        rows=scores.rows,
        summary=scores.summary,
        history=learnt.history,
        pictures=_pictures(cases, scores.rows, predictions, tell),
        likelihood=read_likelihood(out),
        environment=environment(),
        warnings=list(learnt.warnings),
        files={name: name for name in FILES if (out / name).is_file()},
    )
    write_report(report, out / "report.html")
    cost = {key: value for key, value in vars(learnt).items() if key not in ("data", "history")}
    Manifest(out).add("run", write_json(out / "run.json", cost))
    return scores.summary


@dataclass(frozen=True)
class Scores:
    """Figures of predictions: a row a case and structure, a row a slice of these, a summary."""

    rows: list[Row]
    slices: list[Row]
    summary: list[Row]
    nnunet: dict[str, Any]
    """The same as nnU-Net writes it into its summary.json."""


def scored(
    truths: Mapping[str, Callable[[], LabelMap]],
    predictions: Mapping[str, Path],
    tell: Tell,
    tolerance_mm: float = 2.0,
) -> Scores:
    """The scores of all cases; a case without prediction counts as failed."""
    rows: list[Row] = []
    slices: list[Row] = []
    cases: list[Row] = []
    for name, truth_of in told(tell, "scoring", truths.items(), len(truths)):
        truth = truth_of()
        try:
            if name not in predictions:
                raise CondyleError("there is no prediction")
            predicted = read_labels(predictions[name], truth.scheme)
            found = score_case(truth, predicted, tolerance_mm)
        except CondyleError as error:
            warn(f"case {name} counts as failed: {error}")
            predicted, found = truth.emptied(), failed_case(truth)
        rows += [{"case": name, **row} for row in found]
        slices += [{"case": name, **row} for row in score_slices(truth, predicted)]
        cases.append(nnunet.case(name, predictions.get(name), truth.scheme, found))
    order = {name: at for at, name in enumerate(_worst_first(rows))}
    rows.sort(key=lambda row: order[row["case"]])
    return Scores(rows, slices, summarise(rows), nnunet.summary(cases))


def evaluate(
    predictions: Path, labels: Path, out: Path, *, fold: int | None = None,
    tolerance_mm: float = 2.0, tell: Tell = silent,
) -> list[Row]:  # fmt: skip
    """Score a folder of predictions against the truth; gives back the summary's rows.

    Parameters
    ----------
    predictions : a folder of label maps named as the cases, or one label map.
    labels : the truth: a folder of label maps, one label map, or a data set.
    out : for metrics.csv (a row a case and structure, the worst case first), slices.csv (a row a
        slice of these), summary.csv, summary.md, summary.tex, and summary.json as nnU-Net has it.
    fold : only the held-out cases of this fold of the data set `labels`.
    tolerance_mm : how far apart surfaces may lie to agree, for NSD.

    A case that has no prediction counts as failed: its scores are the worst there are.
    """
    truths = _truths(labels, fold)
    files = {scan_name(path): path for path in find_scans(predictions)}
    if len(truths) == len(files) == 1:
        files = dict(zip(truths, files.values(), strict=True))
    strangers = sorted(set(files) - set(truths))
    if not set(files) & set(truths):
        raise DatasetError(
            f"no prediction in {predictions} has the name of a case in {labels}: "
            f"predictions are called {_some(files)}, cases {_some(truths)}"
        )
    if strangers:
        warn(f"predictions of no case here are passed over: {_some(strangers)}")
    if tolerance_mm <= 0:
        raise ConfigError(f"a tolerance of {tolerance_mm:g} mm is none: give more than 0")
    scores = scored(truths, files, tell, tolerance_mm)
    write_scores(scores, Path(out))
    return scores.summary


def _truths(labels: Path, fold: int | None) -> dict[str, Callable[[], LabelMap]]:
    """Case -> what reads its true label map."""
    if fold is not None:
        cases = held_out(open_dataset(labels), fold)
        return {case.id: case.labels for case in cases}
    if is_dataset(labels):
        return {case.id: case.labels for case in open_dataset(labels).labelled()}
    files = {scan_name(path): path for path in find_scans(labels)}
    if not files:
        raise DatasetError(f"there is no label map in {labels}")
    return {name: partial(read_named, path) for name, path in files.items()}


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")


def write_scores(scores: Scores, out: Path) -> None:
    """Write metrics.csv, slices.csv and the summary in four forms into a folder."""
    write_csv(out / "metrics.csv", scores.rows)
    write_csv(out / "slices.csv", scores.slices)
    write_csv(out / "summary.csv", scores.summary)
    table = tables.metrics_table(scores.summary)
    write_text(out / "summary.md", tables.markdown(table))
    write_text(out / "summary.tex", tables.latex(table))
    write_json(out / "summary.json", scores.nnunet)


def _pictures(
    cases: Sequence[Case], rows: list[Row], predictions: dict[str, Path], tell: Tell
) -> list[Picture]:
    """Overlays of the worst and the best cases, and how far surfaces of these lie apart."""
    scores = _worst_first(rows)
    order = [name for name in scores if name in predictions]
    chosen = list(dict.fromkeys([*order[:2], *order[-2:]]))
    by_id = {case.id: case for case in cases}
    pictures: list[Picture] = []
    for name in told(tell, "drawing", chosen, len(chosen)):
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
