"""One step of gradient descent, and of the running average of the weights behind it."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from timm.layers.drop import DropPath
from torch import Tensor, nn

from condyle.config import Network, Training
from condyle.errors import OutOfMemory
from condyle.networks import SegmentationNetwork
from condyle.networks.seeds import seeded
from condyle.train.losses import IGNORE, build_loss
from condyle.train.schedule import rate_factor

__all__ = ["Step", "Tally"]

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.99, nesterov=True),
}
LARGEST_GRADIENT = 12.0
"""Gradients are scaled down to this norm, nnU-Net's value."""


DRAWING = (nn.modules.dropout._DropoutNd, DropPath)  # pyright: ignore[reportPrivateUsage]  all dropouts
"""Layers that draw random numbers while they are trained."""


class Step:
    """Moves a network's weights against the gradient of a batch, and their average after them.

    Parameters
    ----------
    fabric : the device, the precision, and the processes among which gradients are averaged.
    network : what is fitted.
    average : its copy that follows the weights slowly.
    class_weights : (classes,) how much each counts in the loss; None: alike.
    """

    def __init__(
        self, fabric: Fabric, network: SegmentationNetwork, average: nn.Module,
        training: Training, network_settings: Network, class_weights: Tensor | None = None,
    ):  # fmt: skip
        self.fabric, self.network, self.training = fabric, network, training
        self.optimizer = _optimizer(network, training, network_settings)
        self.wrapped, self.wrapped_optimizer = fabric.setup(network, self.optimizer)
        self.loss = build_loss(training.loss, class_weights)
        theirs, mine = network.state_dict(), average.state_dict()
        smooth = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        self.smooth = [mine[n] for n in smooth], [theirs[n] for n in smooth]
        self.whole = [(mine[n], theirs[n]) for n in mine if n not in set(smooth)]
        self.tally = Tally()
        self.draws = any(isinstance(m, DRAWING) for m in network.modules())

    def __call__(
        self, image: Tensor, target: Tensor, at: int, progress: float, epoch: int = 0
    ) -> float:
        """The loss of step number `at`; no number where the gradient was none, and nothing moved.

        Raises
        ------
        OutOfMemory
            If the batch does not fit into memory.
        """
        for group in self.optimizer.param_groups:
            factor = rate_factor(self.training, progress, epoch)
            group["lr"] = self.training.rate * group["part"] * factor
        # what is random inside the network depends on the step alone, as the samples do
        seed = self.training.seed + 1_000_003 * at + self.fabric.global_rank
        try:
            with seeded(seed) if self.draws else nullcontext():
                return self._descended(image, target, at, progress)
        except (MemoryError, RuntimeError) as error:
            if not _says_out_of_memory(error):
                raise
            self.optimizer.zero_grad()
            raise OutOfMemory(
                f"a batch of {len(image)} samples of {tuple(image.shape[2:])} does not fit into "
                "memory: give a smaller `training.batch` or `preparation.size`, or a smaller "
                "`network.name`"
            ) from error

    def _descended(self, image: Tensor, target: Tensor, at: int, progress: float) -> float:
        image = image.to(self.fabric.device, memory_format=self.network.memory_format)
        target = target.to(self.fabric.device)
        scores = self.wrapped(image)
        loss = self.loss(scores, target, progress)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.wrapped, self.wrapped_optimizer, max_norm=LARGEST_GRADIENT,
            error_if_nonfinite=False,
        )  # fmt: skip
        if norm is not None and not torch.isfinite(norm):
            self.optimizer.zero_grad()
            return math.nan
        self.wrapped_optimizer.step()
        self.optimizer.zero_grad()
        self._follow(at)
        self.tally.add(scores[0] if isinstance(scores, tuple) else scores, target)
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
        torch._foreach_lerp_(*self.smooth, part)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]  no public name
        for mine, theirs in self.whole:
            mine.copy_(theirs)


class Tally:
    """Counts how scores and targets overlap, class by class, over many batches."""

    def __init__(self) -> None:
        self.counts: Tensor | None = None

    @torch.no_grad()
    def add(self, scores: Tensor, target: Tensor) -> None:
        """Count a batch: scores (B, classes, ...) and class indices (B, ...)."""
        classes = scores.shape[1]
        known = target != IGNORE
        found = scores.movedim(1, -1).contiguous().argmax(dim=-1)  # 8 times as fast as in place
        pairs = (target * classes + found)[known]
        counts = pairs.flatten().bincount(minlength=classes**2).view(classes, classes)
        self.counts = counts if self.counts is None else self.counts + counts

    def take(self) -> dict[str, float]:
        """Mean Dice and IoU over the structures that occurred since the last time."""
        if self.counts is None:
            return {}
        counts = self.counts.double()
        self.counts = None
        shared = counts.diagonal()[1:]
        both = counts.sum(0)[1:] + counts.sum(1)[1:]
        there = both > 0
        if not there.any():
            return {}
        dice = 2 * shared[there] / both[there]
        return {"dice": float(dice.mean()), "iou": float((dice / (2 - dice)).mean())}


def _optimizer(
    network: SegmentationNetwork, training: Training, network_settings: Network
) -> torch.optim.Optimizer:
    """The optimizer over two groups of weights: the encoder at its own rate, and the rest."""
    encoder = {id(p) for p in network.encoder.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": list(network.encoder.parameters()), "part": network_settings.encoder_rate},
        {"params": [p for p in network.parameters() if id(p) not in encoder], "part": 1.0},
    ]
    build = OPTIMIZERS[training.optimizer]
    return build(groups, lr=training.rate, weight_decay=training.weight_decay, fused=True)


def _says_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out; on a CPU torch has no kind of its own for it."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(w in said for w in words)
