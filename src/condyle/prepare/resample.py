"""Scans, labels and probabilities onto another number of voxels in the same box of space.

Resampling is separable: along each axis it is one product with a small matrix whose rows hold the
weights of the old voxels in each new one. Enlarging interpolates; shrinking averages over the
width of the new voxel, so that thin cortical bone fades instead of flickering.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from condyle.errors import LabelError

__all__ = ["resample", "resample_labels", "weights"]

Order = Literal["linear", "cubic"]


def _tent(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(1 - np.abs(x), 0, None)


def _keys(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic with a = -1/2 (1981), which keeps parabolas."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


KERNELS: dict[Order, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "linear": _tent,
    "cubic": _keys,
}


def weights(old: int, new: int, order: Order = "linear") -> NDArray[np.float32]:
    """(new, old) weights along one axis whose ends stay where they are; rows sum to 1.

    Examples
    --------
    >>> weights(4, 2).round(2).tolist()
    [[0.43, 0.43, 0.14, 0.0], [0.0, 0.14, 0.43, 0.43]]
    """
    ratio = old / new
    places = (np.arange(new) + 0.5) * ratio - 0.5  # of new voxels, in old ones
    width = max(ratio, 1.0)
    reach = 2 * int(np.ceil(width)) + 1
    inside = np.arange(-reach, old + reach)
    raw = KERNELS[order]((inside[None, :] - places[:, None]) / width)
    matrix = np.zeros((new, old))
    np.add.at(matrix.T, np.clip(inside, 0, old - 1), raw.T)  # beyond the border its value goes on
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


def resample(
    array: NDArray[Any], shape: tuple[int, int, int], order: Order = "linear"
) -> NDArray[np.float32]:
    """An array (..., i, j, k) on `shape` voxels of the same box of space, edge to edge, float32."""
    import torch

    result = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    first = array.ndim - 3
    axes = sorted(range(3), key=lambda a: shape[a] / array.shape[first + a])  # shrinking first
    for axis in axes:
        if shape[axis] == array.shape[first + axis]:
            continue
        matrix = torch.from_numpy(weights(array.shape[first + axis], shape[axis], order))
        moved = result.movedim(first + axis, -1)
        result = (moved @ matrix.T).movedim(-1, first + axis)
    return result.contiguous().numpy()


def resample_labels(
    labels: NDArray[Any],
    shape: tuple[int, int, int],
    names: Mapping[int, str] | None = None,
    allow_loss: bool = False,
) -> NDArray[Any]:
    """Label numbers on `shape` voxels: each new voxel takes the old one at its middle.

    Parameters
    ----------
    labels : (i, j, k) integers.
    names : of the labels, for the message.
    allow_loss : whether a structure may vanish.

    Raises
    ------
    LabelError
        If a structure falls between the new voxels and vanishes; it is named.
    """
    result = labels
    for axis in range(3):
        old, new = labels.shape[axis], shape[axis]
        if old != new:
            nearest = np.floor((np.arange(new) + 0.5) * (old / new)).astype(int)
            result = np.take(result, np.minimum(nearest, old - 1), axis=axis)
    lost = set(np.unique(labels).tolist()) - set(np.unique(result).tolist()) - {0}
    if lost and not allow_loss:
        called = ", ".join((names or {}).get(i, str(i)) for i in sorted(lost))
        raise LabelError(
            f"{called} would vanish between voxels when {labels.shape} become {shape}: "
            "choose a smaller preparation.spacing or a larger preparation.size"
        )
    return np.ascontiguousarray(result)
