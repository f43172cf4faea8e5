"""What a mask encloses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.refine.components import labelled

__all__ = ["fill_holes"]


def fill_holes(mask: ArrayLike) -> NDArray[np.bool_]:
    """A mask, (i, j, k) or (i, j), with all that it encloses: what no way by faces leads out of.

    The border of the array is a way out: a hollow that is open there stays.

    Examples
    --------
    >>> ring = np.ones((3, 3), bool)
    >>> ring[1, 1] = False
    >>> bool(fill_holes(ring).all())
    True
    """
    inside = np.asarray(mask, dtype=bool)
    parts, _ = labelled(~np.pad(inside, 1), connectivity=4 if inside.ndim == 2 else 6)
    return parts[(slice(1, -1),) * inside.ndim] != parts.flat[0]
