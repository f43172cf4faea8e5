"""The smallest boxes that hold what is not background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

__all__ = ["Box", "box_of", "boxes"]

Box = tuple[slice, ...]


def box_of(array: NDArray[Any]) -> Box | None:
    """The smallest box that holds all that is not 0, or None where all is.

    Examples
    --------
    >>> box_of(np.array([[0, 0, 0], [0, 1, 1]]))
    (slice(1, 2, None), slice(1, 3, None))
    """
    box = [slice(None)] * array.ndim
    for axis in range(array.ndim):
        others = tuple(a for a in range(array.ndim) if a != axis)
        found = np.flatnonzero(array[tuple(box)].any(axis=others))
        if not found.size:
            return None
        box[axis] = slice(int(found[0]), int(found[-1]) + 1)
    return tuple(box)


def boxes(labels: NDArray[np.unsignedinteger[Any]]) -> dict[int, Box]:
    """Label number -> the smallest box that holds it, for the numbers that occur.

    The same as scipy's `find_objects`, but fast whatever the order in memory, and where most of
    the scan is background.

    Examples
    --------
    >>> boxes(np.array([[0, 0, 2], [0, 3, 3]], np.uint8))
    {2: (slice(0, 1, None), slice(2, 3, None)), 3: (slice(1, 2, None), slice(1, 3, None))}
    """
    around = box_of(labels)
    if around is None:
        return {}
    part = labels[around]
    order = np.argsort([-abs(step) for step in part.strides], kind="stable")
    back = np.argsort(order)
    found: dict[int, Box] = {}
    for number, box in enumerate(find_objects(part.transpose(order)), 1):
        if box is not None:
            inside = [box[axis] for axis in back]
            found[number] = tuple(
                slice(a.start + b.start, a.start + b.stop)
                for a, b in zip(around, inside, strict=True)
            )
    return found
