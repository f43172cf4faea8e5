"""The one loop that trains everything."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from condyle.config import Network, Training
from condyle.errors import TrainingFailed
from condyle.networks import SegmentationNetwork
from condyle.networks.device import bf16_pays, pick_device
from condyle.train import checkpoint
from condyle.train.batches import Batches
from condyle.train.history import History, Moment
from condyle.train.losses import build_loss
from condyle.train.schedule import DEFAULT_EPOCHS, Clock, rate_factor

__all__ = ["fit", "steps_per_epoch"]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.99, nesterov=True),
}
LARGEST_GRADIENT = 12.0
"""Gradients are scaled down to this norm, nnU-Net's value."""
LOOKING_SHARE = 0.1
"""Under a budget, at most this part of the time goes into looking at validation cases."""

Validate = Callable[[nn.Module], dict[str, float]]


def steps_per_epoch(batch: int, samples: int) -> int:
    """Steps that see about as many samples as there are, between 10 and 250."""
    return min(max(math.ceil(samples / batch), 10), 250)


def fit(
    network: SegmentationNetwork,
    batches: Batches,
    training: Training,
    rules: Network,
    *,
    steps: int,
    seconds: float | None,
    folder: Path,
    validate: Validate | None = None,
    device: str = "auto",
    resume: bool = False,
    on_step: Callable[[Moment], None] = lambda moment: None,
) -> History:
    """Fit the network's weights in place; at the end it holds the best ones, on the CPU.

    Parameters
    ----------
    network, batches : what is fitted, and to what.
    training, rules : the settings.
    steps : steps an epoch.
    seconds : wall time for fitting under a budget; None: the settings' epochs.
    folder : for the checkpoints last.safetensors and best.safetensors.
    validate : the validation scores of a network, 'dice' among them; None: the last weights win.
    resume : go on from the last checkpoint, if there is one.
    on_step : is told about every step.

    Raises
    ------
    TrainingFailed
        If the loss is no number any more; the last good checkpoint is kept.
    """
    fabric = _fabric(device)
    network.to(fabric.device, memory_format=network.memory_format)  # pyright: ignore[reportCallIssue]  torch's stub lacks it
    average = copy.deepcopy(network)
    optimizer = _optimizer(network, training, rules)
    history, epoch, spent = History(), 0, 0.0
    if resume and (folder / "last.safetensors").is_file():
        history, epoch, spent = _resumed(folder, network, average, optimizer)
    total = None if seconds else (training.epochs or DEFAULT_EPOCHS) * steps
    clock = Clock(total, seconds, spent)
    looking = _Looking(clock)
    step = _Step(fabric, network, average, optimizer, training)

    while not history.stopped:
        _freeze(network, rules, epoch)
        losses: list[float] = []
        for at, (image, target) in enumerate(batches.epoch(epoch, steps), epoch * steps):
            losses.append(step(image, target, at, clock.progress(at)))
            if not math.isfinite(losses[-1]):
                raise TrainingFailed(
                    f"the loss became {losses[-1]} in epoch {epoch}: lower training.rate; "
                    f"the last good checkpoint is in {folder}"
                )
            progress = clock.progress(at + 1)
            left = clock.seconds_left(at + 1)
            on_step(Moment(epoch, at + 1, progress, left, losses[-1], history.best_dice))
            if progress >= 1:
                break
        scores = looking.at(average, validate, last=clock.progress((epoch + 1) * steps) >= 1)
        row = {"epoch": float(epoch), "seconds": round(clock.elapsed, 2), "rate": step.rate}
        row |= {"loss": sum(losses) / len(losses)}
        row |= {f"validation_{name}": value for name, value in scores.items()}
        best = history.add(row, scores.get("dice"))
        epoch += 1
        history.stopped = _reason_to_stop(clock, epoch * steps, history, training)
        if best:
            checkpoint.save_network(folder / "best.safetensors", average)
        note = {"epoch": epoch, "seconds": clock.elapsed, "history": asdict(history)}
        networks = {"network": network, "average": average}
        checkpoint.save(folder / "last.safetensors", networks, optimizer, note)

    network.load_state_dict(average.state_dict())
    if history.best_epoch >= 0:
        checkpoint.load_network(folder / "best.safetensors", network)
    network.drop_supervision()
    network.requires_grad_(True).to("cpu").eval()
    return history


