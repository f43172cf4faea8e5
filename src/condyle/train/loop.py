"""The one loop that trains everything."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from lightning_fabric import Fabric
from torch import Tensor, nn

from condyle.config import Network, Training
from condyle.errors import OutputError, TrainingFailed, TrainingPaused
from condyle.jobs.job import warn
from condyle.networks import SegmentationNetwork
from condyle.networks.device import moved
from condyle.train import checkpoint
from condyle.train.batches import Batches
from condyle.train.devices import fabric_for
from condyle.train.history import History, Moment
from condyle.train.schedule import DEFAULT_EPOCHS, Clock, rate_factor
from condyle.train.step import Step

__all__ = ["fit", "steps_per_epoch"]


LOOKING_SHARE = 0.04
"""Under a budget, at most this part of the time goes into looking at validation cases."""
SAVING_SECONDS = 120.0
"""Within an epoch a checkpoint is written when the last one is so old."""
CALM = 0.05
"""Where the rate falls below this part at the end, the last weights are the best to be expected."""
MISSTEPS = 5
"""Steps in a row that may come to nothing, before the training ends."""

Validate = Callable[[nn.Module], dict[str, float]]


def steps_per_epoch(batch: int, samples: int, asked: int | Literal["all"] | None = None) -> int:
    """As many steps as were asked for; all: so many that they see as many samples as there are.

    None: the same, but between 10 and 250.
    """
    if isinstance(asked, int):
        return asked
    enough = max(math.ceil(samples / batch), 1)
    return enough if asked == "all" else min(max(enough, 10), 250)


@dataclass
class _Place:
    """Where a training is: enough, with the weights, to go on from there."""

    epoch: int = 0
    done: int = 0
    """Steps of this epoch."""
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list[float])
    history: History = field(default_factory=History)

    def note(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, note: dict[str, Any]) -> _Place:
        """The place that a note tells of."""
        history = History(**note.pop("history"))
        return cls(**note, history=history)


def fit(
    network: SegmentationNetwork,
    batches: Batches,
    training: Training,
    network_settings: Network,
    *,
    steps: int,
    seconds: float | None,
    folder: Path,
    validate: Validate | None = None,
    class_weights: Tensor | None = None,
    fabric: Fabric | None = None,
    resume: bool = False,
    on_step: Callable[[Moment], None] = lambda moment: None,
    on_epoch: Callable[[Mapping[str, float]], None] = lambda row: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> History:
    """Fit the network's weights in place; at the end it holds the best ones, on the CPU.

    Parameters
    ----------
    network, batches : what is fitted, and to what.
    training, network_settings : the settings.
    steps : steps an epoch.
    seconds : wall time for fitting under a budget; None: the settings' epochs.
    folder : for the checkpoints last.safetensors and earlier.safetensors.
    validate : the validation scores of a network, with the one that `training.best_by` names
        among them; None: the last weights win. 'error' is the standard error of that one: where
        the rate falls to nothing, the last weights win too unless others were better by more.
    class_weights : (classes,) how much each counts in the loss; None: alike.
    fabric : of `fabric_for`; None: the fastest device here.
    resume : go on from the last checkpoint, if there is one.
    on_step : is called after every step.
    on_epoch : is called with the figures of every epoch, before they are in a checkpoint: after an
        interruption the last epoch may come again.
    cancelled : whether the training was asked to end; it then does as after a signal.

    Raises
    ------
    TrainingFailed
        If the loss is no number for several steps; the last good checkpoint is kept.
    OutOfMemory
        If a batch does not fit into memory.
    TrainingPaused
        If SIGTERM or SIGUSR1 came (a cluster wants the machine back), or the job was
        cancelled; a checkpoint is written.
    """
    fabric = fabric or fabric_for()
    moved(network, fabric.device)
    average, best = copy.deepcopy(network), copy.deepcopy(network)
    step = Step(fabric, network, average, training, network_settings, class_weights)
    networks = {"network": network, "average": average, "best": best}
    saver = _Saver(fabric, folder, networks, step)
    at = saver.resumed() if resume else _Place()
    total = None if seconds else (training.epochs or DEFAULT_EPOCHS) * steps
    clock = Clock(total, seconds, at.seconds)
    looking, missteps = _Looking(fabric, clock), 0

    with _asked_to_stop(cancelled) as is_asked:
        while not at.history.stopped:
            _freeze(network, network_settings, at.epoch)
            for image, target in batches.epoch(at.epoch, steps, at.done):
                number = at.epoch * steps + at.done
                progress, stop = fabric.broadcast((clock.progress(number), is_asked()))
                loss = step(image, target, number, progress, at.epoch)
                missteps = 0 if math.isfinite(loss) else missteps + 1
                if missteps == MISSTEPS:
                    raise TrainingFailed(
                        f"the loss became {loss} in epoch {at.epoch}: lower training.rate; "
                        f"the last good checkpoint is in {folder}"
                    )
                at.losses += [loss] if math.isfinite(loss) else []
                at.done += 1
                at.seconds = clock.elapsed
                if stop or (at.done < steps and not missteps and saver.is_due()):
                    saver.save(at)
                if stop:
                    raise TrainingPaused(
                        f"stopped after {number + 1} steps, on request; the state is kept in "
                        f"{folder}: "
                        "go on with `resume`"
                    )
                progress = clock.progress(number + 1)
                left = clock.seconds_left(number + 1)
                on_step(Moment(at.epoch, number + 1, progress, left, loss, at.history.best_dice))
                if fabric.broadcast(progress) >= 1:
                    break
            number = (at.epoch + 1) * steps
            scores = looking.at(average, validate, last=clock.progress(number) >= 1)
            row = {"epoch": float(at.epoch), "seconds": round(clock.elapsed, 2)}
            row |= {"rate": step.rate, "loss": _mean(at.losses), **step.tally.take()}
            error = scores.pop("error", 0.0)
            row |= {f"validation_{name}": value for name, value in scores.items()}
            if at.history.add(row, scores, training.best_by, error):
                best.load_state_dict(average.state_dict())
            on_epoch(row)
            at = _Place(at.epoch + 1, 0, clock.elapsed, [], at.history)
            reason = _reason_to_stop(clock, number, at.history, training)
            at.history.stopped = fabric.broadcast(reason)
            if not missteps:
                saver.save(at)

    calm = rate_factor(training, clock.progress(at.epoch * steps), at.epoch) < CALM
    network.load_state_dict(_settled(at.history, calm, best, average).state_dict())
    network.drop_supervision()
    network.requires_grad_(True).to("cpu").eval()
    return at.history


class _Saver:
    """Writes checkpoints, from the first process alone; a full disk costs the checkpoint only."""

    def __init__(self, fabric: Fabric, folder: Path, networks: Mapping[str, nn.Module], step: Step):
        self.fabric, self.folder, self.networks, self.step = fabric, folder, networks, step
        self.saved = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last checkpoint is old."""
        return time.monotonic() - self.saved > SAVING_SECONDS

    def save(self, at: _Place) -> None:
        """Write where the training is, with all weights."""
        self.saved = time.monotonic()
        if not self.fabric.is_global_zero:
            return
        try:
            checkpoint.save_last(self.folder, self.networks, self.step.optimizer, at.note())
        except OutputError as error:
            warn(f"{error}; the training goes on, and the checkpoint before is kept")
        else:
            if at.history.stopped:
                checkpoint.drop_earlier(self.folder)

    def resumed(self) -> _Place:
        """Where the last checkpoint was, its weights loaded; the start, if there is none."""
        note = checkpoint.load_last(self.folder, self.networks, self.step.optimizer)
        return _Place.of(note) if note else _Place()


