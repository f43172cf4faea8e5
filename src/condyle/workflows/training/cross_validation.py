"""One training a fold: together they score every labelled case, and segment as an ensemble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from condyle.config import Experiment
from condyle.config.requests import TrainRequest
from condyle.engines import is_engine
from condyle.errors import ConfigError
from condyle.io import open_dataset
from condyle.jobs.job import Job, Progress
from condyle.jobs.outputs import write_csv, write_text
from condyle.measure.evaluate import summarise
from condyle.prepare.splits import count_of_folds
from condyle.report import tables
from condyle.runs.dataset import folders_of
from condyle.runs.folder import RunFolder
from condyle.runs.folds import Folds
from condyle.runs.record import read_csv
from condyle.workflows.training.support import kind_of, require_supported

__all__ = ["CrossValidated", "is_asked", "train_folds"]

Row = dict[str, Any]

MAY_CHANGE = {"out", "resume", "folds", "dataset", "device"}
"""Settings that may be given when a training goes on."""


@dataclass(frozen=True)
class CrossValidated:
    """A finished training on all folds: its folder, and the scores of all cases.

    Parameters
    ----------
    summary : a row a structure, over the cases of all folds, each scored by a network that has
        not seen it.
    """

    folder: Path
    summary: list[Row]


def is_asked(request: TrainRequest) -> bool:
    """Whether all folds are to be trained, or gone on with."""
    return request.folds is not None or (request.resume and Folds.of(request.out) is not None)


def train_folds(
    request: TrainRequest, job: Job, train: Callable[[TrainRequest, Job], Any]
) -> CrossValidated:
    """Train each fold into its own run folder, fold_0 and so on, and score all cases together.

    A budget is for all of them; folds that are finished are not trained again.

    Parameters
    ----------
    train : trains one fold.

    Raises
    ------
    ConfigError
        If the data set has another number of folds, or `fold` is given, too.
    """
    folds = _begun(request) or _new(request)
    runs = [RunFolder(request.out / name) for name in folds.runs]
    experiment = Experiment.parse(folds.settings)
    given = request.asked().get("dataset")
    dataset = given or next((str(x) for run in runs for x in folders_of(run)), experiment.dataset)
    for number, run in enumerate(runs):
        if run.is_finished:
            continue
        one = experiment.changed(
            dataset=str(dataset), fold=number, device=request.device or experiment.device
        )
        more = {"plane": folds.plane} if folds.plane else {}
        train(TrainRequest.of(one, run.path, resume=True, **more), _named(job, f"fold {number}"))
    own = [run for run in runs if run.segmenter.is_dir()]
    if is_engine(experiment.network.name) and len(own) < len(runs):
        others = ", ".join(run.path.name for run in runs if run not in own)
        what = f"averages the other {len(own)}" if own else f"takes one of them, {runs[0].path}"
        job.warn(
            f"another program predicts in {others}, whose predictions are not averaged: `segment` "
            f"{what}"
        )
    return CrossValidated(request.out, _scored(request.out, runs))


def _begun(request: TrainRequest) -> Folds | None:
    """What is gone on with, if that is asked for."""
    folds = Folds.of(request.out) if request.resume else None
    if folds is None:
        return None
    if request.folds not in (None, "all", len(folds.runs)):
        raise ConfigError(f"{request.out} was begun with {len(folds.runs)} folds", setting="folds")
    if other := sorted(request.given().keys() - MAY_CHANGE):
        names = ", ".join(f"`{name}`" for name in other)
        raise ConfigError(
            f"{request.out} goes on with the settings that it was begun with: leave out {names}, "
            "or choose another `out`"
        )
    return folds


def _new(request: TrainRequest) -> Folds:
    """The folds of a training that begins, written into its folder."""
    experiment = request.experiment()
    require_supported(experiment, request.plane, request.named())
    if "fold" in request.asked():
        raise ConfigError("give either `fold` or `folds`, not both", setting="folds")
    if kind_of(experiment.network.name) == "totalsegmentator":
        raise ConfigError(
            "`folds` cannot be used by TotalSegmentator as it is, which is not trained: choose one "
            "`fold`, or totalsegmentator:finetune", setting="folds",
        )  # fmt: skip
    there = count_of_folds(dataset := open_dataset(Path(experiment.dataset)))
    count = there if request.folds == "all" else request.folds or 0
    if there != count:
        raise ConfigError(
            f"{dataset.root} has {there} folds, not {count}: give `folds` = {there}, or other "
            "folds in its splits_final.json", setting="folds",
        )  # fmt: skip
    RunFolder(request.out).require_room()
    if budget := experiment.training.budget:
        training = experiment.training.changed(budget=budget / count)
        experiment = experiment.changed(training=training)
    folds = Folds(
        runs=tuple(f"fold_{n}" for n in range(count)),
        settings=experiment.given(),
        plane=request.plane,
    )
    folds.save(request.out)
    return folds


def _named(job: Job, name: str) -> Job:
    """A job for one fold, whose name is before all that it says of its progress."""

    def on_progress(progress: Progress) -> None:
        job.say(replace(progress, stage=f"{name}: {progress.stage}",
                        place=f"{name}, {progress.place}" if progress.place else ""))  # fmt: skip

    def on_news(sentence: str) -> None:
        job.inform(f"{name}: {sentence}")

    return replace(job.for_case(""), on_progress=on_progress, on_news=on_news)


def _scored(out: Path, runs: list[RunFolder]) -> list[Row]:
    """The tables of all cases: metrics.csv, slices.csv and the summary; gives the summary."""
    whole = RunFolder(out)
    for name in ("metrics", "slice_metrics"):
        rows: list[Row] = [
            {"fold": number, **row}
            for number, run in enumerate(runs)
            for row in read_csv(getattr(run, name))
        ]
        write_csv(getattr(whole, name), rows)
    summary = summarise(read_csv(whole.metrics))
    table = tables.metrics_table(summary)
    write_csv(whole.summary, summary)
    write_text(whole.summary.with_suffix(".md"), tables.markdown(table))
    write_text(whole.summary.with_suffix(".tex"), tables.latex(table))
    return summary
