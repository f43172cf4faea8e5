"""Cases as a network sees them, kept on disk while a training runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from condyle.core import Case, LabelMap, Volume
from condyle.core.lattice import on_grid
from condyle.core.relabel import exchanged
from condyle.errors import LabelError
from condyle.jobs.outputs import atomic_write
from condyle.prepare.recipe import Recipe
from condyle.train import TrainingCase
from condyle.train.pace import memory_here
from condyle.train.sampling import IGNORE

T = TypeVar("T")

__all__ = ["kept_in_memory", "mapped", "prepare", "reach_mm"]


SHARE_OF_MEMORY = 0.2
"""Of the memory that is free, the part that cases read for planning may take."""


def kept_in_memory(cases: Sequence[Case], limit: int | None = None) -> tuple[Case, ...]:
    """The cases, of which those that were read once are kept in memory, until they are dropped.

    Planning reads all training cases, and preparing needs them again: where memory allows, the
    disk is asked once.

    Parameters
    ----------
    limit : bytes for all of them; None: a fifth of the memory that is free now.
    """
    room = [SHARE_OF_MEMORY * memory_here(torch.device("cpu")) if limit is None else limit]
    return tuple(_kept(case, room) for case in cases)


def _kept(case: Case, room: list[float]) -> Case:
    known: dict[str, Any] = {}

    def once(name: str, read: Callable[[], T], size: Callable[[T], int]) -> T:
        if name in known:
            return known[name]
        found = read()
        if size(found) <= room[0]:
            room[0] -= size(found)
            known[name] = found
        return found

    def read_images(paths: tuple[Path, ...]) -> tuple[Volume, ...]:
        return once(
            "images", lambda: case.read_images(paths), lambda v: sum(x.array.nbytes for x in v)
        )

    def read_label(path: Path) -> LabelMap:
        return once("labels", lambda: case.read_label(path), lambda x: x.array.nbytes)

    return replace(case, read_images=read_images, read_label=read_label)


def prepare(case: Case, recipe: Recipe, folder: Path) -> bool:
    """Write a case as the network sees it: what `mapped` reads.

    Returns
    -------
    Whether its labels lay on another grid than its scan, and were put in their place.
    """
    channels, labels = case.channels(), case.labels()
    placed = not labels.grid.same_as(channels[0].grid)
    labels = on_grid(labels, channels[0].grid, f"scan and labels of case {case.id}")
    ready, scheme = recipe.apply(channels), labels.scheme
    if len(scheme) >= IGNORE:
        raise LabelError(
            f"{len(scheme)} structures are more than the {IGNORE - 1} that a network can learn: "
            "leave some out, or train on them in groups"
        )
    index_of = {number: at for at, number in enumerate(scheme.ids, 1)}
    if scheme.ignore is not None:
        index_of[scheme.ignore] = IGNORE
    truth = exchanged(recipe.apply_labels(labels, ready.box).array, index_of, np.uint8)
    spacing = np.array(ready.grid.spacing)
    for name, array in (("image", ready.array), ("labels", truth), ("spacing", spacing)):
        path = folder / f"{case.id}.{name}.npy"
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, array)
    return placed


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
