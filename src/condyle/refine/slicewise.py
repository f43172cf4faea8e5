"""The lower-limb tool's rule: clean each slice for itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.refine.components import labelled
from condyle.refine.holes import fill_holes

__all__ = ["clean_slices"]

AT_ONCE = 32
"""Slices brought together in memory, where they may lie strewn: one by one takes longer."""


def clean_slices(mask: ArrayLike, axis: int = 2, ratio: float = 0.01) -> NDArray[np.bool_]:
    """A mask (i, j, k) with each slice's holes filled, then its specks dropped.

    A speck is a part (pixels touch by edge or corner) of fewer pixels than `ratio` times those
    of the mask in that slice, holes filled.

    Parameters
    ----------
    axis : the axis along which slices lie one behind the other.
    ratio : 0.01 is the lower-limb tool's; 0 fills holes only.

    Examples
    --------
    >>> mask = np.ones((20, 10, 1), bool)
    >>> mask[5, 5, 0] = mask[18, :, 0] = mask[19, 1:, 0] = False     # a hole; a speck
    >>> clean_slices(mask)[[5, 19], [5, 0], 0]
    array([ True, False])
    """
    cleaned = np.array(mask, dtype=bool, order="C")
    slices = np.moveaxis(cleaned, axis, 0)
    for first in range(0, len(slices), AT_ONCE):
        few = np.ascontiguousarray(slices[first : first + AT_ONCE])
        for image in few:
            rows, columns = (np.flatnonzero(image.any(axis=other)) for other in (1, 0))
            if len(rows):
                box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                image[box] = _cleaned(image[box], ratio)
        slices[first : first + AT_ONCE] = few
    return cleaned


def _cleaned(image: NDArray[np.bool_], ratio: float) -> NDArray[np.bool_]:
    """One slice after the rule."""
    filled = fill_holes(image)
    parts, sizes = labelled(filled, connectivity=8)
    keep = sizes >= ratio * sizes[1:].sum()
    return filled if keep[1:].all() else filled & np.take(keep, parts)
