"""Connected parts of a mask (by face, edge or corner): keep the largest, drop the small."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import label

from condyle.errors import ConfigError

__all__ = ["drop_small", "keep_largest"]

Mask = NDArray[np.bool_]


def keep_largest(mask: ArrayLike, n: int = 1) -> Mask:
    """The n largest connected parts of a mask (i, j, k); all of it if it has no more.

    Of parts of one size, the one with the first voxel in the array is kept. An empty mask stays
    empty.

    Examples
    --------
    >>> keep_largest(np.array([1, 1, 0, 1, 0, 1], bool).reshape(6, 1, 1)).ravel().astype(int)
    array([1, 1, 0, 0, 0, 0])
    """
    if n < 1:
        raise ConfigError(f"the number of parts to keep must be 1 or more, got {n}")
    parts, sizes = labelled(mask, connectivity=26)
    order = np.argsort(-sizes[1:], kind="stable") + 1
    return _chosen(parts, sizes, order[:n])


def drop_small(mask: ArrayLike, min_mm3: float, voxel_volume: float) -> Mask:
    """A mask (i, j, k) without its connected parts of less than a volume in mm³.

    Nothing is left of a mask that has only small parts.

    Parameters
    ----------
    min_mm3 : parts of this volume and more stay.
    voxel_volume : mm³ of one voxel (`Grid.voxel_volume`).

    Examples
    --------
    >>> mask = np.array([1, 1, 0, 1, 0, 1], bool).reshape(6, 1, 1)
    >>> drop_small(mask, min_mm3=6, voxel_volume=3.0).ravel().astype(int)
    array([1, 1, 0, 0, 0, 0])
    """
    parts, sizes = labelled(mask, connectivity=26)
    # A part of exactly min_mm3 stays, whatever the last bit of the product says.
    large = sizes * voxel_volume >= min_mm3 * (1 - 1e-9)
    return _chosen(parts, sizes, np.flatnonzero(large[1:]) + 1)


def labelled(
    mask: ArrayLike, connectivity: Literal[4, 6, 8, 26]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The connected parts of a mask, numbered from 1, and their sizes; `sizes[0]` is the rest.

    In 3D, the numbers follow the parts' first voxels. Connectivity is 6 or 26 in 3D, 4 or 8 in 2D.
    """
    import cc3d

    inside = np.asarray(mask, dtype=bool)
    if connectivity == 8:  # cc3d 4.1 joins wrongly at corners of pixels
        numbered: Any = label(inside, np.ones((3, 3)))
        parts = numbered[0]
    elif sum(side == 1 for side in inside.shape) > 1:  # it fails on masks of one voxel along two
        parts = cc3d.connected_components(np.pad(inside, 1), connectivity=connectivity)
        parts = parts[(slice(1, -1),) * inside.ndim]
    else:
        parts = cc3d.connected_components(inside, connectivity=connectivity)
    return parts, np.bincount(parts.ravel(order="K"))


def _chosen(parts: NDArray[Any], sizes: NDArray[np.int64], numbers: NDArray[Any]) -> Mask:
    keep = np.zeros(len(sizes), bool)
    keep[numbers] = True
    return keep[parts]
