"""From a data set to a segmenter: prepare, fit, score the test cases, record."""

from __future__ import annotations

import itertools
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric

from condyle import networks
from condyle.config import Experiment, Planes
from condyle.config.requests import TrainRequest
from condyle.core import Dataset, Fold
from condyle.engines import is_engine
from condyle.errors import CondyleError, ConfigError, OutOfMemory
from condyle.io import open_dataset
from condyle.jobs.job import Job, Progress, verb
from condyle.jobs.outputs import write_csv, write_text
from condyle.measure.overlap import Counts, count
from condyle.networks import SegmentationNetwork
from condyle.networks.seeds import seeded
from condyle.predict import RecipePreprocessing, Segmenter, TrainingRecord
from condyle.predict.runtimes.torch import TorchRuntime
from condyle.prepare.recipe import Recipe
from condyle.prepare.slices import AXIS, planes_of
from condyle.prepare.splits import described, fold_of
from condyle.runs.dataset import require_same, write_record
from condyle.runs.folder import RunFolder
from condyle.runs.record import read_csv, write_environment
from condyle.runs.tracking import Track, require_trackers, tracked
from condyle.train import (
    Batches,
    History,
    Moment,
    build_loss,
    class_weights,
    fabric_for,
    fit,
    steps_per_epoch,
)
from condyle.train.pace import seconds_of_forward
from condyle.train.prepared_cases import kept_in_memory, mapped, prepare, reach_mm
from condyle.train.sampling import IGNORE
from condyle.workflows.evaluate import TrainingSummary, evaluate_run
from condyle.workflows.segment import segment_cases
from condyle.workflows.training import run_figures, train_engine
from condyle.workflows.training.cross_validation import CrossValidated, is_asked, train_folds
from condyle.workflows.training.plan import plan_training
from condyle.workflows.training.probabilities import MOST_CASES, count_probabilities
from condyle.workflows.training.resume import asked_settings
from condyle.workflows.training.support import require_supported

__all__ = ["Run", "train"]

T = TypeVar("T")

