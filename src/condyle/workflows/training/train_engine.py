"""The run folder of another program's segmenter: made and scored like ours."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from condyle.config import Experiment, flattened
from condyle.core import Case, Dataset, Fold, LabelScheme
from condyle.core.lattice import together
from condyle.engines import EngineName, nnunet, totalsegmentator
from condyle.engines.nnunet import Start, Trained
from condyle.engines.process import require, versions
from condyle.engines.totalsegmentator import Task
from condyle.errors import ConfigError
from condyle.io import open_dataset, read_labels, write
from condyle.io.labelmaps import write_names
from condyle.io.pictures import is_picture
from condyle.jobs.job import Job, warn
from condyle.jobs.outputs import write_csv, write_json, write_text
from condyle.measure.overlap import count
from condyle.predict.nnunet_import import segmenter_of
from condyle.prepare.splits import described, fold_of
from condyle.runs.folder import RunFolder
from condyle.runs.record import environment, read_csv
from condyle.runs.tracking import require_trackers, tracked
from condyle.workflows.evaluate import TrainingSummary, evaluate_run
from condyle.workflows.segment_engine import Card, CascadeCard
from condyle.workflows.training.run_figures import write_cases, write_slices
from condyle.workflows.training.support import TRAINER

__all__ = ["EngineRun", "train"]


Row = dict[str, Any]
SHARE_FOR_THE_END = 0.04
"""Part of a budget kept for reading the label maps, scoring and writing the report."""


@dataclass(frozen=True)
class EngineRun:
    """A finished run of an engine: its folder and its held-out scores."""

    folder: Path
    summary: list[Row]


@dataclass(frozen=True)
class Outcome:
    """What an engine gives back to be scored.

    Parameters
    ----------
    data : what the report says of where the predictions come from.
    settings : of ours, by their dotted names, as the engine had them.
    engine : what else its plans and its trainer had.
    """

    predictions: dict[str, Path]
    failed: dict[str, str]
    seconds: float
    seconds_a_case: float | None
    history: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    parameters: int | None = None
    data: Row = field(default_factory=Row)
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    engine: Mapping[str, Any] = field(default_factory=dict[str, Any])


def train(experiment: Experiment, run: RunFolder, job: Job, *, resume: bool = False) -> EngineRun:
    """Let the engine that the experiment names learn a fold, and score it on the test cases.

    Parameters
    ----------
    resume : go on with an interrupted run.

    Raises
    ------
    MissingExtra, WeightsError
        If the engine, or its weights, are not here; before anything is written.
    EngineFailed
        If it crashed, hung or was killed; before its first epoch nothing is left behind.
    """
    started = time.time()
    if resume and run.is_finished:
        return EngineRun(run.path, read_csv(run.summary))
    if not (resume and run.is_begun):
        run.require_room()
    name = EngineName.parse(experiment.network.name)
    require(name.package)
    require_trackers(experiment.log)
    dataset = open_dataset(Path(experiment.dataset))
    if is_picture(dataset.cases[0].images[0]):
        raise ConfigError(
            f"{experiment.network.name} is for scans with millimetres, and {experiment.dataset} "
            "holds pictures: choose a 2D network such as fcn8s-vgg16, or train nnU-Net itself on "
            "this folder", setting="network.name",
        )  # fmt: skip
    fold = fold_of(dataset, experiment.fold, experiment.training.seed)
    job.inform(described(fold))
    if not fold.test:
        job.warn("No test cases: the model's performance will not be measured.")
    task = _task(name, dataset, job) if name.engine == "totalsegmentator" else None
    with _whole_or_absent(run.path), run.opened(job):
        there = dict(versions(require(name.package)))
        experiment = experiment.changed(engine={"program": name.package, "versions": there})
        write_text(run.config, experiment.to_toml())
        write_json(run.environment, environment() | {"engines": there})
        write_cases(dataset, fold, run)
        work = _Work(experiment, name, dataset, fold, run, started, job, task)
        outcome = ENGINES[name.engine](work)
        work = replace(work, experiment=_recorded(experiment, outcome))
        write_text(run.config, work.experiment.to_toml())
        summary = work.scored(outcome)
        with tracked(experiment.log, run.path) as track:  # an engine's figures are known at its end
            for row in outcome.history:
                track.epoch(row)
            track.finish(len(outcome.history), summary)
    return EngineRun(run.path, summary)


def _recorded(experiment: Experiment, outcome: Outcome) -> Experiment:
    """The experiment as the engine made it: what it was given, and what it took of its own."""
    tree = experiment.given()
    known = {"training.seed": experiment.training.seed} if outcome.settings else {}
    for name, value in (known | dict(outcome.settings)).items():
        section, _, last = name.partition(".")
        tree.setdefault(section, {})[last] = value
    weights = {key: outcome.data[key] for key in ("weights",) if key in outcome.data}
    engine = {**experiment.engine, **weights, **outcome.engine}
    return Experiment.parse(tree | {"fold": experiment.fold, "engine": engine})


@contextlib.contextmanager
def _whole_or_absent(out: Path) -> Generator[None]:
    """A run folder that is removed if the run fails before there is anything to go on from."""
    fresh = not out.exists()
    try:
        yield
    except BaseException:
        space = nnunet.Space.begun(out / "engine", os.environ)
        if space is not None and space.can_go_on:
            warn(f"{out} keeps the state of the training: go on with `resume`")
        elif fresh:
            shutil.rmtree(out, ignore_errors=True)
        raise


def _task(name: EngineName, dataset: Dataset, job: Job) -> Task:
    """What TotalSegmentator's task knows of our structures, with its weights here."""
    if len(dataset.channel_names) > 1:
        raise ConfigError(f"TotalSegmentator sees one channel, scans have {dataset.channel_names}")
    with tempfile.TemporaryDirectory(prefix="condyle-") as folder:
        task = totalsegmentator.ask(name.what, Path(folder), job, name.fast)
    totalsegmentator.mapping(dataset, task.classes)
    totalsegmentator.fetch([*task.parts, *task.crop], job)
    return task