@contextmanager
def _asked_to_stop(cancelled: Callable[[], bool]) -> Generator[Callable[[], bool]]:
    """Whether SIGTERM or SIGUSR1 came meanwhile, where they can be caught, or it was cancelled."""
    asked = threading.Event()
    names = [name for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []  # Python gives signals to its first thread alone

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = {name: signal.signal(getattr(signal, name), ask) for name in names}
    try:
        yield lambda: asked.is_set() or cancelled()
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


class _Looking:
    """Decides when the validation cases are looked at: each epoch, or so that it stays cheap."""

    def __init__(self, fabric: Fabric, clock: Clock):
        self.fabric, self.clock = fabric, clock
        self.last_end, self.cost = clock.elapsed, 0.0

    def at(self, network: nn.Module, validate: Validate | None, last: bool) -> dict[str, float]:
        """The scores, or none where it is not yet time to look; the first process looks."""
        scores: dict[str, float] = {}
        since = self.clock.elapsed - self.last_end
        due = self.clock.seconds is None or last or since * LOOKING_SHARE >= self.cost
        if validate is not None and due and self.fabric.is_global_zero:
            started = time.monotonic()
            network.eval()
            scores = validate(network)
            self.cost, self.last_end = time.monotonic() - started, self.clock.elapsed
        return self.fabric.broadcast(scores)


def _reason_to_stop(clock: Clock, step: int, history: History, training: Training) -> str:
    """Why the training ends after this epoch; '' if it goes on."""
    if clock.progress(step) >= 1:
        return "the budget is used" if clock.seconds else "all epochs are done"
    if not clock.seconds and training.patience and history.since_best >= training.patience:
        return f"validation {training.best_by} has not improved for {training.patience} epochs"
    return ""


def _settled(history: History, calm: bool, best: nn.Module, average: nn.Module) -> nn.Module:
    """The network that a training ends with: the last, if all has become calm and it is as good."""
    if history.best_epoch < 0:
        return average
    if calm and history.last_is_as_good:
        history.take_last()
        return average
    return best


def _freeze(network: SegmentationNetwork, network_settings: Network, epoch: int) -> None:
    """Keep the encoder, its norms too, as it is until its epoch has come."""
    after = (
        network_settings.unfreeze_after if network_settings.unfreeze_after is not None else math.inf
    )
    frozen = network_settings.freeze == "encoder" and epoch < after
    network.train()
    network.encoder.train(not frozen)
    network.encoder.requires_grad_(not frozen)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
