"""Cases as a network sees them, kept on disk while a training runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from condyle.core import Case
from condyle.jobs.outputs import atomic_write
from condyle.prepare.recipe import Recipe
from condyle.train import TrainingCase
from condyle.train.sampling import IGNORE

__all__ = ["mapped", "prepare", "reach_mm"]


def prepare(case: Case, recipe: Recipe, folder: Path) -> None:
    """Write a case as the network sees it: what `mapped` reads."""
    channels, labels = case.pair()
    ready, scheme = recipe.apply(channels), labels.scheme
    index_of = np.zeros(max(scheme.to_dict().values()) + 1, np.uint8)
    index_of[list(scheme.ids)] = np.arange(1, len(scheme) + 1)
    if scheme.ignore is not None:
        index_of[scheme.ignore] = IGNORE
    truth = index_of[recipe.apply_labels(labels).array]
    spacing = np.array(ready.grid.spacing)
    for name, array in (("image", ready.array), ("labels", truth), ("spacing", spacing)):
        path = folder / f"{case.id}.{name}.npy"
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, array)


def mapped(case: str, folder: Path) -> TrainingCase:
    """A case as the network sees it, kept on disk and mapped into memory."""
    image, labels = (
        np.load(folder / f"{case}.{name}.npy", mmap_mode="r") for name in ("image", "labels")
    )
    i, j, k = (float(mm) for mm in np.load(folder / f"{case}.spacing.npy"))
    return TrainingCase(case, image, labels, (i, j, k))


def reach_mm(case: TrainingCase) -> float:
    """How far the labels of a case stretch from feet to head, in mm; 0 without any."""
    there = (case.labels != 0) & (case.labels != IGNORE)
    slices = np.flatnonzero(there.any(axis=(0, 1)))  # RAS axes: the last runs to the head
    return float((slices[-1] - slices[0] + 1) * case.spacing[2]) if slices.size else 0.0
