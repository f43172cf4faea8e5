"""What a training does with the data, the time and the machine there are, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from condyle import networks
from condyle.config import Experiment, Plane, Planes
from condyle.config.requests import PlanRequest
from condyle.core import Case, Dataset, Fold, Grid
from condyle.engines import is_engine
from condyle.errors import ConfigError
from condyle.io import open_dataset
from condyle.io.pictures import is_picture
from condyle.jobs.job import Job, verb
from condyle.jobs.outputs import require_free, write_text
from condyle.networks import NetworkName, SegmentationNetwork
from condyle.networks.device import pick_device
from condyle.predict import Segmenter
from condyle.prepare.fingerprint import Fingerprint, fingerprint, settings_for
from condyle.prepare.recipe import Recipe
from condyle.prepare.slices import AXIS, NEARLY_CUBIC, plane_across, planes_of
from condyle.prepare.splits import fold_of
from condyle.train.pace import memory_here, memory_of_step, seconds_of_step
from condyle.workflows.training.support import require_supported

__all__ = ["TrainingPlan", "plan", "plan_training", "toml_of"]

FLAT, DEEP = "unet-efficientnet_lite0", "3d:unet-plain"
"""The networks to choose from: a pretrained one for slices, a small one for volumes."""
LARGEST_PATCH = {2: 512 * 512, 3: 96**3}
"""Voxels of a training sample at the most."""
SHORTER = {2: 0.0, 3: 0.5}
"""Part of a step, of 8 voxels say, by which a sample may fall short of the scan; slices are always
seen whole when they are segmented, so a sample must not be smaller."""
USUAL_BATCH = {2: 8, 3: 2}
FEWEST_STEPS = 300
"""Steps that a network for volumes needs before it is worth its time."""
ENOUGH_STEPS = 4000
"""Steps from which on more samples each are worth more than more steps."""
SHARE_FOR_FITTING = 0.8
"""About the part of a budget that is left for steps."""
SHARE_OF_MEMORY = 0.6
"""Of the memory that is free, the part that a training may take."""


@dataclass(frozen=True)
class TrainingPlan:
    """An experiment with nothing left open, and a sentence for each thing that was chosen.

    Parameters
    ----------
    network : of the experiment, as `build` made it.
    seen : what the training scans are like.
    """

    experiment: Experiment
    reasons: tuple[str, ...]
    network: SegmentationNetwork
    seen: Fingerprint


Build = Callable[[Experiment, int, int], SegmentationNetwork]
"""Makes the network of an experiment, for so many channels and classes."""


@verb
def plan(request: PlanRequest, job: Job) -> TrainingPlan:
    """What `train` would do with these scans, this time and this machine, and why.

    With `out`, a TOML file to edit and to give to `condyle train --config`.

    Raises
    ------
    ConfigError, DatasetError
        If a setting, the data set or the fold is wrong.
    """
    experiment = request.experiment()
    if is_engine(experiment.network.name):
        raise ConfigError(
            f"{experiment.network.name} plans in its own way, when it is trained",
            setting="network.name",
        )
    require_supported(experiment, request.plane, request.named())
    if request.out is not None:
        require_free(request.out)
    dataset = open_dataset(Path(experiment.dataset))
    fold = fold_of(dataset, experiment.fold, experiment.training.seed)
    made = plan_training(experiment, dataset, fold, job, plane=request.plane)
    if request.out is not None:
        write_text(request.out, toml_of(made))
    return made


def toml_of(plan: TrainingPlan) -> str:
    """A plan as TOML: its reasons as comments, and all settings."""
    reasons = "".join(f"# {reason}\n" for reason in plan.reasons)
    return reasons + plan.experiment.to_toml()


def plan_training(
    experiment: Experiment,
    dataset: Dataset,
    fold: Fold,
    job: Job,
    *,
    plane: Planes | None = None,
    processes: int = 1,
    build: Build | None = None,
    cases: Sequence[Case] | None = None,
) -> TrainingPlan:
    """The experiment with all that it leaves open chosen from the training scans and the machine.

    Network, preparation, inflation, sample and batch: what it gives is kept. Under a budget the
    time of a step is measured here, so that network and batch fit into the time.

    Parameters
    ----------
    plane : of the slices; wins over the experiment's preparation.
    processes : among which a batch will be shared.
    build : makes the network; None: with random weights, for its size and speed alone.
    cases : the training cases, if they are read in a way of their own.
    """
    build = build or _unweighted
    scans = _Scans(dataset, cases or dataset.select(fold.train), job)
    reasons: list[str] = []
    _require_flat(experiment, scans, plane)
    candidates, filled = _candidates(experiment, scans, plane), experiment
    network: SegmentationNetwork | None = None
    for name, why in candidates:
        filled = experiment.changed(network=experiment.network.changed(name=name))
        chosen, because = _plane(filled, scans, plane)
        filled = _with_inflation(_with_preparation(filled, scans, chosen), scans)
        network = build(filled, scans.channels, scans.classes)
        filled, pace, steps = _with_batch(_with_patch(filled, scans, network), network, processes)
        reasons += [why, *because, pace]
        if steps is None or steps >= FEWEST_STEPS or name == candidates[-1][0]:
            break
        reasons.append(f"too slow: {name} needs {FEWEST_STEPS} steps to pay off")
    assert network is not None
    for reason in reasons:
        job.note(f"plan: {reason}")
    return TrainingPlan(filled, tuple(reasons), network, scans.seen)


class _Scans:
    """The training scans; what they are like is read when first asked."""

    def __init__(self, dataset: Dataset, cases: Sequence[Case], job: Job):
        self.cases = cases
        self.classes = len(dataset.scheme) + 1
        self.channels = len(dataset.channel_names)
        self.are_pictures = is_picture(cases[0].images[0])
        self.job = job

    @cached_property
    def seen(self) -> Fingerprint:
        """What they are like."""
        return fingerprint(self.job.track("reading the scans", self.cases))

    def grids(self) -> list[Grid]:
        """The grid of each scan, along the RAS axes."""
        return [Grid.regular(case.shape, spacing=case.spacing) for case in self.seen.cases]

    def working_grids(self, recipe: Recipe) -> list[Grid]:
        """The grid of each scan as a network sees it."""
        return [recipe.working_grid(grid) for grid in self.grids()]


def _require_flat(experiment: Experiment, scans: _Scans, plane: Planes | None) -> None:
    """Raise where pictures are to be seen by a 3D network, or across their one slice."""
    if not scans.are_pictures:
        return
    name = experiment.network.name
    if name != "auto" and NetworkName.parse(name).spatial == 3:
        raise ConfigError(
            f"{name} sees volumes, and these are pictures of one slice: choose a 2D network such "
            f"as {name.removeprefix('3d:')}", setting="network.name",
        )  # fmt: skip
    plane = plane or (experiment.preparation.plane if experiment.preparation else None)
    if plane not in (None, "axial"):
        raise ConfigError(
            f"`preparation.plane` {plane} cannot be used: pictures have one slice, which is axial",
            setting="preparation.plane",
        )
    if experiment.training.hard_slices:
        raise ConfigError(
            "`training.hard_slices` cannot be used: pictures have one slice",
            setting="training.hard_slices",
        )


def _candidates(
    experiment: Experiment, scans: _Scans, plane: Planes | None
) -> list[tuple[str, str]]:
    """The networks that come into question, the first choice first, and why each does."""
    name, weights = experiment.network.name, Path(experiment.network.weights)
    if name != "auto":
        if NetworkName.parse(name).spatial == 3 and experiment.training.hard_slices:
            raise ConfigError(
                f"training.hard_slices is for networks that see slices, and {name} sees volumes: "
                f"take `network` {name.removeprefix('3d:')}, or leave hard_slices out"
            )
        return [(name, f"network {name}, as set")]
    if weights.is_dir():
        name = Segmenter.load(weights).name
        return [(name, f"network {name}, as in {weights}")]
    shape = scans.seen.shape
    size = "x".join(f"{side:.0f}" for side in shape)
    flat = f"network {FLAT}: pretrained on photographs, it needs few scans"
    if scans.are_pictures:
        return [(FLAT, f"{flat}; pictures need slices")]
    if experiment.training.hard_slices or plane:
        return [(FLAT, f"{flat}; {'a plane' if plane else 'hard slices'} needs slices")]
    if math.prod(shape) > LARGEST_PATCH[3]:
        return [(FLAT, f"{flat}; scans of {size} voxels do not fit whole into a 3D sample")]
    return [(DEEP, f"network {DEEP}: scans of {size} voxels fit whole into a sample"), (FLAT, flat)]


def _plane(
    experiment: Experiment, scans: _Scans, asked: Planes | None
) -> tuple[Planes | None, list[str]]:
    """The plane of the slices, and why; None for networks of volumes.

    Where it is not set: that of the weights or the sample that are given, axial for the ends of
    bones, and else the plane in which the scans were acquired.
    """
    given = experiment.preparation.plane if experiment.preparation else None
    weights, training = Path(experiment.network.weights), experiment.training
    network = NetworkName.parse(experiment.network.name)
    if asked or given:
        return asked or given, [f"plane {asked or given}, as set"] if network.spatial == 2 else []
    if weights.is_dir():
        earlier = Segmenter.load(weights).preprocessor.plane
        return earlier, [f"plane {earlier}, as in {weights}"] if network.spatial == 2 else []
    if network.spatial == 3 and not network.is_inflated:
        return None, []
    patch = training.patch or (0, 0, 0)
    thin: list[Planes] = [plane for plane, axis in AXIS.items() if patch[axis] == 1]
    if network.spatial == 2 and len(thin) == 1:
        return thin[0], [f"plane {thin[0]}: `training.patch` is 1 voxel thick across it"]
    if scans.are_pictures:
        return "axial", ["plane axial: pictures have no other"]
    if training.hard_slices:
        return "axial", ["plane axial: the ends of bones lie towards head and feet"]
    plane = plane_across(scans.seen.spacing)
    return plane, [_reason_of(plane, scans.seen.spacing)]


def _reason_of(plane: Plane, spacing: tuple[float, float, float]) -> str:
    """Why slices are taken in the plane that these spacings (mm, RAS) speak for."""
    sides = " x ".join(f"{side:.3g}" for side in spacing)
    if max(spacing) <= NEARLY_CUBIC * min(spacing):
        return f"plane {plane}: voxels are nearly cubic ({sides} mm), so that no plane is finer"
    across = spacing[AXIS[plane]]
    return (
        f"plane {plane}, in which the scans were acquired: voxels of {sides} mm (left-right, "
        f"back-front, feet-head) are longest across it ({across:.3g} mm)"
    )


def _with_preparation(experiment: Experiment, scans: _Scans, plane: Planes | None) -> Experiment:
    """With a preparation that suits the scans, or the one that earlier weights were fitted to."""
    if (given := experiment.preparation) is not None:
        return experiment.changed(preparation=given.changed(plane=plane or given.plane))
    if Path(experiment.network.weights).is_dir():  # its weights belong to their own recipe
        earlier = Segmenter.load(Path(experiment.network.weights))
        settings = earlier.by_recipe.settings
        return experiment.changed(preparation=settings.changed(plane=plane or settings.plane))
    spatial = NetworkName.parse(experiment.network.name).spatial
    return experiment.changed(preparation=settings_for(scans.seen, spatial, plane))


def _with_inflation(experiment: Experiment, scans: _Scans) -> Experiment:
    """With an inflation that fits the plane and the thickness of slices, if a network has one."""
    settings, inflation = experiment.preparation, experiment.network.inflation
    if settings is None or not NetworkName.parse(experiment.network.name).is_inflated:
        return experiment
    through, kept = AXIS[planes_of(Recipe(settings).plane)[-1]], inflation.keep_depth
    if kept is None:
        grid = Recipe(settings).working_grid(scans.grids()[0])
        pixel = float(np.delete(grid.spacing, through).mean())
        kept = max(round(math.log2(grid.spacing[through] / pixel)), 0)
    changed = inflation.changed(axis=2 + through, keep_depth=kept)
    return experiment.changed(network=experiment.network.changed(inflation=changed))


def _with_patch(experiment: Experiment, scans: _Scans, network: SegmentationNetwork) -> Experiment:
    """With a sample that holds the typical scan, or as much of it as is affordable.

    A network pads to its own steps, of 8 or 32 voxels say: a sample may end a little before the
    scan does, rather than be filled up by half its size.
    """
    settings, given = experiment.preparation, experiment.training.patch
    assert settings is not None
    spatial = network.spatial
    plane = Recipe(settings).plane
    turned = plane == "all"
    flat = AXIS[planes_of(plane)[-1]] if spatial == 2 else None
    if given is not None:
        if flat is not None and given[flat] != 1 and not turned:
            raise ConfigError(
                f"training.patch = {list(given)} is not 1 voxel thick across "
                f"{plane} slices: leave it out, or give the plane that it was made "
                "for"
            )
        return experiment
    grids = scans.working_grids(Recipe(settings))
    sides = np.median([grid.shape for grid in grids], axis=0)
    if flat is not None:
        if turned:
            sides[:] = sides.max()
        sides[flat] = 1
    shrink = (LARGEST_PATCH[spatial] / np.prod(sides)) ** (1 / spatial)
    if shrink < 1:
        sides = np.where(np.arange(3) == flat, 1, sides * shrink)
    multiple = network.multiple
    if isinstance(multiple, int):
        multiple = (32 if spatial == 2 else 8,) * 3
    patch = tuple(
        1 if axis == flat else max(math.ceil(side / step - SHORTER[spatial]), 1) * step
        for axis, (side, step) in enumerate(zip(sides, multiple, strict=True))
    )
    return experiment.changed(training=experiment.training.changed(patch=patch))


def _with_batch(
    experiment: Experiment, network: SegmentationNetwork, processes: int
) -> tuple[Experiment, str, float | None]:
    """With a batch, what a step of it takes, and how many fit into the budget, if there is one."""
    training = experiment.training
    assert training.patch is not None
    sides = tuple(side for side in training.patch if side > 1 or network.spatial == 3)
    share = math.ceil((training.batch or USUAL_BATCH[network.spatial] * processes) / processes)
    fixed, a_sample = memory_of_step(network, sides, training)
    free = memory_here(pick_device(experiment.device))
    if training.batch is None and free:
        while share > 1 and fixed + a_sample * share > SHARE_OF_MEMORY * free:
            share //= 2
    seconds = seconds_of_step(network, sides, share, training, experiment.device)
    steps = SHARE_FOR_FITTING * training.budget / seconds if training.budget else None
    if training.batch is None and steps is not None and steps > 2 * ENOUGH_STEPS:
        share, seconds, steps = 2 * share, 2 * seconds, steps / 2
    batch = training.batch or share * processes
    pace = (
        f"a step of {batch} samples of {'x'.join(map(str, sides))} takes about {seconds:.2g} s and "
        f"{(fixed + a_sample * share) / 2**30:.1f} GiB of {free / 2**30:.0f}"
    )
    if steps is not None:
        pace += f"; about {steps:.0f} of them fit into the budget"
    return experiment.changed(training=training.changed(batch=batch)), pace, steps


def _unweighted(experiment: Experiment, channels: int, classes: int) -> SegmentationNetwork:
    """The network in its shape, with random weights."""
    settings = experiment.network
    return networks.build(
        settings.name, channels, classes, "none", settings.deep_supervision, settings.inflation
    )[0]
