"""From a data set to a segmenter: prepare, fit, judge on held-out cases, record."""

from __future__ import annotations

import logging
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from condyle import networks
from condyle.config import Experiment, Plane
from condyle.core import Case, Dataset, Fold, LabelScheme
from condyle.errors import CondyleError, ConfigError, DatasetError, OutputError
from condyle.io import open_dataset, write_text
from condyle.io.whole import whole_or_absent
from condyle.measure.overlap import dice
from condyle.predict import Segmenter
from condyle.predict.runtime import TorchRuntime
from condyle.prepare.fingerprint import fingerprint, settings_for
from condyle.prepare.recipe import Recipe
from condyle.prepare.slices import AXIS
from condyle.prepare.splits import carve, default_folds
from condyle.train import Batches, History, Moment, TrainingCase, fit, steps_per_epoch
from condyle.workflows.judge import judge
from condyle.workflows.progress import Tell, silent, told
from condyle.workflows.record import environment, logged, write_csv, write_json

__all__ = ["Run", "train"]

log = logging.getLogger("condyle")

LARGEST_PATCH = {2: 512 * 512, 3: 96**3}
"""Voxels of a training sample at the most."""
SHORTER = 0.4
"""Part of a step by which a sample of an inflated network may fall short of the scan."""
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
    plane: Plane | None = None,
    resume: bool = False,
    tell: Tell = silent,
) -> Run:
    """Train a segmenter as the experiment says, into the run folder `out`.

    Parameters
    ----------
    experiment : data set, fold, network, settings. Its preparation is chosen from the training
        scans if it gives none.
    out : the run folder; refused if something is in it, unless `resume`.
    plane : of the slices, where the experiment gives no preparation.
    resume : go on with an interrupted run as its own config.toml says.
    tell : is told how far it is.

    Raises
    ------
    DatasetError, SplitError, ConfigError, WeightsError
        If the data set, the fold or the network cannot be had, before anything is written.
    """
    started = time.monotonic()
    out = Path(out)
    if resume and (out / "config.toml").is_file():
        experiment = Experiment.read(out / "config.toml")
    elif out.exists() and any(out.iterdir()):
        raise OutputError(f"{out} is not empty: choose another --out, or go on with --resume")
    if experiment.training.epochs and experiment.training.budget:
        raise ConfigError("give either --epochs or --budget, not both")
    dataset = open_dataset(Path(experiment.dataset))
    fold = _fold(dataset, experiment)
    fresh = not out.exists()
    try:
        return _trained(experiment, dataset, fold, out, plane, resume, started, tell)
    except CondyleError:
        if fresh and not (out / "checkpoints").exists():
            shutil.rmtree(out, ignore_errors=True)  # nothing was learnt yet: leave nothing behind
        raise


def _trained(
    experiment: Experiment, dataset: Dataset, fold: Fold, out: Path, plane: Plane | None,
    resume: bool, started: float, tell: Tell,
) -> Run:  # fmt: skip
    with logged(out / "log.txt") as warnings:
        experiment = _with_preparation(experiment, dataset, fold, plane, tell)
        if networks.NetworkName.parse(experiment.network.name).is_inflated:
            experiment = _with_inflation(experiment, dataset, fold)
        for case in told(tell, "looking at the rest", held := dataset.select(fold.test), len(held)):
            case.pair()  # what is wrong with them is said now, not after a night of training
        write_text(out / "config.toml", experiment.to_toml())
        write_json(out / "environment.json", environment())
        work = _Work(experiment, dataset, fold, out, tell)
        history = work.fit(started, resume)
        write_csv(out / "history.csv", history.rows)
        segmenter = work.segmenter(history)
        segmenter.save(out / "segmenter")
        summary = judge(
            segmenter, dataset.select(fold.test), out, experiment, history.rows, warnings, tell
        )
    shutil.rmtree(out / "prepared", ignore_errors=True)
    return Run(out, segmenter, history, summary)


def _fold(dataset: Dataset, experiment: Experiment) -> Fold:
    """The fold asked for, with cases for choosing taken out of its training cases."""
    labelled = dataset.labelled()
    if not labelled:
        raise DatasetError(f"{dataset.root} holds no labelled case: there is nothing to learn from")
    if not dataset.folds:
        dataset = dataset.with_folds(default_folds(labelled))
    fold = carve(labelled, dataset.fold(experiment.fold), experiment.training.seed)
    if not fold.test:
        log.warning("no case is held out: nothing will say how good this segmenter is")
    return fold


