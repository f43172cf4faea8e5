"""The masks of each structure in two label maps, cut to the box that holds both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from condyle.core import LabelMap
from condyle.core.lattice import together
from condyle.errors import LabelError
from condyle.prepare.boxes import Box, boxes

__all__ = ["NOTES", "Pair", "pairs"]

NOTES = {
    (True, True): "",
    (True, False): "missed",
    (False, True): "invented",
    (False, False): "absent in both",
}
"""Whether there was something, and whether something was predicted -> what became of it."""


class Pair(NamedTuple):
    """A structure's two masks, (i, j, k) booleans, and the box of the grid that they are cut to."""

    name: str
    truth: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    box: Box


def pairs(truth: LabelMap, predicted: LabelMap) -> Iterator[Pair]:
    """Both masks of each structure of the truth's scheme, then of others that were predicted.

    Structures are matched by name; a number that the prediction's scheme does not know is called
    label_N. A label map that lies on the other's lattice is put in its place. Voxels that the
    truth marks as unlabelled are in neither. Where a structure is in neither map, its masks have
    no voxels.

    Raises
    ------
    GridMismatch
        If the voxels of the one are none of the other's.
    LabelError
        If the prediction's scheme lacks a structure of the truth's.
    """
    truth, predicted = together(truth, predicted, "truth and prediction")
    known = truth.known()
    truth, predicted = truth.within(known), predicted.within(known)
    lacking = [name for name in truth.scheme.names if name not in predicted.scheme.names]
    if lacking:
        raise LabelError(
            f"the prediction has no {', '.join(lacking)} (it has "
            f"{', '.join(predicted.scheme.names)}); read it with the truth's scheme"
        )
    mine, others = boxes(truth.array), boxes(predicted.array)
    for label in truth.scheme.labels:
        number = predicted.scheme[label.name].id
        box = _union(mine.get(label.id), others.pop(number, None))
        yield Pair(label.name, truth.array[box] == label.id, predicted.array[box] == number, box)
    others.pop(predicted.scheme.ignore or 0, None)
    found = predicted.scheme.extended(others)
    for number, box in others.items():
        there = predicted.array[box] == number
        yield Pair(found[number].name, np.zeros_like(there), there, box)


def _union(a: Box | None, b: Box | None) -> Box:
    """The smallest box that holds both; no voxels at all if there is neither."""
    if a is None or b is None:
        return a or b or (slice(0, 0),) * 3
    return tuple(
        slice(min(x.start, y.start), max(x.stop, y.stop)) for x, y in zip(a, b, strict=True)
    )
