"""What training makes small: one table of losses on scores (B, classes, i, j[, k])."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from condyle.errors import UnknownName

__all__ = ["LOSSES", "Loss", "build_loss", "soft_dice"]

Loss = Callable[[Tensor, Tensor], Tensor]


def soft_dice(scores: Tensor, target: Tensor) -> Tensor:
    """1 - mean soft Dice of the structures over the whole batch; a structure absent from both is 1.

    Parameters
    ----------
    scores : (B, classes, i, j[, k]), before softmax.
    target : (B, i, j[, k]) class indices, 0 for background, which is left out of the mean.
    """
    probabilities = scores.softmax(dim=1)
    truth = one_hot(target, scores.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    over = [axis for axis in range(probabilities.ndim) if axis != 1]
    shared = (probabilities * truth).sum(over)[1:]
    total = (probabilities + truth).sum(over)[1:]
    return 1 - ((2 * shared + 1e-5) / (total + 1e-5)).mean()


def dice_and_cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    """The sum of soft Dice loss and cross-entropy, nnU-Net's choice (Isensee et al. 2021)."""
    return soft_dice(scores, target) + cross_entropy(scores, target)


LOSSES: dict[str, Loss] = {
    "ce": cross_entropy,
    "dice": soft_dice,
    "dice+ce": dice_and_cross_entropy,
}


def build_loss(name: str) -> Loss:
    """The loss of this name, computed in float32."""
    if name not in LOSSES:
        raise UnknownName("loss", name, LOSSES)
    loss = LOSSES[name]
    return lambda scores, target: loss(scores.float(), target.to(torch.int64))
