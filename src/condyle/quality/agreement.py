"""How far several predictions for one scan agree, and where they do not.

The predictions come from planes, folds, seeds or flips. Their mean pairwise Dice ranks scans
by the true Dice (Zenk et al., Comparative benchmarking of failure detection methods in medical
image segmentation, arXiv 2406.03323, 2024): where networks are unsure, they err differently.
They may also err alike: agreement is evidence, no proof.

One rule for absence, as everywhere here: two predictions that both lack a structure have no Dice
(nan) and are left out of the mean; if one has it and the other lacks it, their Dice is 0. So a
structure that no prediction has gets nan, agreed absence, and one that a single one has gets 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from condyle.core import LabelMap
from condyle.errors import ConfigError
from condyle.measure.overlap import dice

__all__ = ["agreement", "disputed", "look_at"]


def agreement(predictions: Sequence[LabelMap]) -> dict[str, float]:
    """Structure -> mean Dice over all pairs of predictions, 0 to 1; nan where no prediction has it.

    Parameters
    ----------
    predictions : two label maps or more of one scan, on one grid and of one scheme.

    Raises
    ------
    ConfigError
        If there are fewer than two.
    GridMismatch
        If their grids differ.

    Examples
    --------
    >>> from condyle.core import Grid
    >>> grid = Grid.regular((4, 1, 1))
    >>> rows = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], np.uint8).reshape(2, 4, 1, 1)
    >>> round(agreement([LabelMap.of(row, grid) for row in rows])["label_1"], 3)
    0.667
    """
    masks = _masks(predictions)
    found: dict[str, float] = {}
    for name, stack in masks.items():
        pairs = [dice(a, b) for a, b in combinations(stack, 2)]
        known = [value for value in pairs if not np.isnan(value)]
        found[name] = float(np.mean(known)) if known else float("nan")
    return found


def disputed(predictions: Sequence[LabelMap], axis: int) -> dict[str, NDArray[np.int64]]:
    """Structure -> voxels in each slice along an array axis that not all predictions share."""
    found: dict[str, NDArray[np.int64]] = {}
    for name, stack in _masks(predictions, whole_along=axis).items():
        differ = stack.any(axis=0) & ~stack.all(axis=0)
        others = tuple(a for a in range(3) if a != axis)
        found[name] = np.count_nonzero(differ, axis=others).astype(np.int64)
    return found


def look_at(voxels: NDArray[np.int64], most: int = 3) -> list[tuple[int, int]]:
    """The worst places of a row of slices, worst first: the first and last slice of each.

    A place is a run of slices that each hold at least half as many disputed voxels as the worst
    slice; places are ranked by all that is disputed in them.

    Parameters
    ----------
    voxels : disputed voxels a slice, of `disputed`.
    most : places at the most.

    Examples
    --------
    >>> look_at(np.array([0, 0, 9, 8, 0, 1, 0, 5]))
    [(2, 3), (7, 7)]
    """
    if not voxels.any():
        return []
    parts: NDArray[Any] = label(voxels * 2 >= voxels.max())[0]  # type: ignore[index]  # a pair
    places = [np.flatnonzero(parts == n) for n in range(1, int(parts.max()) + 1)]
    places.sort(key=lambda place: (-int(voxels[place].sum()), int(place[0])))
    return [(int(place[0]), int(place[-1])) for place in places[:most]]


def _masks(
    predictions: Sequence[LabelMap], whole_along: int | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Structure -> (predictions, i, j, k) booleans, in the smallest box that holds it in all."""
    if len(predictions) < 2:
        raise ConfigError(
            f"agreement needs two label maps or more of a scan, got {len(predictions)}"
        )
    first = predictions[0]
    for prediction in predictions[1:]:
        first.grid.require_same(prediction.grid, "label maps of one scan")
    boxes = [find_objects(prediction.array) for prediction in predictions]
    found: dict[str, NDArray[np.bool_]] = {}
    for structure in first.scheme.labels:
        mine = [box[structure.id - 1] for box in boxes if len(box) >= structure.id]
        held = [box for box in mine if box is not None]
        around: list[slice] = []
        for axis in range(3):
            if axis == whole_along:
                around.append(slice(None))
            else:
                starts, stops = [b[axis].start for b in held], [b[axis].stop for b in held]
                around.append(slice(min(starts, default=0), max(stops, default=0)))
        found[structure.name] = np.stack(
            [each.array[tuple(around)] == structure.id for each in predictions]
        )
    return found
