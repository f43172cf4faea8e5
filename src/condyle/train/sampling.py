"""Which part of which scan a network sees next.

Randomness is counted: each sample's generator comes from (seed, epoch, index), so that the order
of work does not matter and an interrupted training goes on as if it had not stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.errors import ConfigError, DatasetError
from condyle.prepare.slices import ends

__all__ = ["IGNORE", "PatchSampler", "TrainingCase", "generator"]

IGNORE = 255
"""The class index of voxels that nobody labelled: no loss counts them, no sample is about them."""
Voxels = tuple[int, int, int]

MOST_PLACES = 20_000
"""Foreground voxels remembered per structure and case."""


def generator(seed: int, *counts: int) -> np.random.Generator:
    """The random numbers of one sample, the same whoever draws it and when."""
    return np.random.default_rng([seed, *counts])


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """A prepared case: image (C, i, j, k) floats, labels (i, j, k) class indices, spacing in mm.

    Voxels whose label is `IGNORE` are in the image alone.
    """

    id: str
    image: NDArray[Any]
    labels: NDArray[Any]
    spacing: tuple[float, float, float]


class PatchSampler:
    """Draws patches of one shape from prepared cases; a slice is a patch one voxel thick.

    Parameters
    ----------
    cases : the prepared cases.
    patch : voxels along i, j and k of what is cut out.
    foreground : part of the samples that are centred on a voxel of a structure, each structure
        as often as any other; the rest lie anywhere.
    seed : of all draws.
    turned : slices of all three planes are drawn, each as often; the patch is square.
    hard_slices : draw only slices that are among the first or last so many of a structure.

    Raises
    ------
    DatasetError
        If no case holds a structure.
    ConfigError
        If there are to be hard slices, and the patches are none or lie in all planes.
    """

    def __init__(
        self,
        cases: list[TrainingCase],
        patch: Voxels,
        foreground: float,
        seed: int,
        hard_slices: int | None = None,
        turned: bool = False,
    ):
        if turned and hard_slices is not None:
            raise ConfigError("training.hard_slices is for slices of one plane: give a `plane`")
        self.cases = cases
        self.patches: tuple[Voxels, ...] = _turned(patch) if turned else (patch,)
        self.foreground = foreground
        self.seed = seed
        self.through = 2 if hard_slices is None else _through(patch)
        self.slices = [_seen(case.labels, hard_slices, self.through) for case in cases]
        self.places = [
            _places(case.labels, kept, self.through)
            for case, kept in zip(cases, self.slices, strict=True)
        ]
        self.with_structures = [n for n, found in enumerate(self.places) if found]
        if not self.with_structures:
            raise DatasetError("no training case has a labelled structure")

    def place(self, epoch: int, index: int) -> tuple[int, Voxels, Voxels]:
        """Which case a sample is cut from, its first voxel there, and its voxels along i, j, k."""
        rng = generator(self.seed, epoch, index)
        turn = int(rng.integers(len(self.patches))) if len(self.patches) > 1 else 0
        patch = self.patches[turn]
        if rng.random() < self.foreground:
            n = int(rng.choice(self.with_structures))
            found = self.places[n]
            places = found[int(rng.integers(len(found)))]
            centre = places[rng.integers(len(places))].astype(float)
            # spread the structure over the patch instead of always putting it in the middle
            centre += (rng.random(3) - 0.5) * np.array(patch) * 0.5 * (np.array(patch) > 1)
        else:
            among = [n for n, kept in enumerate(self.slices) if kept is None or kept.size]
            n = among[int(rng.integers(len(among)))]
            centre = rng.random(3) * self.cases[n].labels.shape
            if (kept := self.slices[n]) is not None:
                centre[self.through] = rng.choice(kept)
        return n, _start(centre, patch, self.cases[n].labels.shape), patch

    def at(
        self, n: int, start: Voxels, patch: Voxels
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8], tuple[float, float, float]]:
        """Image (C, *patch), class indices (*patch) and spacing (mm) of what lies at a place."""
        case = self.cases[n]
        image = np.stack([cut(c, start, patch, edge=True) for c in case.image])
        labels = cut(case.labels, start, patch, edge=False)
        return image.astype(np.float32, copy=False), labels.astype(np.uint8), case.spacing


def _turned(patch: Voxels) -> tuple[Voxels, ...]:
    """The square slice across each of the three axes."""
    side = max(patch)
    across = (1, side, side), (side, 1, side), (side, side, 1)
    if patch not in across:
        raise ConfigError(
            f"training.patch = {list(patch)} is not a square slice: with slices of all planes, "
            "give "
            f"[{side}, {side}, 1], or leave it out"
        )
    return across


def _through(patch: Voxels) -> int:
    """The axis along which patches are slices: the one on which they are a voxel thick."""
    thin = [axis for axis, side in enumerate(patch) if side == 1]
    if len(thin) != 1:
        raise ConfigError(
            f"training.hard_slices is for slices, and samples of {patch} voxels are not: take "
            "a 2D network"
        )
    return thin[0]


def _structures(labels: NDArray[Any]) -> list[int]:
    """The class indices of the structures that occur."""
    return [int(index) for index in np.unique(labels) if index not in (0, IGNORE)]


def _seen(labels: NDArray[Any], n: int | None, axis: int) -> NDArray[np.int_] | None:
    """The slices along an axis among the first or last n of any structure; None if n is: all."""
    if n is None:
        return None
    found = [ends(labels == index, n, axis) for index in _structures(labels)]
    return np.unique(np.concatenate([*found, np.empty(0, np.int_)]))


def _places(
    labels: NDArray[Any], kept: NDArray[np.int_] | None, axis: int
) -> list[NDArray[np.int32]]:
    """Voxel indices (n, 3) of each structure that occurs, thinned evenly to a bounded number.

    Of the slices along an axis, only those that are kept count; None: all.
    """
    found: list[NDArray[np.int32]] = []
    for index in _structures(labels):
        mask = labels == index
        if kept is not None:
            others = np.delete(np.arange(mask.shape[axis]), kept)
            np.moveaxis(mask, axis, 0)[others] = False
        flat = np.flatnonzero(mask)
        flat = flat[:: max(1, len(flat) // MOST_PLACES)]
        found.append(np.stack(np.unravel_index(flat, labels.shape), axis=1).astype(np.int32))
    return found


def _start(centre: NDArray[np.float64], patch: Voxels, shape: tuple[int, ...]) -> Voxels:
    """The first voxel of a patch about a centre, moved inside the scan where that is possible."""
    starts: list[int] = []
    for middle, side, length in zip(centre, patch, shape, strict=True):
        start = int(middle) - side // 2
        low, high = (0, length - side) if side <= length else (-(side - length) // 2,) * 2
        starts.append(min(max(start, low), high))
    return starts[0], starts[1], starts[2]


def cut(array: NDArray[Any], start: Voxels, patch: Voxels, edge: bool) -> NDArray[Any]:
    """The patch (i, j, k) from `start` on; outside the array its edge goes on, or 0 is put."""
    stops = [s + p for s, p in zip(start, patch, strict=True)]
    inside = tuple(
        slice(max(s, 0), min(e, n)) for s, e, n in zip(start, stops, array.shape, strict=True)
    )
    piece = np.asarray(array[inside])
    pads = [(max(-s, 0), max(e - n, 0)) for s, e, n in zip(start, stops, array.shape, strict=True)]
    if not any(a or b for a, b in pads):
        return piece
    return np.pad(piece, pads, mode="edge" if edge else "constant")
