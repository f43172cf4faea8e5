"""The run folder of another program's segmenter: made like ours, judged like ours."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condyle.config import Experiment
from condyle.core import Case, Dataset, Fold, LabelScheme
from condyle.engines import EngineName, nnunet
from condyle.engines.process import require, versions
from condyle.errors import ConfigError, OutputError
from condyle.io import open_dataset, write_text
from condyle.workflows.files import write_names
from condyle.workflows.judge import Learnt, judge
from condyle.workflows.plan import fold_of
from condyle.workflows.planned import segmenter_of
from condyle.workflows.progress import Tell, silent
from condyle.workflows.record import environment, logged, write_csv, write_json

__all__ = ["EngineRun", "train"]

log = logging.getLogger("condyle")

Row = dict[str, Any]
SHARE_FOR_THE_END = 0.04
"""Part of a budget kept for reading the answers, scoring and writing the report."""


@dataclass(frozen=True)
class EngineRun:
    """A finished run of an engine: its folder and its held-out scores."""

    folder: Path
    summary: list[Row]


@dataclass(frozen=True)
class Outcome:
    """What an engine gives back to be judged.

    Parameters
    ----------
    data : what the report says of where the answers come from.
    """

    predictions: dict[str, Path]
    failed: dict[str, str]
    seconds: float
    seconds_a_case: float | None
    history: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    parameters: int | None = None
    data: Row = field(default_factory=Row)


def train(experiment: Experiment, out: Path, *, tell: Tell = silent) -> EngineRun:
    """Let the engine that the experiment names learn a fold, and judge it on the held-out cases.

    Raises
    ------
    MissingExtra, WeightsError
        If the engine, or its weights, are not here; before anything is written.
    EngineFailed
        If it crashed, hung or was killed; then nothing is left behind.
    """
    started, out = time.time(), Path(out)
    name = EngineName.parse(experiment.network.name)
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty: choose another --out for {name}")
    settings = experiment.training
    if settings.epochs and settings.budget:
        raise ConfigError("give either --epochs or --budget, not both")
    require(name.package)
    dataset = open_dataset(Path(experiment.dataset))
    fold = fold_of(dataset, experiment)
    if not fold.test:
        log.warning("no case is held out: nothing will say how good this segmenter is")
    with _whole_or_absent(out), logged(out / "log.txt") as warnings:
        work = _Work(experiment, name, dataset, fold, out, started, tell)
        write_text(out / "config.toml", experiment.to_toml())
        found = environment() | {"engines": dict(versions(require(name.package)))}
        write_json(out / "environment.json", found)
        summary = work.judged(ENGINES[name.engine](work), warnings)
    return EngineRun(out, summary)


@contextlib.contextmanager
def _whole_or_absent(out: Path) -> Generator[None]:
    """A run folder that is removed if the run fails, if it was not there before."""
    fresh = not out.exists()
    try:
        yield
    except BaseException:
        if fresh:
            shutil.rmtree(out, ignore_errors=True)
        raise


@dataclass(frozen=True)
class _Work:
    experiment: Experiment
    name: EngineName
    dataset: Dataset
    fold: Fold
    out: Path
    started: float
    tell: Tell

    @property
    def held_out(self) -> tuple[Case, ...]:
        return self.dataset.select(self.fold.test)

    @property
    def deadline(self) -> float | None:
        """When an engine must be done, in seconds since 1970."""
        budget = self.experiment.training.budget
        return self.started + budget * (1 - SHARE_FOR_THE_END) if budget else None

    def judged(self, outcome: Outcome, warnings: list[str]) -> list[Row]:
        """Write what was learnt and how good it is; gives the summary's rows."""
        for case, reason in outcome.failed.items():
            log.warning("%s failed: %s", case, reason)
        write_csv(self.out / "history.csv", outcome.history)
        if outcome.predictions:
            write_names(self.out / "predictions", self.dataset.scheme)
        learnt = Learnt(
            data={
                "train": list(self.fold.train),
                "validation": list(self.fold.validation),
                "test": list(self.fold.test),
                **outcome.data,
            },
            history=outcome.history,
            parameters=outcome.parameters,
            seconds=outcome.seconds,
            seconds_a_case=outcome.seconds_a_case,
            warnings=warnings,
        )
        return judge(
            self.held_out, outcome.predictions, self.out, self.experiment, learnt, self.tell
        )


def by_nnunet(work: _Work) -> Outcome:
    """Plan, train and predict by nnU-Net; its model is kept in the run folder."""
    settings = work.experiment.training
    steps = settings.steps if isinstance(settings.steps, int) else None
    space = nnunet.Space.of(work.out / "engine", os.environ)
    done = nnunet.train(
        work.dataset,
        work.fold,
        work.name.what,
        space,
        work.out / "predictions",
        {
            "device": work.experiment.device,
            "seed": settings.seed,
            "epochs": settings.epochs,
            "steps": steps,
            "budget": settings.budget,
            "deadline": work.deadline,
        },
        work.tell,
    )
    if not done.mirror:
        log.warning("no mirror images were looked at: the budget left no time for them")
    segmenter_of(done.model, scheme=LabelScheme(work.dataset.scheme.labels)).save(
        work.out / "segmenter"
    )
    return Outcome(
        done.predictions, done.failed, done.seconds, done.seconds_a_case, done.history,
        done.parameters, {"weights": "random numbers", "model": str(done.model)},
    )  # fmt: skip


ENGINES = {"nnunet": by_nnunet}