def _with_preparation(
    experiment: Experiment, dataset: Dataset, fold: Fold, plane: Plane | None, tell: Tell
) -> Experiment:
    """The experiment with a preparation, chosen from the training scans if it gave none."""
    spatial = networks.NetworkName.parse(experiment.network.name).spatial
    if experiment.preparation is not None:
        return experiment
    if Path(experiment.network.weights).is_dir():  # what was learnt holds for its own recipe
        earlier = Segmenter.load(Path(experiment.network.weights))
        return experiment.changed(preparation=earlier.recipe.settings)
    cases = dataset.select(fold.train)
    seen = fingerprint(told(tell, "looking at the scans", cases, len(cases)))
    chosen = settings_for(seen, spatial, plane)
    log.info("preparation chosen from %d training scans: %s", len(cases), chosen)
    return experiment.changed(preparation=chosen)


def _with_inflation(experiment: Experiment, dataset: Dataset, fold: Fold) -> Experiment:
    """The experiment with an inflation that fits its plane and the thickness of its slices."""
    settings, inflation = experiment.preparation, experiment.network.inflation
    assert settings is not None
    through, kept = AXIS[settings.plane], inflation.keep_depth
    if kept is None:
        grid = Recipe(settings).working_grid(dataset.select(fold.train[:1])[0].image().grid)
        pixel = float(np.delete(grid.spacing, through).mean())
        kept = max(round(math.log2(grid.spacing[through] / pixel)), 0)
    changed = inflation.changed(axis=2 + through, keep_depth=kept)
    return experiment.changed(network=experiment.network.changed(inflation=changed))


class _Work:
    """The parts of one training that depend on each other, made in order."""

    def __init__(self, experiment: Experiment, dataset: Dataset, fold: Fold, out: Path, tell: Tell):
        assert experiment.preparation is not None
        self.experiment, self.fold, self.out, self.tell = experiment, fold, out, tell
        self.scheme = dataset.scheme
        self.recipe = Recipe(experiment.preparation)
        first = dataset.select(fold.train[:1])[0].channels()
        self.channels = len(first)
        torch.manual_seed(experiment.training.seed)
        rules = experiment.network
        self.network, found = networks.build(
            rules.name, self.channels, len(self.scheme) + 1, rules.weights,
            rules.deep_supervision, rules.inflation,
        )  # fmt: skip
        self.origin = found.origin if found else "random numbers"
        log.info("network %s, weights: %s", experiment.network.name, self.origin)
        cases = dataset.select((*fold.train, *fold.validation))
        ready = {
            case.id: _prepared(case, self.recipe, self.scheme, out / "prepared")
            for case in told(tell, "preparing", cases, len(cases))
        }
        self.training = [ready[i] for i in fold.train]
        self.validation = [ready[i] for i in fold.validation]
        self.held_out = dataset.select(fold.test)
        self.reach_mm = max(_reach_mm(case) for case in self.training)
        self.patch = _patch(self.training, self.network, experiment.preparation.plane)

    def fit(self, started: float, resume: bool) -> History:
        """Fit the network until the epochs are done or the budget is used."""
        settings = self.experiment.training
        ids = [0, *self.scheme.ids]
        mirror = self.scheme.mirrored()
        batches = Batches(
            self.training,
            self.patch,
            settings.batch,
            self.experiment.augmentation,
            tuple(ids.index(mirror.get(i, i)) for i in ids),
            settings.foreground,
            settings.seed,
        )
        seconds = None
        if settings.budget:
            reserve = SHARE_FOR_THE_END * settings.budget + self._seconds_of_judging()
            seconds = settings.budget - (time.monotonic() - started) - reserve
            if seconds < 0.2 * settings.budget:
                raise ConfigError(
                    f"a budget of {settings.budget:g} s leaves {max(seconds, 0):.0f} s for fitting "
                    "after preparing and judging: give more time, or a smaller preparation.spacing"
                )
        return fit(
            self.network,
            batches,
            settings,
            self.experiment.network,
            steps=steps_per_epoch(settings.batch, _samples(self.training, self.patch)),
            seconds=seconds,
            folder=self.out / "checkpoints",
            validate=self._validate if self.validation else None,
            device=self.experiment.device,
            resume=resume,
            on_step=self._show,
        )

    def segmenter(self, history: History | None = None) -> Segmenter:
        """The network with its recipe and labels."""
        figures = {"best_epoch": history.best_epoch, "validation_dice": history.best_dice,
                   "stopped": history.stopped} if history else {}  # fmt: skip
        return Segmenter(
            name=self.experiment.network.name,
            network=self.network,
            recipe=self.recipe,
            scheme=self.scheme,
            channels=self.channels,
            window=self.patch if self.network.spatial == 3 else None,
            inflation=self.experiment.network.inflation,
            training={
                "weights": self.origin,
                "train": list(self.fold.train),
                "validation": list(self.fold.validation),
                "test": list(self.fold.test),
                "reach_mm": self.reach_mm,
                **figures,
            },
        )

    def _seconds_of_judging(self) -> float:
        """Seconds that segmenting and scoring the held-out cases will take, from the first one."""
        if not self.held_out:
            return 0.0
        started = time.monotonic()
        self.segmenter().segment(self.held_out[0].channels(), self.experiment.device)
        return 1.5 * (time.monotonic() - started) * len(self.held_out)

    def _validate(self, network: torch.nn.Module) -> dict[str, float]:
        """Mean Dice over validation cases, overall and a structure, on the working grid."""
        assert isinstance(network, networks.SegmentationNetwork)
        segmenter = self.segmenter().with_network(network)
        runtime = TorchRuntime.of(network, self.experiment.device)
        scores: dict[str, list[float]] = {name: [] for name in self.scheme.names}
        for case in self.validation:
            classes = segmenter.probabilities(runtime, np.asarray(case.image)).argmax(axis=0)
            for index, name in enumerate(self.scheme.names, 1):
                score = dice(case.labels == index, classes == index)
                if not math.isnan(score):
                    scores[name].append(score)
        means = {name: float(np.mean(found)) for name, found in scores.items() if found}
        return {"dice": float(np.mean(list(means.values()))), **means} if means else {"dice": 0.0}

    def _show(self, moment: Moment) -> None:
        best = f", validation Dice {moment.dice:.3f}" if moment.dice is not None else ""
        left = f"{moment.seconds_left / 60:.0f} min left" if moment.seconds_left > 90 else (
            f"{moment.seconds_left:.0f} s left")  # fmt: skip
        self.tell("training", moment.progress, f"loss {moment.loss:.3f}{best}, {left}")


