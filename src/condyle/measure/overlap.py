"""How much of two masks is the same: numbers from counts of voxels.

One rule for empty masks: both empty gives nan (nothing was there to find: left out of means, and
counted), one empty gives 0 (a structure was missed, or invented).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.errors import GridMismatch

__all__ = ["Counts", "count", "dice", "iou", "pixel_accuracy", "precision", "recall"]


@dataclass(frozen=True)
class Counts:
    """Voxels that two masks share, and voxels of each: all that an overlap is made from."""

    both: int
    truth: int
    predicted: int

    @property
    def dice(self) -> float:
        """Dice coefficient, 0 to 1."""
        return _ratio(2 * self.both, self.truth + self.predicted)

    @property
    def iou(self) -> float:
        """Intersection over union, 0 to 1."""
        return _ratio(self.both, self.truth + self.predicted - self.both)

    @property
    def precision(self) -> float:
        """Part of the prediction that is true, 0 to 1."""
        return _ratio(self.both, self.predicted or self.truth)

    @property
    def recall(self) -> float:
        """Part of the truth that was found, 0 to 1."""
        return _ratio(self.both, self.truth or self.predicted)


def count(truth: ArrayLike, predicted: ArrayLike) -> Counts:
    """Numbers of voxels in both masks and in each.

    Raises
    ------
    GridMismatch
        If the shapes differ.
    """
    a, b = _same_shape(np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=bool))
    return Counts(int(np.count_nonzero(a & b)), int(np.count_nonzero(a)), int(np.count_nonzero(b)))


def dice(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Dice coefficient (F1) of two masks, 0 to 1: twice what they share over what both hold.

    Both empty: nan; one empty: 0.

    Parameters
    ----------
    truth, predicted : boolean masks of one shape, of any dimension.

    Examples
    --------
    >>> dice([True, True, False], [True, False, False])
    0.6666666666666666
    """
    return count(truth, predicted).dice


def iou(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Intersection over union (Jaccard) of two masks, 0 to 1. Both empty: nan; one empty: 0.

    Examples
    --------
    >>> iou([True, True, False], [True, False, False])
    0.5
    """
    return count(truth, predicted).iou


def precision(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Part of the predicted voxels that are true, 0 to 1. Both empty: nan; one empty: 0.

    Examples
    --------
    >>> precision([True, True, False], [True, False, False])
    1.0
    """
    return count(truth, predicted).precision


def recall(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Part of the true voxels that were predicted, 0 to 1. Both empty: nan; one empty: 0.

    Examples
    --------
    >>> recall([True, True, False], [True, False, False])
    0.5
    """
    return count(truth, predicted).recall


def pixel_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Part of all voxels on which two masks, or two arrays of label numbers, agree, 0 to 1.

    Background counts, so it flatters small structures' segmentations. Both empty: 1, as they
    agree everywhere; one empty: the part that is background; no voxels at all: nan.

    Examples
    --------
    >>> pixel_accuracy([0, 1, 2, 2], [0, 1, 1, 2])
    0.75
    """
    a, b = _same_shape(np.asarray(truth), np.asarray(predicted))
    return _ratio(int(np.count_nonzero(a == b)), a.size)


def _same_shape(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both arrays, or `GridMismatch`: numpy would stretch one over the other."""
    if a.shape != b.shape:
        raise GridMismatch(
            f"truth and prediction have shapes {a.shape} and {b.shape}; "
            "bring both to one grid before comparing them"
        )
    return a, b


def _ratio(part: float, whole: float) -> float:
    """Part over whole; nan where there is no whole."""
    return float(part / whole) if whole else float("nan")
