"""Changes that teach a network what does not matter: place, shape, side, sharpness, brightness.

The numbers are drawn once a sample and serve image and labels alike, in 2 or 3 dimensions. Images
are interpolated linearly, labels never mix. What is not drawn costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from condyle.config import Augmentation
from condyle.train.sampling import generator

__all__ = ["Draw", "augment", "draw"]

AUGMENTATION_STREAM = 7919
"""Added to the seed, so that these draws are not those that chose the patch."""
STILL = Augmentation(p=0, flip="none")
LINEAR = {2: "bilinear", 3: "trilinear"}
WAVES = 4
"""How many times, at most, a bent patch may bend along its longest side."""
FOLD = 2.5
"""A field of cubic B-splines never folds if its control points are further apart than so many of
its largest displacements (Choi and Lee 2000, doi 10.1006/gmod.2000.0531: 2.48 in 3D)."""


@dataclass(frozen=True)
class Draw:
    """The numbers drawn for one sample.

    `matrix` (n, n) takes a place in the new patch (mm from its middle) to one in the old, before
    it is `flipped` along axes of the patch; `mirrored` says whether left and right changed places.
    """

    matrix: NDArray[np.float64]
    flipped: tuple[bool, ...]
    mirrored: bool
    elastic: float
    blur: float
    low_resolution: float
    shift: float
    contrast: float
    gamma: float
    noise: float
    seed: int

    @property
    def is_moved(self) -> bool:
        """Whether voxels come to lie between those of the scan."""
        return self.elastic > 0 or not np.array_equal(self.matrix, np.eye(len(self.matrix)))


def draw(
    settings: Augmentation, spacing: tuple[float, ...], left_right: int | None,
    seed: int, epoch: int, *sample: int,
) -> Draw:  # fmt: skip
    """The numbers of one sample.

    Parameters
    ----------
    spacing : mm between voxels along each axis of the patch; decides which axes may turn.
    left_right : the axis of the patch that runs from left to right, or None if none does.
    seed, epoch, sample : what the numbers depend on; with `copies`, on the epoch's turn alone.
    """
    if settings.copies is not None:
        epoch %= settings.copies + 1
        settings = settings if epoch else STILL
    rng = generator(seed + AUGMENTATION_STREAM, epoch, *sample)
    happens = rng.random(5) < settings.p
    angles = rng.uniform(-1, 1, size=3) * math.radians(settings.rotation) * happens[0]
    scale = math.exp(rng.uniform(-1, 1) * math.log1p(settings.scaling) * happens[1])
    mirrored = bool(rng.random() < 0.5) and settings.flip != "none" and left_right is not None
    shift, contrast, gamma = rng.uniform(-1, 1, size=3)
    noise, noise_seed = rng.random(), int(rng.integers(2**31))
    bends, blurs, coarsens = rng.random(3) < settings.p
    blur, coarser = rng.random(2)
    flipped = (rng.random(len(spacing)) < 0.5) & (settings.flip == "all")
    if left_right is not None:
        flipped[left_right] = mirrored
    return Draw(
        matrix=_rotation(angles, spacing) / scale,
        flipped=tuple(bool(f) for f in flipped),
        mirrored=mirrored,
        elastic=settings.elastic * bends,
        blur=blur * settings.blur * blurs,
        low_resolution=settings.low_resolution ** (coarser * coarsens),
        shift=shift * settings.brightness * happens[2],
        contrast=1 + contrast * settings.contrast * happens[2],
        gamma=math.exp(gamma * math.log1p(settings.gamma) * happens[3]),
        noise=noise * settings.noise * happens[4],
        seed=noise_seed,
    )


def _is_fine(spacing: tuple[float, ...]) -> list[bool]:
    """Whether each axis's voxels are less than three times as long as the shortest.

    Long voxels are neither turned or bent into short ones nor made less sharp than they are.
    """
    return [side <= 3 * min(spacing) for side in spacing]


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
    mirror : (classes,) the class that each becomes in a left-right mirror image; other values of
        the labels, such as `sampling.IGNORE`, stay.
    """
    swap = torch.arange(256)
    swap[: len(mirror)] = mirror
    starts = [(old - new) // 2 for old, new in zip(labels.shape[1:], patch, strict=True)]
    middle = tuple(slice(start, start + side) for start, side in zip(starts, patch, strict=True))
    changed = image.new_empty((*image.shape[:2], *patch))
    truth = torch.empty((len(labels), *patch), dtype=torch.int64)
    for n, (d, mm) in enumerate(zip(draws, spacing, strict=True)):
        if d.is_moved:
            seen, there = _moved(image[n], labels[n], patch, mm, d)
        else:
            seen, there = image[n][(slice(None), *middle)], labels[n][middle]
        if axes := [axis for axis, flipped in enumerate(d.flipped) if flipped]:
            seen, there = seen.flip([axis + 1 for axis in axes]), there.flip(axes)
        changed[n] = _intensities(_softened(seen, mm, d), d)
        truth[n] = swap[there.long()] if d.mirrored else there
    return changed, truth


def _moved(
    image: Tensor, labels: Tensor, patch: tuple[int, ...], spacing: tuple[float, ...], d: Draw
) -> tuple[Tensor, Tensor]:
    """One sample (C, *patch), and its labels (*patch), turned, scaled and bent."""
    half_sides = np.array(labels.shape) * np.array(spacing) / 2
    # grid_sample counts in half sides of the context, axes in reverse order
    to_context = (d.matrix / half_sides[:, None])[::-1]
    theta = np.pad(
        (to_context * np.array(patch) * np.array(spacing) / 2)[:, ::-1], ((0, 0), (0, 1))
    )
    where = affine_grid(torch.from_numpy(theta)[None].float(), [1, 1, *patch], align_corners=False)
    if d.elastic > 0:
        where = where + _field(patch, spacing, d, to_context)
    seen = grid_sample(image[None], where, "bilinear", padding_mode="border", align_corners=False)
    there = grid_sample(
        labels[None, None].float(), where, "nearest", padding_mode="zeros", align_corners=False
    )
    return seen[0], there[0, 0]


def _field(
    patch: tuple[int, ...], spacing: tuple[float, ...], d: Draw, matrix: NDArray[np.float64]
) -> Tensor:
    """Smooth random displacements (*patch, n); the matrix (n, n) takes them from mm to its unit."""
    sides = np.array(patch) * np.array(spacing)
    apart = max(float(sides.max()) / WAVES, FOLD * d.elastic)
    cells = [max(int(side / apart), 1) for side in sides]
    drawn = np.random.default_rng(d.seed).uniform(-d.elastic, d.elastic, (
        len(patch), *(n + 3 for n in cells)))  # fmt: skip
    drawn[np.logical_not(_is_fine(spacing))] = 0
    field = torch.from_numpy(np.tensordot(matrix, drawn, axes=1)).float()
    for axis, (side, n) in enumerate(zip(patch, cells, strict=True), 1):
        field = (field.movedim(axis, -1) @ _splines(side, n).T).movedim(-1, axis)
    return field.movedim(0, -1)


@lru_cache(maxsize=64)
def _splines(side: int, cells: int) -> Tensor:
    """(side, cells + 3) the parts that cubic B-splines' control points have in each voxel."""
    at = (np.arange(side) + 0.5) / side * cells
    cell = at.astype(int)
    f = at - cell
    matrix = np.zeros((side, cells + 3))
    parts = (1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3
    for n, part in enumerate(parts):
        matrix[np.arange(side), cell + n] = part / 6
    return torch.from_numpy(matrix).float()


def _softened(image: Tensor, spacing: tuple[float, ...], d: Draw) -> Tensor:
    """One sample (C, *patch) blurred, then as a scan of longer voxels would show it."""
    is_fine = _is_fine(spacing)
    sides = image.shape[1:]
    if d.blur > 0:
        for axis in range(len(sides)):
            image = _blurred(image, axis + 1, d.blur) if is_fine[axis] else image
    if d.low_resolution > 1:
        coarse = [
            max(round(side / d.low_resolution), 1) if fine else side
            for side, fine in zip(sides, is_fine, strict=True)
        ]
        long = interpolate(image[None], coarse, mode="area")
        image = interpolate(long, list(sides), mode=LINEAR[len(sides)], align_corners=False)[0]
    return image


def _blurred(image: Tensor, axis: int, sigma: float) -> Tensor:
    """The Gaussian mean along one axis; beyond its ends the edge goes on."""
    reach, side = math.ceil(3 * sigma), image.shape[axis]
    longer = image.index_select(axis, torch.arange(-reach, side + reach).clamp(0, side - 1))
    parts = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    blurred = torch.zeros_like(image)
    for n, part in enumerate(parts / parts.sum()):
        blurred.add_(longer.narrow(axis, n, side), alpha=float(part))
    return blurred


def _intensities(image: Tensor, d: Draw) -> Tensor:
    """One sample (C, *patch) with its contrast, brightness, gamma and noise changed."""
    if d.gamma != 1.0:
        low, high = image.aminmax()
        image = ((image - low) / (high - low + 1e-6)).pow(d.gamma) * (high - low) + low
    if d.contrast != 1.0:
        middle = image.mean()
        image = (image - middle) * d.contrast + middle
    if d.shift != 0.0:
        image = image + d.shift
    if d.noise > 0.0:
        drawn = torch.Generator().manual_seed(d.seed)
        image = image + torch.randn(image.shape, generator=drawn) * d.noise
    return image