FACTOR_FOR_SCORING = 1.5
"""What predicting and scoring a case takes as a multiple of the network's own time."""
SECONDS_A_CASE = 0.2
"""Of reading, scoring and writing a small case."""
LEAST_SHARE = 0.2
"""Part of a budget that must be left for fitting."""
FEW_CASES = 5
"""Cases whose preparing says how long that of all takes."""
SHARE_FOR_THE_END = 0.04
"""Part of a budget kept for writing the report, beside the time that scoring takes."""


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, its segmenter and its held-out scores."""

    folder: Path
    segmenter: Segmenter
    history: History
    summary: list[dict[str, Any]]


@verb
def train(request: TrainRequest, job: Job) -> Run | train_engine.EngineRun | CrossValidated:
    """Train a segmenter as the request says, into its run folder; with `folds`, one a fold.

    Raises
    ------
    ConfigError, DatasetError, SplitError, WeightsError, OutputError
        See `train_fold` and `train_folds`.
    """
    if is_asked(request):
        return train_folds(request, job, train)
    return train_fold(request, job)


def train_fold(request: TrainRequest, job: Job) -> Run | train_engine.EngineRun:
    """Train a segmenter on one fold.

    The preparation is chosen from the training scans if the settings give none.

    Raises
    ------
    DatasetError, SplitError, ConfigError, WeightsError
        If the data set, the fold or the network cannot be had, before anything is written.
    OutputError
        If something is in the run folder and `resume` is not asked, or another process trains in
        it.
    """
    started = time.monotonic()
    run = RunFolder(request.out)
    experiment, plane = asked_settings(request, run)
    require_supported(experiment, plane, request.named())
    if is_engine(experiment.network.name):
        return train_engine.train(experiment, run, job, resume=request.resume)
    fabric = fabric_for(experiment.device)
    first = fabric.is_global_zero
    if first and not (request.resume and run.is_begun):
        run.require_room()
    require_trackers(experiment.log)
    dataset = open_dataset(Path(experiment.dataset))
    build_loss(experiment.training.loss)
    class_weights(experiment.training.class_weights, dataset.scheme.names)
    fold = fold_of(dataset, experiment.fold, experiment.training.seed)
    if first and request.resume:
        require_same(run, dataset.root, dataset.select(fold.all))
    fresh = first and not run.path.exists()
    fabric.barrier()
    if not first:
        job = Job()
    try:
        with (
            run.opened(job) if first else nullcontext(),
            tracked(experiment.log if first else (), run.path) as track,
        ):
            work = _Work(experiment, dataset, fold, run, fabric, job, track)
            work.require_time(started)
            work.plan(plane)
            work.prepare(started)
            return work.run_all(started, request.resume)
    except CondyleError:
        if fresh and not run.checkpoints.exists():
            shutil.rmtree(run.path, ignore_errors=True)  # nothing is trained yet: leave nothing
        raise


class _Work:
    """The parts of one training that depend on each other, made in order.

    Under torchrun each process has its own; the first one reads, plans, writes and scores.
    """

    def __init__(
        self, experiment: Experiment, dataset: Dataset, fold: Fold, run: RunFolder,
        fabric: Fabric, job: Job, track: Track,
    ):  # fmt: skip
        self.experiment, self.dataset, self.fold, self.run = experiment, dataset, fold, run
        self.fabric, self.job, self.track = fabric, job, track
        self.first = fabric.is_global_zero
        self.scheme = replace(dataset.scheme, ignore=None)  # what the segmenter finds
        self.channels = len(dataset.channel_names)
        self.held_out = dataset.select(fold.test)
        self.cases = kept_in_memory(dataset.select((*fold.train, *fold.validation)))
        self.origin = ""
        self.known = TrainingRecord()

    def plan(self, plane: Planes | None) -> None:
        """Choose what is left open, build the network, and write the settings.

        Problems of any case are reported now, not after the training.
        """
        if self.first:
            self._warn_of_missing_parts()
            made = plan_training(
                self.experiment, self.dataset, self.fold, self.job, plane=plane,
                processes=self.fabric.world_size, build=self._built,
                cases=self.cases[: len(self.fold.train)],
            )  # fmt: skip
            self.experiment, self.network = made.experiment, made.network
            self.known = self.known.with_scans(made.seen, self.dataset.channel_names[0])
            for case in self.job.track("reading the test cases", self.held_out):
                case.pair()
            self.job.inform(described(self.fold))
            write_record(self.run, self.dataset.root, self.dataset.select(self.fold.all))
            write_text(self.run.config, self.experiment.to_toml())
            write_environment(self.run.environment, self.fabric.device)
        self.experiment = self._once(lambda: self.experiment)
        if not self.first:
            self.network = self._built(self.experiment, self.channels, len(self.scheme) + 1)
        name = self.experiment.network.name
        self.job.note(f"network {name}, weights: {self.origin}")
        self._once(
            lambda: run_figures.write_beginning(
                name, self.network, self.dataset, self.fold, self.run
            )
        )

    def _built(self, experiment: Experiment, channels: int, classes: int) -> SegmentationNetwork:
        """The network with its first weights, the same in every process."""
        settings = experiment.network
        with seeded(experiment.training.seed):
            network, found = networks.build(
                settings.name, channels, classes, settings.weights, settings.deep_supervision,
                settings.inflation,
            )  # fmt: skip
        self.origin = found.origin if found else "random numbers"
        return network

    def require_time(self, started: float, cases: int = 0, since: float = 0.0) -> None:
        """Raise where it is certain that a budget will leave no time for fitting.

        Scoring takes at least `SECONDS_A_CASE` a test case. Of preparing, twice the pace of the
        first `cases` (since then) is what is hoped for.

        Raises
        ------
        ConfigError
            It says how many cases there are, and what they take.
        """
        budget, now = self.experiment.training.budget, time.monotonic()
        if not budget or not self.first:
            return
        scored = len(self.held_out) + min(len(self.held_out), MOST_CASES)
        needed = now - started + FACTOR_FOR_SCORING * SECONDS_A_CASE * scored
        total = len(self.fold.train) + len(self.fold.validation)
        if cases:
            needed += (total - cases) * (now - since) / cases / 2
        if needed > (1 - LEAST_SHARE - SHARE_FOR_THE_END) * budget:
            raise ConfigError(
                f"a budget of {budget:g} s is too short for {total} cases to prepare and "
                f"{len(self.held_out)} to score, which take {needed:.0f} s or more: give more "
                "time, or train on fewer cases", setting="training.budget",
            )  # fmt: skip

    def prepare(self, started: float) -> None:
        """Put all training and validation cases on disk as the network sees them."""
        assert self.experiment.preparation is not None
        self.recipe = Recipe(self.experiment.preparation)
        if self.first:
            since = time.monotonic()
            for number, case in enumerate(self.job.track("preparing", self.cases)):
                if number >= FEW_CASES:
                    self.require_time(started, number, since)
                prepare(case, self.recipe, self.run.prepared)
        self.cases = ()  # and what was kept of them in memory
        self.fabric.barrier()
        self.training = [mapped(i, self.run.prepared) for i in self.fold.train]
        self.validation = [mapped(i, self.run.prepared) for i in self.fold.validation]
        self.reach_mm = max(reach_mm(case) for case in self.training)

    def _once(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them."""
        made = make() if self.first else None
        return cast(T, self.fabric.broadcast(made))

    def run_all(self, started: float, resume: bool) -> Run:
        """Fit, score and write; only the first process scores."""
        self._say_what_is_missing()
        history = self._fit(started, resume)
        segmenter, summary = self.segmenter(history), list[dict[str, Any]]()
        if self.first:
            write_csv(self.run.history, history.rows)
            segmenter.save(self.run.segmenter)
            device, trained = self.experiment.device, time.monotonic()
            written = segment_cases(
                segmenter, self.held_out, self.run.predictions, self.job, device=device
            )
            training = TrainingSummary(
                data=segmenter.training.model_dump(mode="json"),
                history=history.rows,
                parameters=sum(p.numel() for p in segmenter.network.parameters()),
                seconds=history.rows[-1]["seconds"],
                seconds_a_case=(time.monotonic() - trained) / max(len(self.held_out), 1),
                scheme=self.scheme,
            )
            count_probabilities(segmenter, self.held_out, self.run, self.job, device=device)
            run_figures.write_slices(self.held_out, written, self.experiment, self.run)
            summary = evaluate_run(
                self.held_out, written, self.run, self.experiment, training, self.job
            )
            self.track.finish(history.rows[-1]["epoch"], summary)
            shutil.rmtree(self.run.prepared, ignore_errors=True)
        return Run(self.run.path, segmenter, history, summary)

    def _warn_of_missing_parts(self) -> None:
        """Warn of what a fold leaves unknown."""
        if self.experiment.fold == "all":
            self.job.warn(
                "every labelled scan is trained on: the last weights are taken, and how good they "
                "are must come from folds"
            )
            return
        if not self.fold.test:
            self.job.warn("No test cases: the model's performance will not be measured.")
        if not self.fold.validation:
            self.job.warn(
                f"no validation cases to choose the best weights by ({len(self.fold.train)} for "
                "training): the last ones are taken"
            )

    def _say_what_is_missing(self) -> None:
        """Warn of structures that no training case holds."""
        present = set[int]().union(*(np.unique(case.labels).tolist() for case in self.training))
        for index, name in enumerate(self.scheme.names, 1):
            if index not in present and self.first:
                self.job.warn(
                    f"no training case of fold {self.experiment.fold} holds {name}: the "
                    "segmenter will never find it"
                )

    def _fit(self, started: float, resume: bool) -> History:
        """Fit until the epochs are done or the budget is used; with less a batch if it must be."""
        settings = self.experiment.training
        seconds = self._once(lambda: self._seconds_for_fitting(started))
        assert settings.batch is not None
        for halved in itertools.count():
            size = settings.batch >> halved
            try:
                return self._fit_by(size, seconds, resume or halved > 0)
            except OutOfMemory as error:
                if size < 2 * self.fabric.world_size or self.fabric.world_size > 1:
                    raise
                self.job.warn(f"{error}; going on with batches of {size // 2}")
        raise AssertionError

    def _fit_by(self, size: int, seconds: float | None, resume: bool) -> History:
        settings, shares = self.experiment.training, self.fabric.world_size
        if size % shares:
            raise ConfigError(
                f"a batch of {size} cannot be shared evenly among {shares} processes: "
                f"give `training.batch` = {math.ceil(size / shares) * shares}"
            )
        assert settings.patch is not None
        batches = Batches(
            self.training, settings.patch, size, self.experiment.augmentation,
            self.scheme.mirrored_classes(), settings.foreground, settings.seed,
            self.fabric.global_rank, shares, settings.hard_slices,
            self.network.spatial == 2 and self.recipe.plane == "all",
        )  # fmt: skip
        return fit(
            self.network,
            batches,
            settings,
            self.experiment.network,
            steps=steps_per_epoch(size, batches.samples, settings.steps),
            seconds=seconds,
            folder=self.run.checkpoints,
            validate=self._validate if self.validation else None,
            class_weights=class_weights(settings.class_weights, self.scheme.names),
            fabric=self.fabric,
            resume=resume,
            on_step=self._show,
            on_epoch=self._keep,
            cancelled=lambda: self.job.is_cancelled,
        )

    def _seconds_for_fitting(self, started: float) -> float | None:
        """What a budget leaves for steps, in seconds; None without one."""
        budget = self.experiment.training.budget
        if not budget:
            return None
        reserve = SHARE_FOR_THE_END * budget + self._seconds_of_scoring()
        seconds = budget - (time.monotonic() - started) - reserve
        if seconds < LEAST_SHARE * budget:
            raise ConfigError(
                f"a budget of {budget:g} s leaves {max(seconds, 0):.0f} s for fitting "
                "after preparing and scoring: give more time, or a larger `preparation.spacing`"
            )
        return seconds

    def segmenter(self, history: History | None = None) -> Segmenter:
        """The network with its preprocessing and labels."""
        return Segmenter(
            name=self.experiment.network.name,
            network=self.network,
            preprocessor=RecipePreprocessing(
                settings=self.recipe.settings,
                spatial=self.network.spatial,
                window=self.experiment.training.patch if self.network.spatial == 3 else None,
            ),
            scheme=self.scheme,
            channels=self.channels,
            inflation=self.experiment.network.inflation,
            training=self.known.changed(
                weights=self.origin,
                train=self.fold.train,
                validation=self.fold.validation,
                test=self.fold.test,
                reach_mm=0.0 if self.known.pictures else self.reach_mm,
                ends_mm=self._ends_mm(),
                mirroring=self.experiment.augmentation.flip,
                best_epoch=history.best_epoch if history else None,
                validation_dice=history.best_dice if history else None,
                stopped=history.stopped if history else "",
            ),
        )

    def _ends_mm(self) -> float:
        """How much of each end of a bone is trained on, in mm; 0: all slices alike."""
        through = AXIS[planes_of(self.recipe.plane)[-1]]
        thickness = float(np.median([case.spacing[through] for case in self.training]))
        return (self.experiment.training.hard_slices or 0) * thickness

    def _seconds_of_scoring(self) -> float:
        """Seconds that predicting and scoring the test cases will take, by their voxels.

        A step on a sample is some three forward passes; predicting also reads, resamples, scores
        and writes, which is as much again.
        """
        assert self.experiment.training.patch is not None
        if not self.held_out:
            return 0.0
        sides = [n for n in self.experiment.training.patch if n > 1 or self.network.spatial == 3]
        one = seconds_of_forward(self.network, tuple(sides), self.experiment.device)
        voxels = float(np.mean([np.prod(case.labels.shape) for case in self.training]))
        planes = len(planes_of(self.recipe.plane)) if self.network.spatial == 2 else 1
        each = one * planes * max(voxels / math.prod(sides), 1.0) + SECONDS_A_CASE
        predicted = len(self.held_out) + min(len(self.held_out), MOST_CASES)
        return FACTOR_FOR_SCORING * each * predicted

    def _validate(self, network: torch.nn.Module) -> dict[str, float]:
        """Loss, mean IoU and mean Dice over validation cases, and Dice a structure.

        All on the working grid.
        """
        assert isinstance(network, networks.SegmentationNetwork)
        preprocessor = self.segmenter().by_recipe
        runtime = TorchRuntime.of(network, self.experiment.device)
        loss = build_loss(self.experiment.training.loss)
        losses: list[float] = []
        cases: list[dict[str, Counts]] = []
        for case in self.validation:
            found = preprocessor.probabilities(runtime, np.asarray(case.image))
            truth = np.array(case.labels)  # torch wants memory that can be written
            scores = torch.from_numpy(found)[None].clamp(min=1e-6).log()
            losses.append(float(loss(scores, torch.from_numpy(truth)[None], 1.0)))
            classes = np.where(truth == IGNORE, 0, found.argmax(axis=0))
            names = enumerate(self.scheme.names, 1)
            overlaps = {name: count(truth == n, classes == n) for n, name in names}
            cases.append({k: each for k, each in overlaps.items() if not math.isnan(each.dice)})
        there = [name for name in self.scheme.names if any(name in case for case in cases)]
        dices = {name: _mean(case[name].dice for case in cases if name in case) for name in there}
        ious = [_mean(case[name].iou for case in cases if name in case) for name in there]
        overall = {"dice": _mean(dices.values()), "loss": _mean(losses), "iou": _mean(ious)}
        by_case = {
            "loss": losses,
            "dice": [_mean(each.dice for each in case.values()) for case in cases if case],
            "iou": [_mean(each.iou for each in case.values()) for case in cases if case],
        }
        error = _standard_error(by_case[self.experiment.training.best_by])
        return {**overall, "error": error, **dices}

    def _keep(self, row: Mapping[str, float]) -> None:
        """Write an epoch's figures at once, so that a training can be watched."""
        if self.first:
            file = self.run.history
            before = read_csv(file) if file.is_file() else []
            write_csv(file, [*(r for r in before if r["epoch"] < row["epoch"]), dict(row)])
        self.track.epoch(row)

    def _show(self, moment: Moment) -> None:
        best = f", validation Dice {moment.dice:.3f}" if moment.dice is not None else ""
        left = f"{moment.seconds_left / 60:.0f} min left" if moment.seconds_left > 90 else (
            f"{moment.seconds_left:.0f} s left")  # fmt: skip
        words = f"loss {moment.loss:.3f}{best}, {left}"
        place = f"epoch {moment.epoch}"
        self.job.say(Progress("training", moment.progress, words=words, place=place))


def _standard_error(values: Sequence[float]) -> float:
    """That of their mean; inf of fewer than two, which tell nothing of each other."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _mean(values: Iterable[float]) -> float:
    """The mean; 0 of none."""
    known = list(values)
    return sum(known) / len(known) if known else 0.0
