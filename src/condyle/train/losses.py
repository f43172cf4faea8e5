"""What training makes small: one table of losses on scores (B, classes, i, j[, k])."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from condyle.errors import ConfigError, UnknownName
from condyle.train.sampling import IGNORE

__all__ = ["IGNORE", "LOSSES", "Loss", "build_loss", "class_weights", "soft_dice", "soft_iou"]

Loss = Callable[[Tensor | tuple[Tensor, ...], Tensor, float], Tensor]
"""Of scores, or several of one target, the target, and the progress of the training, 0 to 1."""
Part = Callable[[Tensor, Tensor, float, Tensor | None], Tensor]
"""Of scores, target, progress and the weight of each class; None: all count alike."""


def soft_dice(scores: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """1 - mean soft Dice, over the whole batch, of the structures that its truth holds.

    A structure that is nowhere in the batch is left out: its Dice would be 0 for any trace of it,
    which teaches a network never to try thin bones. Without any structure the loss is 0.

    Parameters
    ----------
    scores : (B, classes, i, j[, k]), before softmax.
    target : (B, i, j[, k]) class indices, 0 for background, which is left out of the mean;
        voxels of `IGNORE` take no part.
    weights : (classes,) of the mean; None: all structures count alike.
    """
    shared, found, there = _sums(scores, target)
    return _loss_of_ratio(2 * shared / (found + there).clamp(min=1e-5), there, weights)


def soft_iou(scores: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """1 - mean soft intersection over union (Jaccard); else as `soft_dice`."""
    shared, found, there = _sums(scores, target)
    return _loss_of_ratio(shared / (found + there - shared).clamp(min=1e-5), there, weights)


def _sums(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Voxels of each structure (classes - 1,): found and true, found, true."""
    probabilities = scores.softmax(dim=1)
    truth = _one_hot(target, probabilities)
    known = (target != IGNORE)[:, None]
    over = [axis for axis in range(scores.ndim) if axis != 1]
    sums = ((probabilities * truth).sum(over), (probabilities * known).sum(over), truth.sum(over))
    return sums[0][1:], sums[1][1:], sums[2][1:]


def _one_hot(target: Tensor, like: Tensor) -> Tensor:
    """1 in the channel of each voxel's class, else 0; 0 in all where it is to be ignored."""
    known = target != IGNORE
    index = target.where(known, 0)[:, None]
    return torch.zeros_like(like).scatter_(1, index, known[:, None].to(like.dtype))


def _loss_of_ratio(ratio: Tensor, there: Tensor, weights: Tensor | None) -> Tensor:
    """1 - mean ratio of the structures that are there, by weight."""
    counted = (there > 0).to(ratio.dtype) * (1 if weights is None else weights[1:])
    total = counted.sum()
    return ((1 - ratio) * counted).sum() / total.where(total > 0, 1)


