"""The lower-limb tool's rule: clean each slice for itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.refine.components import labelled

__all__ = ["clean_slices"]

AT_ONCE = 32
"""Slices brought together in memory, where they may lie strewn: one by one takes longer."""


def clean_slices(mask: ArrayLike, axis: int = 2, ratio: float = 0.01) -> NDArray[np.bool_]:
    """A mask (i, j, k) with each slice's small holes filled, then its specks dropped.

    Small is what has fewer pixels (that touch by edges) than `ratio` times those of the mask in
    that slice, rounded down: of what is not the mask, it is filled; of the mask, it is dropped.
    So a shaft keeps its hollow, and a hip bone its foramen.

    Parameters
    ----------
    mask : all of it, since a pocket at the border of the array is a hole too.
    axis : the axis along which slices lie one behind the other.
    ratio : 0.01 is the lower-limb tool's; 0 changes nothing.

    Examples
    --------
    >>> mask = np.ones((20, 20, 1), bool)
    >>> mask[5, 5, 0] = mask[9:12, 9:12, 0] = mask[18, :, 0] = mask[19, 1:, 0] = False
    >>> clean_slices(mask)[[5, 10, 19], [5, 10, 0], 0]  # a hole; a hollow; a speck
    array([ True, False, False])
    """
    cleaned = np.array(mask, dtype=bool, order="C")
    slices = np.moveaxis(cleaned, axis, 0)
    for first in range(0, len(slices), AT_ONCE):
        few = np.ascontiguousarray(slices[first : first + AT_ONCE])
        for image in few:
            small = int(ratio * np.count_nonzero(image))
            if small > 1:  # else nothing has fewer pixels
                _clean(image, small)
        slices[first : first + AT_ONCE] = few
    return cleaned


def _clean(image: NDArray[np.bool_], small: int) -> None:
    """Fill holes and drop specks of fewer than `small` pixels, in place; the mask is not empty.

    Only a box around the mask is looked at. It has a pixel of room, and reaches the border of the
    slice where the strip beyond is small itself; so what is not the mask and touches another side
    of the box is joined to a strip that is not small.
    """
    box: list[slice] = []
    for axis in (0, 1):
        found, last = np.flatnonzero(image.any(axis=1 - axis)), image.shape[axis]
        across = image.shape[1 - axis]
        low, high = max(found[0] - 1, 0), min(found[-1] + 2, last)
        box.append(slice(low if low * across >= small else 0,
                         high if (last - high) * across >= small else last))  # fmt: skip
    part = image[box[0], box[1]]
    around, sizes = labelled(~part, connectivity=4)
    stays = sizes >= small
    for axis in (0, 1):
        edges = np.moveaxis(around, axis, 0)
        if box[axis].start > 0:
            stays[edges[0]] = True
        if box[axis].stop < image.shape[axis]:
            stays[edges[-1]] = True
    stays[0] = True
    part |= ~np.take(stays, around)
    specks, sizes = labelled(part, connectivity=4)
    part &= np.take(sizes >= small, specks)