@dataclass(frozen=True)
class _Work:
    experiment: Experiment
    name: EngineName
    dataset: Dataset
    fold: Fold
    run: RunFolder
    started: float
    job: Job
    task: Task | None = None

    @property
    def held_out(self) -> tuple[Case, ...]:
        return self.dataset.select(self.fold.test)

    @property
    def deadline(self) -> float | None:
        """When an engine must be done, in seconds since 1970."""
        budget = self.experiment.training.budget
        return self.started + budget * (1 - SHARE_FOR_THE_END) if budget else None

    def scored(self, outcome: Outcome) -> list[Row]:
        """Write the training and its scores; gives the summary's rows."""
        for case, reason in outcome.failed.items():
            self.job.warn(f"{case} failed: {reason}")
        write_csv(self.run.history, outcome.history)
        if outcome.predictions:
            write_names(self.run.predictions, self.dataset.scheme.to_dict())
        training = TrainingSummary(
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
            scheme=self.dataset.scheme,
        )
        write_slices(self.held_out, outcome.predictions, self.experiment, self.run)
        return evaluate_run(
            self.held_out, outcome.predictions, self.run, self.experiment, training, self.job
        )

    def trained(self, start: Start | None, deadline: float | None) -> Trained:
        """What nnU-Net makes of the fold, in the run folder."""
        settings, asked = self.experiment.training, flattened(self.experiment.given())
        given = {
            "device": self.experiment.device,
            "seed": settings.seed,
            "epochs": settings.epochs,
            "steps": settings.steps if isinstance(settings.steps, int) else None,
            "budget": settings.budget,
            "deadline": deadline,
            "settings": {name: asked[name] for name in TRAINER if name in asked},
        }
        space = nnunet.Space.of(self.run.engine, os.environ)
        done = nnunet.train(
            self.dataset, self.fold, self.name.what, space, self.run.predictions, given,
            self.job, start,
        )  # fmt: skip
        if not done.mirror:
            warn("predicted without mirror images: the budget left no time for them")
        scheme = LabelScheme(self.dataset.scheme.labels)
        if done.before is not None:
            home = self.run.path
            CascadeCard(
                labels=scheme.to_dict(), channels=len(self.dataset.channel_names),
                model=_within(done.model, home), lowres=_within(done.before.model, home),
                folds=tuple(done.before.folds),
            ).save(home)  # fmt: skip
            return done
        segmenter = segmenter_of(done.model, scheme=scheme, turned=start is not None)
        segmenter.save(self.run.segmenter)
        return done


def _within(path: Path, home: Path) -> str:
    """A path seen from a folder, where it lies in it."""
    there, root = path.resolve(), home.resolve()
    return str(there.relative_to(root) if there.is_relative_to(root) else there)


def by_nnunet(work: _Work) -> Outcome:
    """Plan, train and predict by nnU-Net; its model is kept in the run folder."""
    done = work.trained(None, work.deadline)
    data = {"weights": "random numbers", "model": str(done.model)}
    return _outcome(done, done.predictions, data)


