"""What a run folder shows of a training at a glance: its network, its patients, random slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from condyle.config import Experiment, Plane
from condyle.core import Case, Dataset, Fold
from condyle.core.lattice import on_grid
from condyle.io import read_labels, write_text
from condyle.io.pictures import is_picture
from condyle.jobs.outputs import write_bytes, write_csv
from condyle.prepare.slices import AXIS
from condyle.report import figures
from condyle.report.samples import TILE, samples
from condyle.runs.folder import RunFolder

__all__ = ["outline", "write_beginning", "write_cases", "write_slices"]

SHOWN = 6
"""Slices in slices.png."""
DEPTH = 3
"""Modules within modules that network.txt lists."""


def write_beginning(
    name: str, network: nn.Module, dataset: Dataset, fold: Fold, run: RunFolder
) -> None:
    """Write network.txt, the network's modules with their parameters, and cases.csv."""
    write_text(run.network, f"{name}\n{outline(network)}")
    write_cases(dataset, fold, run)


def write_cases(dataset: Dataset, fold: Fold, run: RunFolder) -> None:
    """Write cases.csv: each case of the fold, its patient and the part it plays."""
    parts = {"train": fold.train, "validation": fold.validation, "test": fold.test}
    rows = [
        {"case": case.id, "patient": case.patient, "part": part}
        for part, names in parts.items()
        for case in dataset.select(names)
    ]
    write_csv(run.cases, rows)


def outline(network: nn.Module) -> str:
    """A line a module that learns anything, three levels deep: its name, kind and parameters.

    Examples
    --------
    >>> print(outline(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())), end="")
    Sequential                                          20 parameters
      0                           Conv2d                20
    """
    lines = [f"{type(network).__name__:52}{_size(network):,} parameters"]
    lines += _lines(network, 1)
    return "\n".join(lines) + "\n"


def _lines(module: nn.Module, level: int) -> list[str]:
    lines: list[str] = []
    for name, part in module.named_children():
        if size := _size(part):
            lines.append(f"{'  ' * level + name:30}{type(part).__name__:22}{size:,}")
            lines += _lines(part, level + 1) if level < DEPTH else []
    return lines


def _size(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def write_slices(
    cases: Sequence[Case], predictions: Mapping[str, Path], experiment: Experiment, run: RunFolder
) -> Path | None:
    """slices.png: slices of held-out cases, drawn by lot; its path, or None where no case is.

    The truth is outlined and the prediction filled, if there is one. Only slices that hold either
    are drawn, of the plane that the network sees, axial ones if it sees all. The training's seed
    says which.
    """
    rng = np.random.default_rng(experiment.training.seed)
    asked = (experiment.preparation and experiment.preparation.plane) or "axial"
    plane = "axial" if asked == "all" else asked
    each = 1 if cases and is_picture(cases[0].images[0]) else SHOWN
    turns = [case for _ in range(each) for case in rng.permutation(np.array(cases, object))]
    tiles: list[NDArray[np.uint8]] = []
    for case in sorted(turns[:SHOWN], key=lambda case: str(case.id)):
        file = predictions.get(case.id)
        tiles.append(_tile(case, file, plane, rng))
    if not tiles:
        return None
    return write_bytes(run.slices, samples(tiles))


def _tile(
    case: Case, file: Path | None, plane: Plane, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The picture of one slice of a case."""
    axis, (channels, truth) = AXIS[plane], case.pair()
    predicted = on_grid(read_labels(file, truth.scheme), truth.grid, case.id) if file else None
    turned = [labels.reoriented("RAS") for labels in (truth, predicted) if labels]
    others = tuple(a for a in range(3) if a != axis)
    held = np.flatnonzero(
        np.any([m.within(m.known()).array.any(axis=others) for m in turned], axis=0)
    )
    at = int(rng.choice(held)) if held.size else turned[0].grid.shape[axis] // 2
    return figures.overlay_pixels(
        channels, truth, predicted, (plane,), width=TILE, at=at, title=str(case.id)
    )
