"""From a data set to a segmenter: prepare, fit, judge on held-out cases, record."""

from __future__ import annotations

import itertools
import logging
import math
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from lightning_fabric import Fabric

from condyle import networks
from condyle.config import Experiment, Planes
from condyle.core import Case, Dataset, Fold
from condyle.engines import is_engine
from condyle.errors import CondyleError, ConfigError, OutOfMemory
from condyle.io import open_dataset, write_text
from condyle.jobs.progress import Tell, silent, told
from condyle.measure.overlap import Counts, count
from condyle.predict import RecipePreprocessing, Segmenter, TrainingRecord
from condyle.predict.runtimes.torch import TorchRuntime
from condyle.prepare.recipe import Recipe
from condyle.prepare.slices import AXIS, planes_of
from condyle.runs.record import logged, require_room, write_csv, write_environment
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
from condyle.train.prepared_cases import mapped, prepare, reach_mm
from condyle.train.sampling import IGNORE
from condyle.workflows.evaluate import Learnt, judge
from condyle.workflows.segment import segment_cases
from condyle.workflows.training import run_figures as portrait
from condyle.workflows.training import train_engine as engines
from condyle.workflows.training.plan import fold_of, plan
from condyle.workflows.training.probabilities import MOST_CASES, count_likelihood

__all__ = ["Run", "train"]

log = logging.getLogger("condyle")
T = TypeVar("T")

