"""The lower-limb tool's rule: clean each slice for itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.refine.components import labelled
from condyle.refine.holes import fill_holes

__all__ = ["clean_slices"]


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
    slices = np.moveaxis(np.array(mask, dtype=bool), axis, 0)
    for at in np.flatnonzero(slices.any(axis=(1, 2))):
        filled = fill_holes(slices[at])
        parts, sizes = labelled(filled, connectivity=8)
        keep = sizes >= ratio * sizes[1:].sum()
        keep[0] = False
        slices[at] = keep[parts]
    return np.moveaxis(slices, 0, axis)
