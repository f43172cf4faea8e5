"""What training makes small: one table of losses on scores (B, classes, i, j[, k])."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from condyle.errors import UnknownName

__all__ = ["LOSSES", "Loss", "build_loss", "soft_dice"]

Loss = Callable[[Tensor, Tensor, float], Tensor]


def soft_dice(scores: Tensor, target: Tensor) -> Tensor:
    """1 - mean soft Dice, over the whole batch, of the structures that its truth holds.

    A structure that is nowhere in the batch is left out: its Dice would be 0 for any trace of it,
    which teaches a network never to try thin bones. Without any structure the loss is 0.

    Parameters
    ----------
    scores : (B, classes, i, j[, k]), before softmax.
    target : (B, i, j[, k]) class indices, 0 for background, which is left out of the mean.
    """
    probabilities = scores.softmax(dim=1)
    truth = one_hot(target, scores.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    over = [axis for axis in range(probabilities.ndim) if axis != 1]
    shared = (probabilities * truth).sum(over)[1:]
    sizes = truth.sum(over)[1:]
    dice = 2 * shared / (probabilities.sum(over)[1:] + sizes).clamp(min=1e-5)
    there = (sizes > 0).to(dice.dtype)
    return ((1 - dice) * there).sum() / there.sum().clamp(min=1)


def faded_cross_entropy(scores: Tensor, target: Tensor, progress: float) -> Tensor:
    """Cross-entropy that lets rare classes count for more, less so from step to step.

    At first a class counts with the root of its share of the batch's voxels, so that thin bones
    are found soon; from half of the training on all voxels count alike, so that nothing comes
    out too thick in the end.
    """
    power = 0.5 * max(0.0, 1 - progress / 0.5)
    counts = target.flatten().bincount(minlength=scores.shape[1]).to(scores.dtype)
    weight = (counts.sum() / counts.clamp(min=1)) ** power
    return cross_entropy(scores, target, weight=weight)


LOSSES: dict[str, Loss] = {
    "ce": lambda scores, target, progress: cross_entropy(scores, target),
    "dice": lambda scores, target, progress: soft_dice(scores, target),
    "dice+ce": lambda scores, target, progress: (
        soft_dice(scores, target) + cross_entropy(scores, target)
    ),
    "dice+faded_ce": lambda scores, target, progress: (
        soft_dice(scores, target) + faded_cross_entropy(scores, target, progress)
    ),
}
"""Name -> loss of scores, target and progress (0 to 1). dice+ce is nnU-Net's choice (Isensee et
al. 2021, doi 10.1038/s41592-020-01008-z)."""


def build_loss(name: str) -> Loss:
    """The loss of this name, computed in float32; the mean over several scores, if given such."""
    if name not in LOSSES:
        raise UnknownName("loss", name, LOSSES)
    loss = LOSSES[name]

    def mean_loss(scores: Tensor | tuple[Tensor, ...], target: Tensor, progress: float) -> Tensor:
        every = scores if isinstance(scores, tuple) else (scores,)
        whole = target.to(torch.int64)
        return torch.stack([loss(one.float(), whole, progress) for one in every]).mean()

    return mean_loss