SHARE_FOR_THE_END = 0.04
"""Part of a budget kept for writing the report, beside the time that judging is seen to take."""


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, its segmenter and its held-out scores."""

    folder: Path
    segmenter: Segmenter
    history: History
    summary: list[dict[str, Any]]


def train(
    experiment: Experiment,
    out: Path,
    *,
    plane: Planes | None = None,
    resume: bool = False,
    tell: Tell = silent,
) -> Run | engines.EngineRun:
    """Train a segmenter as the experiment says, into the run folder `out`.

    Parameters
    ----------
    experiment : data set, fold, network, settings. Its preparation is chosen from the training
        scans if it gives none.
    out : the run folder; refused if something is in it, unless `resume`.
    plane : of the slices; wins over the experiment's preparation.
    resume : go on with an interrupted run as its own config.toml says.
    tell : is told how far it is.

    Raises
    ------
    DatasetError, SplitError, ConfigError, WeightsError
        If the data set, the fold or the network cannot be had, before anything is written.
    """
    if is_engine(experiment.network.name):
        return engines.train(experiment, out, resume=resume, tell=tell)
    started = time.monotonic()
    out = Path(out)
    fabric = fabric_for(experiment.device)
    first = fabric.is_global_zero
    if resume and (out / "config.toml").is_file():
        experiment, plane = Experiment.read(out / "config.toml"), None
    elif first:
        require_room(out)
    if experiment.training.epochs and experiment.training.budget:
        raise ConfigError("give either --epochs or --budget, not both")
    require_trackers(experiment.log)
    dataset = open_dataset(Path(experiment.dataset))
    build_loss(experiment.training.loss)
    class_weights(experiment.training.class_weights, dataset.scheme.names)
    fold = fold_of(dataset, experiment)
    fresh = first and not out.exists()
    fabric.barrier()
    try:
        with (
            logged(out) if first else nullcontext([]) as warnings,
            tracked(experiment.log if first else (), out) as track,
        ):
            tell = tell if first else silent
            work = _Work(experiment, dataset, fold, out, plane, fabric, tell, track)
            return work.run(started, resume, warnings)
    except CondyleError:
        if fresh and not (out / "checkpoints").exists():
            shutil.rmtree(out, ignore_errors=True)  # nothing was learnt yet: leave nothing behind
        raise


class _Work:
    """The parts of one training that depend on each other, made in order.

    Under torchrun each process has its own; the first one reads, plans, writes and judges.
    """

    def __init__(
        self, experiment: Experiment, dataset: Dataset, fold: Fold, out: Path,
        plane: Planes | None, fabric: Fabric, tell: Tell, track: Track,
    ):  # fmt: skip
        self.fold, self.out, self.fabric, self.tell, self.track = fold, out, fabric, tell, track
        self.first = fabric.is_global_zero
        self.scheme = replace(dataset.scheme, ignore=None)  # what the segmenter finds
        self.held_out = dataset.select(fold.test)
        if self.first:
            _say_what_is_odd(fold)
        # what is wrong with any case is said now, not after a night of training
        self.experiment = self._once(
            lambda: (
                plan(
                    experiment, dataset, plane=plane, processes=fabric.world_size, tell=tell
                ).experiment
            )
        )
        self._once(self._look_at_the_rest)
        assert self.experiment.preparation is not None
        self.recipe = Recipe(self.experiment.preparation)
        self.channels = len(dataset.select(fold.train[:1])[0].channels())
        self._once(self._write_settings)
        self._build()
        name = self.experiment.network.name
        self._once(lambda: portrait.write_beginning(name, self.network, dataset, fold, out))
        cases = dataset.select((*fold.train, *fold.validation))
        self._once(lambda: self._prepare(cases))
        ready = {case.id: mapped(case.id, out / "prepared") for case in cases}
        self.training = [ready[i] for i in fold.train]
        self.validation = [ready[i] for i in fold.validation]
        self.reach_mm = max(reach_mm(case) for case in self.training)

    def _once(self, make: Callable[[], T]) -> T:
        """What the first process makes, in all of them."""
        made = make() if self.first else None
        return cast(T, self.fabric.broadcast(made))

    def _look_at_the_rest(self) -> None:
        for case in told(self.tell, "looking at the rest", self.held_out, len(self.held_out)):
            case.pair()

    def _write_settings(self) -> None:
        write_text(self.out / "config.toml", self.experiment.to_toml())
        write_environment(self.out, self.fabric.device)

    def _build(self) -> None:
        """The network with its first weights, the same in every process."""
        torch.manual_seed(self.experiment.training.seed)
        rules = self.experiment.network
        self.network, found = networks.build(
            rules.name, self.channels, len(self.scheme) + 1, rules.weights,
            rules.deep_supervision, rules.inflation,
        )  # fmt: skip
        self.origin = found.origin if found else "random numbers"
        log.info("network %s, weights: %s", rules.name, self.origin)

    def _prepare(self, cases: Sequence[Case]) -> None:
        for case in told(self.tell, "preparing", cases, len(cases)):
            prepare(case, self.recipe, self.out / "prepared")

    def run(self, started: float, resume: bool, warnings: list[str]) -> Run:
        """Fit, judge and write; what other processes than the first one know is not judged."""
        self._say_what_is_missing()
        history = self._fit(started, resume)
        segmenter, summary = self.segmenter(history), list[dict[str, Any]]()
        if self.first:
            write_csv(self.out / "history.csv", history.rows)
            segmenter.save(self.out / "segmenter")
            trained = time.monotonic()
            done = segment_cases(
                segmenter, self.held_out, self.out / "predictions",
                device=self.experiment.device, tell=self.tell,
            )  # fmt: skip
            learnt = Learnt(
                data=segmenter.training.model_dump(mode="json"),
                history=history.rows,
                parameters=sum(p.numel() for p in segmenter.network.parameters()),
                seconds=history.rows[-1]["seconds"],
                seconds_a_case=(time.monotonic() - trained) / max(len(self.held_out), 1),
                warnings=warnings,
            )
            device = self.experiment.device
            count_likelihood(segmenter, self.held_out, self.out, device=device, tell=self.tell)
            portrait.write_slices(self.held_out, done.written, self.experiment, self.out)
            summary = judge(
                self.held_out, done.written, self.out, self.experiment, learnt, self.tell
            )
            self.track.finish(history.rows[-1]["epoch"], summary)
            shutil.rmtree(self.out / "prepared", ignore_errors=True)
        return Run(self.out, segmenter, history, summary)

    def _say_what_is_missing(self) -> None:
        """Warn of structures that no training case holds."""
        present = set[int]().union(*(np.unique(case.labels).tolist() for case in self.training))
        for index, name in enumerate(self.scheme.names, 1):
            if index not in present and self.first:
                log.warning(
                    "no training case of fold %d holds %s: the segmenter will never find it",
                    self.experiment.fold, name,
                )  # fmt: skip

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
                log.warning("%s; going on with batches of %d", error, size // 2)
        raise AssertionError

    def _fit_by(self, size: int, seconds: float | None, resume: bool) -> History:
        settings, shares = self.experiment.training, self.fabric.world_size
        if size % shares:
            raise ConfigError(
                f"a batch of {size} cannot be shared evenly among {shares} processes: "
                f"give --batch {math.ceil(size / shares) * shares}"
            )
        assert settings.patch is not None
        batches = Batches(
            self.training, settings.patch, size, self.experiment.augmentation,
            self.scheme.mirrored_classes(), settings.foreground, settings.seed,
            self.fabric.global_rank, shares, settings.hard_slices,
            self.network.spatial == 2 and self.recipe.settings.plane == "all",
        )  # fmt: skip
        return fit(
            self.network,
            batches,
            settings,
            self.experiment.network,
            steps=steps_per_epoch(size, batches.samples, settings.steps),
            seconds=seconds,
            folder=self.out / "checkpoints",
            validate=self._validate if self.validation else None,
            class_weights=class_weights(settings.class_weights, self.scheme.names),
            fabric=self.fabric,
            resume=resume,
            on_step=self._show,
            on_epoch=self.track.epoch,
        )

    def _seconds_for_fitting(self, started: float) -> float | None:
        """What a budget leaves for steps, in seconds; None without one."""
        budget = self.experiment.training.budget
        if not budget:
            return None
        reserve = SHARE_FOR_THE_END * budget + self._seconds_of_judging()
        seconds = budget - (time.monotonic() - started) - reserve
        if seconds < 0.2 * budget:
            raise ConfigError(
                f"a budget of {budget:g} s leaves {max(seconds, 0):.0f} s for fitting "
                "after preparing and judging: give more time, or a larger preparation.spacing"
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
            training=TrainingRecord(
                weights=self.origin,
                train=self.fold.train,
                validation=self.fold.validation,
                test=self.fold.test,
                reach_mm=self.reach_mm,
                ends_mm=self._ends_mm(),
                mirroring=self.experiment.augmentation.flip,
                best_epoch=history.best_epoch if history else None,
                validation_dice=history.best_dice if history else None,
                stopped=history.stopped if history else "",
            ),
        )

    def _ends_mm(self) -> float:
        """How much of each end of a bone is learnt from, in mm; 0: all slices alike."""
        through = AXIS[planes_of(self.recipe.settings.plane)[-1]]
        thickness = float(np.median([case.spacing[through] for case in self.training]))
        return (self.experiment.training.hard_slices or 0) * thickness

    def _seconds_of_judging(self) -> float:
        """Seconds that judging the held-out cases will take, from segmenting the first one."""
        if not self.held_out:
            return 0.0
        spans: list[float] = []
        for _ in range(2):  # the first time, libraries start
            started = time.monotonic()
            channels, device = self.held_out[0].channels(), self.experiment.device
            self.segmenter().segment(channels, device, runtime="torch")
            spans.append(time.monotonic() - started)
        looks = len(self.held_out) + min(len(self.held_out), MOST_CASES)  # labels, probabilities
        return 1.5 * min(spans) * looks

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

    def _show(self, moment: Moment) -> None:
        best = f", validation Dice {moment.dice:.3f}" if moment.dice is not None else ""
        left = f"{moment.seconds_left / 60:.0f} min left" if moment.seconds_left > 90 else (
            f"{moment.seconds_left:.0f} s left")  # fmt: skip
        self.tell("training", moment.progress, f"loss {moment.loss:.3f}{best}, {left}")


def _say_what_is_odd(fold: Fold) -> None:
    """Warn of what a fold leaves unknown."""
    if not fold.test:
        log.warning("no case is held out: nothing will say how good this segmenter is")
    if not fold.validation:
        log.warning(
            "no case is left to choose the best weights by (%d for training): the last ones are "
            "taken", len(fold.train),
        )  # fmt: skip


def _standard_error(values: Sequence[float]) -> float:
    """That of their mean; inf of fewer than two, which tell nothing of each other."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _mean(values: Iterable[float]) -> float:
    """The mean; 0 of none."""
    known = list(values)
    return sum(known) / len(known) if known else 0.0