def _fabric(device: str) -> Fabric:
    """One device, in bfloat16 where that is faster."""
    where = pick_device(device)
    return Fabric(
        accelerator=where.type,
        devices=[where.index or 0] if where.type == "cuda" else 1,
        precision="bf16-mixed" if bf16_pays(where) else "32-true",
    )


def _optimizer(
    network: SegmentationNetwork, training: Training, rules: Network
) -> torch.optim.Optimizer:
    """The optimizer over two groups of weights: the encoder at its own rate, and the rest."""
    encoder = {id(p) for p in network.encoder.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": list(network.encoder.parameters()), "part": rules.encoder_rate},
        {"params": [p for p in network.parameters() if id(p) not in encoder], "part": 1.0},
    ]
    build = OPTIMIZERS[training.optimizer]
    return build(groups, lr=training.rate, weight_decay=training.weight_decay)


class _Step:
    """One step of gradient descent, and of the running average behind it."""

    def __init__(
        self, fabric: Fabric, network: SegmentationNetwork, average: nn.Module,
        optimizer: torch.optim.Optimizer, training: Training,
    ):  # fmt: skip
        self.fabric, self.network, self.average, self.training = fabric, network, average, training
        self.wrapped, self.optimizer = fabric.setup(network, optimizer)
        self.loss = build_loss(training.loss)

    def __call__(
        self, image: torch.Tensor, target: torch.Tensor, at: int, progress: float
    ) -> float:
        for group in self.optimizer.param_groups:
            factor = rate_factor(self.training, progress)
            group["lr"] = self.training.rate * group["part"] * factor
        image = image.to(self.fabric.device, memory_format=self.network.memory_format)
        loss = self.loss(self.wrapped(image), target.to(self.fabric.device), progress)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.wrapped, self.optimizer, max_norm=LARGEST_GRADIENT, error_if_nonfinite=False
        )
        if norm is not None and not torch.isfinite(norm):
            return math.nan  # before the weights are spoilt
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._follow(at)
        return float(loss.item())

    @property
    def rate(self) -> float:
        """The decoder's learning rate of the last step."""
        return float(self.optimizer.param_groups[-1]["lr"])

    @torch.no_grad()
    def _follow(self, at: int) -> None:
        """Move the average a little towards the network: further in the first steps."""
        decay = self.training.ema
        part = 1 - min(decay, (1 + at) / (10 + at)) if decay else 1.0
        theirs = self.network.state_dict()
        for name, mine in self.average.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name], part)
            else:
                mine.copy_(theirs[name])


class _Looking:
    """Decides when the validation cases are looked at: each epoch, or so that it stays cheap."""

    def __init__(self, clock: Clock):
        self.clock, self.last_end, self.cost = clock, clock.elapsed, 0.0

    def at(self, network: nn.Module, validate: Validate | None, last: bool) -> dict[str, float]:
        """The scores, or none where it is not yet time to look."""
        since = self.clock.elapsed - self.last_end
        due = self.clock.seconds is None or last or since * LOOKING_SHARE >= self.cost
        if validate is None or not due:
            return {}
        started = time.monotonic()
        network.eval()
        scores = validate(network)
        self.cost, self.last_end = time.monotonic() - started, self.clock.elapsed
        return scores


def _reason_to_stop(clock: Clock, step: int, history: History, training: Training) -> str:
    """Why the training ends after this epoch; '' if it goes on."""
    if clock.progress(step) >= 1:
        return "the budget is used" if clock.seconds else "all epochs are done"
    if not clock.seconds and training.patience and history.since_best >= training.patience:
        return f"validation Dice has not risen for {training.patience} epochs"
    return ""


def _freeze(network: SegmentationNetwork, rules: Network, epoch: int) -> None:
    """Keep the encoder, its norms too, as it is until its epoch has come."""
    after = rules.unfreeze_after if rules.unfreeze_after is not None else math.inf
    frozen = rules.freeze == "encoder" and epoch < after
    network.train()
    network.encoder.train(not frozen)
    network.encoder.requires_grad_(not frozen)


def _resumed(
    folder: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[History, int, float]:
    """History, next epoch and seconds spent of the last checkpoint, whose weights are loaded."""
    networks = {"network": network, "average": average}
    progress = checkpoint.load(folder / "last.safetensors", networks, optimizer)
    return History(**progress["history"]), int(progress["epoch"]), float(progress["seconds"])
