"""Changes that teach a network what does not matter: place, size, side, brightness.

A whole batch is changed at once, in 2 or 3 dimensions: the numbers are drawn once a sample and
serve image and labels alike. Images are interpolated linearly, labels never mix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from condyle.config import Augmentation
from condyle.train.sampling import generator

__all__ = ["Draw", "augment", "draw"]

AUGMENTATION_STREAM = 7919
"""Added to the seed, so that these draws are not those that chose the patch."""


@dataclass(frozen=True)
class Draw:
    """The numbers drawn for one sample.

    `matrix` (n, n) takes a place in the new patch (mm from its middle) to one in the old.
    """

    matrix: NDArray[np.float64]
    mirrored: bool
    shift: float
    contrast: float
    gamma: float
    noise: float
    noise_seed: int


def draw(
    settings: Augmentation, spacing: tuple[float, ...], left_right: int | None,
    seed: int, epoch: int, index: int,
) -> Draw:  # fmt: skip
    """The numbers of one sample.

    Parameters
    ----------
    spacing : mm between voxels along each axis of the patch; decides which axes may turn.
    left_right : the axis of the patch that runs from left to right, or None if none does.
    """
    rng = generator(seed + AUGMENTATION_STREAM, epoch, index)
    happens = rng.random(5) < settings.p
    angles = rng.uniform(-1, 1, size=3) * math.radians(settings.rotation) * happens[0]
    scale = math.exp(rng.uniform(-1, 1) * math.log1p(settings.scaling) * happens[1])
    mirrored = bool(rng.random() < 0.5) and settings.flip and left_right is not None
    matrix = _rotation(angles, spacing) / scale
    if mirrored:
        matrix[:, left_right] *= -1
    shift, contrast, gamma = rng.uniform(-1, 1, size=3)
    return Draw(
        matrix=matrix,
        mirrored=mirrored,
        shift=shift * settings.brightness * happens[2],
        contrast=1 + contrast * settings.contrast * happens[2],
        gamma=math.exp(gamma * math.log1p(settings.gamma) * happens[3]),
        noise=rng.random() * settings.noise * happens[4],
        noise_seed=int(rng.integers(2**31)),
    )


def _rotation(angles: NDArray[np.float64], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """A rotation matrix in mm; axes whose voxels are three times as long as others stay put."""
    n = len(spacing)
    matrix = np.eye(n)
    planes = [(0, 1)] if n == 2 else [(0, 1), (0, 2), (1, 2)]
    for (a, b), angle in zip(planes, angles, strict=False):
        if max(spacing[a], spacing[b]) > 3 * min(spacing[a], spacing[b]):
            continue
        turn = np.eye(n)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    return matrix


def augment(
    image: Tensor, labels: Tensor, patch: tuple[int, ...], spacing: list[tuple[float, ...]],
    draws: list[Draw], mirror: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A changed batch: image (B, C, *patch) and class indices (B, *patch).

    Parameters
    ----------
    image, labels : (B, C, *context) and (B, *context); larger than the patch, so that its
        corners still lie in the scan when it is turned.
    patch : voxels along each axis of what comes out, the middle of the context.
    spacing : of each sample, mm along the patch's axes.
    draws : of each sample.
    mirror : (classes,) the class that each becomes in a left-right mirror image.
    """
    theta = torch.stack(
        [_theta(d.matrix, s, patch, image.shape[2:]) for d, s in zip(draws, spacing, strict=True)]
    )
    where = affine_grid(theta.float(), [*image.shape[:2], *patch], align_corners=False)
    moved = grid_sample(image, where, "bilinear", padding_mode="border", align_corners=False)
    truth = grid_sample(
        labels[:, None].float(), where, "nearest", padding_mode="zeros", align_corners=False
    )[:, 0].to(torch.int64)
    for n, d in enumerate(draws):
        if d.mirrored:
            truth[n] = mirror[truth[n]]
        moved[n] = _intensities(moved[n], d)
    return moved, truth


def _theta(
    matrix: NDArray[np.float64],
    spacing: tuple[float, ...],
    patch: tuple[int, ...],
    context: torch.Size,
) -> Tensor:
    """The (n, n+1) matrix that affine_grid takes: in half sides, axes in reverse order."""
    new = np.array(patch) * np.array(spacing) / 2
    old = np.array(context) * np.array(spacing) / 2
    scaled = matrix * new[None, :] / old[:, None]
    reverse = scaled[::-1, ::-1]
    return torch.from_numpy(np.concatenate([reverse, np.zeros((len(new), 1))], axis=1))


def _intensities(image: Tensor, d: Draw) -> Tensor:
    """One sample (C, *patch) with its contrast, brightness, gamma and noise changed."""
    if d.gamma != 1.0:
        low, high = image.min(), image.max()
        image = ((image - low) / (high - low + 1e-6)).pow(d.gamma) * (high - low) + low
    if d.contrast != 1.0:
        middle = image.mean()
        image = (image - middle) * d.contrast + middle
    if d.shift != 0.0:
        image = image + d.shift
    if d.noise > 0.0:
        drawn = torch.Generator().manual_seed(d.noise_seed)
        image = image + torch.randn(image.shape, generator=drawn) * d.noise
    return image