def by_totalsegmentator(work: _Work) -> Outcome:
    """The original TotalSegmentator; or those its network, fine-tuned, if that is better."""
    assert work.task is not None
    joined = totalsegmentator.mapping(work.dataset, work.task.classes)
    names = {x.name: [work.task.classes[n] for n in joined.get(x.id, ())]
             for x in work.dataset.scheme.labels}  # fmt: skip
    for name in (name for name, theirs in names.items() if not theirs):
        warn(f"TotalSegmentator does not know {name}")
    for theirs, ours in totalsegmentator.owners(joined).items():
        both = [x.name for x in work.dataset.scheme.labels if theirs in joined.get(x.id, ())]
        if len(both) > 1:
            warn(
                f"TotalSegmentator does not distinguish {' and '.join(both)}: what it calls "
                f"{work.task.classes[theirs]} counts for {work.dataset.scheme[ours].name}"
            )
    asked = (*work.fold.test, *(work.fold.validation if work.name.finetuned else ()))
    folder = work.run.zero_shot if work.name.finetuned else work.run.predictions
    cases = {}
    for case in work.dataset.select(asked):
        file = work.run.engine / "scans" / f"{case.id}.nii.gz"
        cases[case.id] = [str(write(case.image(), file).resolve())]
    predictions, failed, seconds = totalsegmentator.predict(
        work.task, cases, work.run.engine, work.experiment.device, joined,
        work.dataset.scheme, folder, work.job,
    )  # fmt: skip
    shutil.rmtree(work.run.engine / "scans")
    model = " fast" if work.task.fast else ""
    data: Row = {"weights": f"TotalSegmentator, {work.task.name}{model}"}
    data |= {f"classes for {name}": ", ".join(theirs) for name, theirs in names.items()}
    card = Card(
        task=work.task.name,
        fast=work.task.fast,
        labels=LabelScheme(work.dataset.scheme.labels).to_dict(),
        joined=joined,
    )
    if not work.name.finetuned:
        card.save(work.run.path)
        known = {"task": work.task.name, "spacing": work.task.spacing, "trained": False}
        return Outcome(predictions, failed, 0.0, seconds, data=data, engine=known)
    return _finetuned(work, card, predictions, data)


def _finetuned(work: _Work, card: Card, before: dict[str, Path], data: Row) -> Outcome:
    """What the fine-tuned network finds; what was found before, if it does not beat that."""
    assert work.task is not None
    part, classes = totalsegmentator.base(work.task, work.dataset.scheme, card.joined)
    model = totalsegmentator.model_of(part)
    done = work.trained(Start(model, part.configuration, classes), work.deadline)
    write_csv(work.run.tensors, done.tensors)
    tensors = Counter(row["outcome"] for row in done.tensors)
    validation = work.fold.validation
    old, new = (_mean_dice(work, found) for found in (before, done.predictions))
    better = not validation or new > old
    if not validation:
        warn(
            "no validation cases to tell whether fine-tuning helped: the fine-tuned predictions "
            "are kept"
        )
    elif not better:
        warn(
            "fine-tuning did not beat the original TotalSegmentator on validation cases (mean "
            f"Dice {new:.3f} and {old:.3f}): those are kept"
        )
    data |= {
        "model": str(model),
        "tensors": ", ".join(f"{count} {name}" for name, count in sorted(tensors.items())),
        "validation Dice before fine-tuning": old,
        "validation Dice after fine-tuning": new,
        "predictions": "fine-tuned" if better else "zero-shot",
    }
    if not better:
        shutil.rmtree(work.run.segmenter)
        card.save(work.run.path)
        shutil.rmtree(work.run.predictions)
        (work.run.zero_shot).rename(work.run.predictions)
    shutil.rmtree(work.run.zero_shot, ignore_errors=True)
    files = {path.name.removesuffix(".nii.gz"): path
             for path in (work.run.predictions).glob("*.nii.gz")}  # fmt: skip
    for name in set(files) - set(work.fold.test):
        files.pop(name).unlink()
    outcome = _outcome(done, files, data)
    layer = {"network.last_layer": work.experiment.network.last_layer}
    return replace(outcome, settings={**outcome.settings, **layer})


def _mean_dice(work: _Work, found: dict[str, Path]) -> float:
    """Mean Dice over the validation cases and the structures that are there; NaN without any."""
    values: list[float] = []
    for case in work.dataset.select(work.fold.validation):
        truth = case.labels()
        labels = read_labels(found[case.id], truth.scheme) if case.id in found else None
        if labels is not None:
            truth, labels = together(truth, labels, f"truth and prediction of {case.id}")
        for number in truth.scheme.ids:
            there = truth.array == number
            guess = labels.array == number if labels else np.zeros_like(there)
            dice = count(there, guess).dice
            values += [] if math.isnan(dice) else [dice]
    return sum(values) / len(values) if values else math.nan


def _outcome(done: Trained, predictions: dict[str, Path], data: Row) -> Outcome:
    mirrored = done.mirror and bool(done.engine["mirrored_axes"])
    more = {"epochs_trained": len(done.history), "mirror_images_predicted": mirrored}
    engine = {**done.engine, **more}
    return Outcome(
        predictions, done.failed, done.seconds, done.seconds_a_case, done.history,
        done.parameters, data, done.settings, engine,
    )  # fmt: skip


ENGINES = {"nnunet": by_nnunet, "totalsegmentator": by_totalsegmentator}