def _mean(values: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over voxels (B, i, j[, k]), each with its class's weight; 0 if all are to be ignored."""
    known = target != IGNORE
    counted = known.to(values.dtype)
    if weights is not None:
        counted = counted * weights[target.where(known, 0)]
    total = counted.sum()
    return (values * counted).sum() / total.where(total > 0, 1)


def _by_voxel(scores: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each voxel (B, i, j[, k]); 0 where it is to be ignored."""
    return cross_entropy(scores, target, reduction="none", ignore_index=IGNORE)


def focal(scores: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of (1 - p)^2 times -log p, p being the probability given to a voxel's true class.

    What is right already counts for little (Lin et al. 2017, doi 10.1109/ICCV.2017.324; gamma 2).
    """
    entropy = _by_voxel(scores, target)
    return _mean(torch.expm1(-entropy) ** 2 * entropy, target, weights)


def each_against_all(scores: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of each structure against all else, mean over voxels and structures.

    It is that of the softmax, which segmenting uses as well, and with one structure the
    cross-entropy itself.
    """
    log_is = scores.log_softmax(dim=1)
    top = scores.argmax(dim=1, keepdim=True)
    # 1 - p loses all its digits where p is near 1, which only the highest score's can be
    rest = log_is.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    log_is_not = torch.log1p(-log_is.exp().scatter(1, top, 0)).scatter(1, top, rest)
    truth = _one_hot(target, scores)
    entropy = -(truth * log_is + (1 - truth) * log_is_not)[:, 1:]
    shares = scores.new_ones(scores.shape[1] - 1) if weights is None else weights[1:]
    return _mean(entropy.movedim(1, -1) @ (shares / shares.sum()), target, None)


def faded_cross_entropy(
    scores: Tensor, target: Tensor, progress: float, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy that lets rare classes count for more, less so from step to step.

    At first a class counts with the root of its share of the batch's voxels, so that thin bones
    are found soon; from half of the training on all voxels count alike, so that nothing comes
    out too thick in the end.
    """
    power = 0.5 * max(0.0, 1 - progress / 0.5)
    classes = scores.shape[1]
    counts = target.flatten().bincount(minlength=classes)[:classes].to(scores.dtype)
    rarity = (counts.sum() / counts.clamp(min=1)) ** power
    return _mean(_by_voxel(scores, target), target, rarity if weights is None else rarity * weights)


def _steady(part: Callable[[Tensor, Tensor, Tensor | None], Tensor]) -> Part:
    """A part that stays the same from start to end."""
    return lambda scores, target, progress, weights: part(scores, target, weights)


DICE, IOU = _steady(soft_dice), _steady(soft_iou)
CROSS_ENTROPY: Part = _steady(lambda s, t, w: _mean(_by_voxel(s, t), t, w))
FOCAL, BINARY = _steady(focal), _steady(each_against_all)

LOSSES: dict[str, tuple[Part, ...]] = {
    "ce": (CROSS_ENTROPY,),
    "dice": (DICE,),
    "iou": (IOU,),
    "focal": (FOCAL,),
    "bce+dice": (BINARY, DICE),
    "dice+focal": (DICE, FOCAL),
    "dice+iou": (DICE, IOU),
    "dice+ce": (DICE, CROSS_ENTROPY),
    "dice+faded_ce": (DICE, faded_cross_entropy),
}
"""Name -> what is summed up, in equal parts. dice+ce is nnU-Net's choice (Isensee et al. 2021, doi
10.1038/s41592-020-01008-z)."""


def build_loss(name: str, class_weights: Tensor | None = None) -> Loss:
    """The loss of this name, computed in float32; the mean over several scores, if given such.

    Parameters
    ----------
    name : one of `LOSSES`.
    class_weights : (classes,) how much each counts, background first; None: all alike.
    """
    if name not in LOSSES:
        raise UnknownName("loss", name, LOSSES)
    return partial(_mean_loss, LOSSES[name], class_weights)


def _mean_loss(
    parts: tuple[Part, ...], weights: Tensor | None, scores: Tensor | tuple[Tensor, ...],
    target: Tensor, progress: float,
) -> Tensor:  # fmt: skip
    every = scores if isinstance(scores, tuple) else (scores,)
    whole = target.to(torch.int64)
    if weights is not None:
        weights = weights.to(every[0].device, torch.float32)
    losses = [part(one.float(), whole, progress, weights) for one in every for part in parts]
    return torch.stack(losses).sum() / len(every)


def class_weights(weights: Mapping[str, float], names: Sequence[str]) -> Tensor | None:
    """(classes,) the weight of background and each structure; None where none is given.

    Parameters
    ----------
    weights : by name, as in `training.class_weights`; who is not named counts 1.
    names : of the structures, in the order of the network's classes 1, 2, ...

    Examples
    --------
    >>> class_weights({"fibula": 3}, ["tibia", "fibula"])
    tensor([1., 1., 3.])
    """
    known = ["background", *names]
    if strange := [name for name in weights if name not in known]:
        raise ConfigError(
            f"training.class_weights names {strange[0]!r}, which is not a class of this data set: "
            f"choose from {', '.join(known)}"
        )
    return torch.tensor([float(weights.get(name, 1)) for name in known]) if weights else None
