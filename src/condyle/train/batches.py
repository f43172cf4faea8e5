"""Batches of changed patches, ready for the network, made while the network works."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from condyle.config import Augmentation
from condyle.train.augment import augment, draw
from condyle.train.sampling import PatchSampler, TrainingCase

__all__ = ["Batches"]

CONTEXT = 1.25
"""How much wider than the patch is cut out before it is turned and scaled."""


@dataclass(frozen=True)
class Batches:
    """All batches of a training; each depends on (seed, epoch, step) alone.

    Parameters
    ----------
    cases : the prepared training cases.
    patch : voxels of a sample along i, j, k; one of them 1 for slices.
    size : samples a batch.
    augmentation : how much samples are changed.
    mirror : the class index that each class becomes in a left-right mirror image.
    foreground : part of the samples about a structure.
    seed : of all draws.
    share, shares : which part of each batch this process makes, and among how many it is shared.
    hard_slices : draw only the first and last so many slices of each structure.
    turned : draw slices of all three planes.
    """

    cases: list[TrainingCase]
    patch: tuple[int, int, int]
    size: int
    augmentation: Augmentation
    mirror: tuple[int, ...]
    foreground: float
    seed: int
    share: int = 0
    shares: int = 1
    hard_slices: int | None = None
    turned: bool = False

    def epoch(self, epoch: int, steps: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, C, i, j[, k]) and class indices (B, i, j[, k]) of an epoch's steps.

        An interrupted epoch goes on from step `first`.
        """
        sampler = self.sampler
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
            coming: Future[tuple[Tensor, Tensor]] | None = None
            for step in range(first, steps):
                batch = coming.result() if coming else self._make(sampler, epoch, step)
                more = step + 1 < steps
                coming = pool.submit(self._make, sampler, epoch, step + 1) if more else None
                yield batch

    @cached_property
    def sampler(self) -> PatchSampler:
        """What draws the samples, each with some of its surroundings."""
        longest = np.max([case.labels.shape for case in self.cases], axis=0)
        if self.turned:
            longest[:] = longest.max()
        context = [
            side if side == 1 else max(side, min(round(side * CONTEXT), int(longest[axis])))
            for axis, side in enumerate(self.patch)
        ]
        around = context[0], context[1], context[2]
        return PatchSampler(
            self.cases, around, self.foreground, self.seed, self.hard_slices, self.turned
        )

    @property
    def samples(self) -> int:
        """How many samples it takes to see once all that may be drawn; for slices, their number."""
        count, side = 0.0, max(self.patch)
        for case, kept in zip(self.cases, self.sampler.slices, strict=True):
            for around in self.sampler.patches:
                patch = np.where(np.array(around) > 1, side, 1) if self.turned else self.patch
                sides = np.divide(case.labels.shape, patch)
                sides = np.where(np.array(patch) > 1, np.maximum(sides, 1), sides)
                if kept is not None:
                    sides[self.sampler.through] = kept.size
                count += float(np.prod(sides))
        return math.ceil(count)

    def _make(self, sampler: PatchSampler, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """One batch; the axis one voxel thick, if there is one, is taken out."""
        images, targets, spacings, draws = [], [], [], []
        for index in range(step * self.size + self.share, (step + 1) * self.size, self.shares):
            case, start, around = sampler.place(epoch, index)
            image, labels, spacing = sampler.at(case, start, around)
            axes = [axis for axis, side in enumerate(around) if side > 1]
            left_right = axes.index(0) if 0 in axes else None
            kept = tuple(spacing[axis] for axis in axes)
            images.append(image.squeeze(tuple(a + 1 for a in range(3) if a not in axes)))
            targets.append(labels.squeeze(tuple(a for a in range(3) if a not in axes)))
            spacings.append(kept)
            # a copy belongs to its place; a place may lie before the scan, a count may not
            place = (case, *(s + side for s, side in zip(start, around, strict=True)))
            counts = (index,) if self.augmentation.copies is None else place
            draws.append(draw(self.augmentation, kept, left_right, self.seed, epoch, *counts))
        return augment(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(targets)),
            tuple(side for side in self.patch if side > 1),
            spacings,
            draws,
            torch.tensor(self.mirror),
        )
