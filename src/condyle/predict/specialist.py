"""Where a specialist for the ends of bones takes over, and how the two predictions meet.

The femur study trains a second network on the first and last slices of the bone alone, where its
head, neck and condyles are, and uses it there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.prepare.recipe import ProbabilityMap

__all__ = ["handed_over", "specialist_weight"]


def handed_over(
    maps: Sequence[ProbabilityMap], special: Sequence[ProbabilityMap], share: NDArray[np.float32]
) -> list[ProbabilityMap]:
    """All probability maps, weighted so that the specialist's have its share of each place.

    Parameters
    ----------
    share : 0 to 1, broadcasting to the scan in RAS axes.
    """
    parts = ((maps, 1 - share), (special, share))
    return [
        replace(each, weight=(each.weight / _mass(group) * part).astype(np.float32))
        for group, part in parts
        for each in group
    ]


def _mass(maps: Sequence[ProbabilityMap]) -> Any:
    """What the weighted probabilities of all classes sum to at any one place."""
    return sum(a.weight * float(a.probabilities[:, 0, 0, 0].sum()) for a in maps)


def specialist_weight(classes: NDArray[np.uint8], axis: int, ends: float) -> NDArray[np.float32]:
    """The specialist's weight, slice by slice along an axis: 1 at the ends, 0 in between.

    Parameters
    ----------
    classes : predicted without the specialist, class indices in RAS axes.
    ends : slices at each end of each structure that are the specialist's, inside the structure
        and beyond; over half as many more, its share falls to nothing.

    Examples
    --------
    >>> bone = np.zeros((1, 1, 30), np.uint8)
    >>> bone[..., 5:25] = 1
    >>> specialist_weight(bone, 2, 4)[0, 0, [0, 5, 8, 10, 15, 24, 29]].tolist()
    [0.5, 1.0, 1.0, 0.5, 0.0, 1.0, 0.5]
    """
    places = np.arange(classes.shape[axis])
    share = np.zeros(len(places))
    others = tuple(a for a in range(3) if a != axis)
    for number in np.unique(classes):
        if number == 0:
            continue
        filled = np.flatnonzero((classes == number).any(axis=others))
        for end in (filled[0], filled[-1]):
            away = np.abs(places - end)
            share = np.maximum(share, np.clip((1.5 * ends - away) / (0.5 * ends), 0, 1))
    shape = [1, 1, 1]
    shape[axis] = len(share)
    return share.reshape(shape).astype(np.float32)
