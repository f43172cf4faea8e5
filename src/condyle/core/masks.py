"""Which voxels a mask means: its numbers must be 0 and one other, or probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.errors import LabelError

__all__ = ["cut_at_half", "holds_fractions", "mask_of"]

WHOLE = 1e-3
"""How far a number may lie from a whole one and count as it, as in `whole_numbers`."""


def mask_of(array: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Booleans of the same shape: where a mask of one structure is not 0; all False if it is empty.

    Raises
    ------
    LabelError
        If it holds NaN, infinite or negative numbers, fractions, or several positive numbers.

    Examples
    --------
    >>> mask_of(np.array([0, 255, 255]), "femur").tolist()
    [False, True, True]
    """
    if array.dtype == bool:
        return array
    if holds_fractions(array, name):
        raise LabelError(f"mask {name} holds fractions: cut it at 0.5, or export it as integers")
    whole = np.rint(array) if np.issubdtype(array.dtype, np.floating) else array
    inside = whole != 0
    values = whole[inside]
    if values.size and values.min() < 0:
        raise LabelError(
            f"mask {name} holds negative numbers, down to {values.min():g}: is it a scan? Export "
            "the mask again, as 0 and 1"
        )
    if values.size and values.min() != values.max():
        raise LabelError(
            f"mask {name} holds several numbers ({_listed(values)}), and a mask of one structure "
            "holds 0 and one other: save each structure as a mask of its own, or give a label map "
            "that has its scan's name"
        )
    return inside


def holds_fractions(array: NDArray[Any], name: str) -> bool:
    """Whether any number lies more than 0.001 from a whole one; `LabelError` of NaN or infinity."""
    if not np.issubdtype(array.dtype, np.floating):
        return False
    if not np.isfinite(array).all():
        raise LabelError(f"mask {name} holds NaN or infinite values: export it again as integers")
    return bool((np.abs(array - np.rint(array)) > WHOLE).any())


def cut_at_half(array: NDArray[np.floating], name: str) -> tuple[NDArray[np.bool_], str]:
    """Where probabilities are above 0.5, and a sentence on what was cut away.

    Raises
    ------
    LabelError
        If a number lies outside of 0 to 1, or none above 0.5.

    Examples
    --------
    >>> inside, said = cut_at_half(np.array([0, 0.01, 0.9, 1]), "femur")
    >>> inside.tolist()
    [False, False, True, True]
    >>> said
    'mask femur holds fractions: the 2 voxels above 0.5 were taken, 1 above 0 was not'
    """
    low, high = float(array.min()), float(array.max())
    if low < -WHOLE or high > 1 + WHOLE:
        raise LabelError(
            f"mask {name} holds fractions from {low:.4g} to {high:.4g}: it was interpolated or "
            "scaled, and only probabilities from 0 to 1 can be cut at 0.5; export it again as 0 "
            "and 1"
        )
    inside = array > 0.5
    taken, left = int(inside.sum()), int((array > 0).sum())
    if not taken:
        raise LabelError(
            f"mask {name} holds fractions of at most {high:.4g}, none above 0.5: export it again "
            "as 0 and 1"
        )
    left -= taken
    return inside, (
        f"mask {name} holds fractions: the {taken} voxel{'s' * (taken > 1)} above 0.5 "
        f"{'were' if taken > 1 else 'was'} taken, {left} above 0 "
        f"{'was' if left == 1 else 'were'} not"
    )


def _listed(values: NDArray[Any]) -> str:
    found = np.unique(values)
    return ", ".join(f"{value:g}" for value in found[:8]) + (", ..." if found.size > 8 else "")
