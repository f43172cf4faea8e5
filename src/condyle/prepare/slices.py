"""Slices of scans in RAS axes, in three planes; and the hard ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.config import Plane, Planes
from condyle.core import LabelMap
from condyle.errors import ConfigError, UnknownName

__all__ = [
    "AXIS",
    "NEARLY_CUBIC",
    "axis_of",
    "ends",
    "hard_slices",
    "plane_across",
    "planes_of",
    "slices",
]

AXIS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The array axis, in RAS order, that a plane's slices follow one another along."""
NEARLY_CUBIC = 1.25
"""How many times longer voxels are along an axis than along another before that counts."""


def axis_of(plane: Plane) -> int:
    """The array axis, in RAS order, that this plane's slices follow one another along."""
    if plane not in AXIS:
        raise UnknownName("plane", plane, AXIS)
    return AXIS[plane]


def planes_of(planes: Planes) -> tuple[Plane, ...]:
    """The planes that are meant: one, or all three.

    Examples
    --------
    >>> planes_of("all")
    ('sagittal', 'coronal', 'axial')
    """
    if planes == "all":
        return tuple(AXIS)
    axis_of(planes)
    return (planes,)


def plane_across(spacing: tuple[float, float, float]) -> Plane:
    """The plane whose slices lie furthest apart: the one in which a scan was acquired.

    Axial where voxels are nearly as long from feet to head as along their longest side: no plane
    has finer pixels than axial slices then, or not by much.

    Parameters
    ----------
    spacing : mm along the RAS axes.

    Examples
    --------
    >>> plane_across((3.0, 0.4, 0.4)), plane_across((1.0, 1.0, 1.0))
    ('sagittal', 'axial')
    """
    longest = max(spacing)
    if longest <= NEARLY_CUBIC * spacing[AXIS["axial"]]:
        return "axial"
    return next(plane for plane, axis in AXIS.items() if spacing[axis] == longest)


def slices(array: NDArray[Any], plane: Plane) -> Iterator[NDArray[Any]]:
    """The slices of an array (i, j, k) in RAS axes, one after the other, as 2D views.

    Examples
    --------
    >>> [s.shape for s in slices(np.zeros((2, 3, 4)), "sagittal")]
    [(3, 4), (3, 4)]
    """
    yield from np.moveaxis(array, axis_of(plane), 0)


def hard_slices(
    labels: LabelMap, n: int = 20, plane: Plane = "axial"
) -> dict[str, NDArray[np.int_]]:
    """Structure -> indices of the first and last n slices that hold it: the ends of the bone.

    Indices count slices of the label map in RAS axes; an absent structure has none. These are the
    slices where segmentations of the femur go wrong (its head, neck and condyles).

    Raises
    ------
    ConfigError
        If `n` is below 1.
    """
    if n < 1:
        raise ConfigError(f"the number of end slices must be 1 or more, got {n}")
    ras = labels.reoriented("RAS")
    axis = axis_of(plane)
    return {label.name: ends(ras.array == label.id, n, axis) for label in labels.scheme.labels}


def ends(mask: NDArray[np.bool_], n: int, axis: int) -> NDArray[np.int_]:
    """Indices along an axis of the first and last n slices that a mask fills.

    Examples
    --------
    >>> ends(np.array([0, 1, 1, 1, 1, 0, 1], bool).reshape(1, 1, 7), 2, axis=2).tolist()
    [1, 2, 4, 6]
    """
    others = tuple(other for other in range(mask.ndim) if other != axis)
    filled: NDArray[np.int_] = np.flatnonzero(mask.any(axis=others))
    return np.unique(np.concatenate([filled[:n], filled[-n:]]))