def _prepared(case: Case, recipe: Recipe, scheme: LabelScheme, folder: Path) -> TrainingCase:
    """A case as the network sees it, kept on disk and mapped into memory."""
    image_path, labels_path = folder / f"{case.id}.image.npy", folder / f"{case.id}.labels.npy"
    channels, labels = case.pair()
    ready = recipe.apply(channels)
    index_of = np.zeros(max(scheme.ids) + 1, np.uint8)
    index_of[list(scheme.ids)] = np.arange(1, len(scheme) + 1)
    truth = index_of[recipe.apply_labels(labels).array]
    for path, array in ((image_path, ready.array), (labels_path, truth)):
        with whole_or_absent(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, array)
    return TrainingCase(
        case.id,
        np.load(image_path, mmap_mode="r"),
        np.load(labels_path, mmap_mode="r"),
        ready.grid.spacing,
    )


def _reach_mm(case: TrainingCase) -> float:
    """How far the labels of a case stretch from feet to head, in mm; 0 without any."""
    slices = np.flatnonzero(case.labels.any(axis=(0, 1)))  # RAS axes: the last runs to the head
    return float((slices[-1] - slices[0] + 1) * case.spacing[2]) if slices.size else 0.0


def _patch(
    cases: list[TrainingCase], network: networks.SegmentationNetwork, plane: Plane
) -> tuple[int, int, int]:
    """Voxels of a training sample that hold the typical scan, or as much of it as is affordable.

    An inflated network pads to its own steps, of 32 voxels say: there a sample may end a little
    before the scan does, rather than be filled up by half its size.
    """
    sides = np.median([case.labels.shape for case in cases], axis=0)
    flat = AXIS[plane] if network.spatial == 2 else None
    if flat is not None:
        sides[flat] = 1
    shrink = (LARGEST_PATCH[network.spatial] / np.prod(sides)) ** (1 / network.spatial)
    if shrink < 1:
        sides = np.where(np.arange(3) == flat, 1, sides * shrink)
    multiple = network.multiple
    if isinstance(multiple, int):
        steps, less = (32 if network.spatial == 2 else 8,) * 3, 0.0
    else:
        steps, less = multiple, SHORTER
    rounded = [
        1 if axis == flat else max(math.ceil(side / step - less), 1) * step
        for axis, (side, step) in enumerate(zip(sides, steps, strict=True))
    ]
    return rounded[0], rounded[1], rounded[2]


def _samples(cases: list[TrainingCase], patch: tuple[int, int, int]) -> int:
    """How many patches it takes to see every voxel that is worth seeing once."""
    voxels = sum(float(np.prod(case.labels.shape)) for case in cases)
    return math.ceil(voxels / float(np.prod(patch)))
