"""Slices of scans in RAS axes, in three planes; and the hard ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.config import Plane
from condyle.core import LabelMap

__all__ = ["AXIS", "hard_slices"]

AXIS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The array axis, in RAS order, that a plane's slices follow one another along."""


def hard_slices(
    labels: LabelMap, n: int = 20, plane: Plane = "axial"
) -> dict[str, NDArray[np.int_]]:
    """Structure -> indices of the first and last n slices that hold it: the ends of the bone.

    Indices count slices of the label map in RAS axes; an absent structure has none. These are the
    slices where segmentations of the femur go wrong (its head, neck and condyles).
    """
    ras = labels.reoriented("RAS")
    others = tuple(axis for axis in range(3) if axis != AXIS[plane])
    found: dict[str, NDArray[np.int_]] = {}
    for label in labels.scheme.labels:
        filled: NDArray[Any] = np.flatnonzero((ras.array == label.id).any(axis=others))
        found[label.name] = np.unique(np.concatenate([filled[:n], filled[-n:]]))
    return found
