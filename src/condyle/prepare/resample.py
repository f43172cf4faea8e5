"""Scans, labels and probabilities onto another number of voxels in the same box of space.

Resampling is separable: along each axis it is one product with a small matrix whose rows hold the
weights of the old voxels in each new one. Enlarging interpolates; shrinking averages over the
width of the new voxel, so that thin cortical bone fades instead of flickering; but a spline is
the curve through all voxels, read at the middle of each new one, as nnU-Net does it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid
from condyle.errors import GeometryError, LabelError, UnknownName

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Weighted",
    "most_likely",
    "resample_image",
    "resample_labels",
    "resample_probabilities",
    "weights",
]

Order = Literal["linear", "cubic", "spline"]
Shape = tuple[int, int, int]
Box = tuple[slice, ...]

BLOCK_BYTES = 64 * 2**20
"""Memory for one class's probabilities on the larger grid; the other slices wait their turn."""
EQUAL = 1e-5
"""Shares of a voxel that differ by less are a tie."""


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


def _spline(old: int, new: int) -> NDArray[np.float64]:
    """The weights (new, old) of a cubic spline whose end values go on beyond its ends.

    A spline is linear in the voxels: each column is what scipy makes of a single 1.
    """
    from scipy.ndimage import zoom

    ones = np.eye(old)
    return np.asarray(zoom(ones, (new / old, 1), order=3, mode="nearest", grid_mode=True))


def weights(old: int, new: int, order: Order = "linear") -> NDArray[np.float32]:
    """(new, old) weights along one axis whose ends stay where they are; rows sum to 1.

    Examples
    --------
    >>> np.round(weights(4, 2).astype(float), 2).tolist()
    [[0.43, 0.43, 0.14, 0.0], [0.0, 0.14, 0.43, 0.43]]
    """
    if order == "spline":
        return _spline(old, new).astype(np.float32)
    if order not in KERNELS:
        raise UnknownName("interpolation", order, [*KERNELS, "spline"])
    ratio = old / new
    places = (np.arange(new) + 0.5) * ratio - 0.5  # of new voxels, in old ones
    width = max(ratio, 1.0)
    matrix = KERNELS[order]((np.arange(old)[None, :] - places[:, None]) / width)
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


def _matrices(old: Sequence[int], new: Shape, order: Order) -> list[NDArray[np.float32] | None]:
    """The weights along each axis; None where its number of voxels stays."""
    return [None if a == b else weights(a, b, order) for a, b in zip(old, new, strict=True)]


def _product(array: Tensor, matrices: Sequence[NDArray[np.float32] | None]) -> Tensor:
    """The array (..., i, j, k) with its last three axes multiplied, those that shrink first."""
    import torch

    todo = [
        (m.shape[0] / m.shape[1], axis - 3, m) for axis, m in enumerate(matrices) if m is not None
    ]
    for _, axis, rows in sorted(todo, key=lambda row: row[0]):
        matrix = torch.from_numpy(rows)
        if axis == -1:
            array = array @ matrix.T
        elif axis == -2:
            array = matrix @ array
        else:
            sides = array.shape[-2:]
            array = (matrix @ array.flatten(-2)).unflatten(-1, sides)
    return array


def _tensor(array: NDArray[Any]) -> Tensor:
    """A float32 copy: torch takes neither uint16 nor the negative strides of a flipped array."""
    import torch

    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def resample_image(
    array: NDArray[Any], source: Grid, target_shape: Shape, order: Order = "linear"
) -> NDArray[np.float32]:
    """The scan (i, j, k) of `source` on the voxels of `source.resized(target_shape)`, float32.

    Raises
    ------
    GeometryError
        If the array does not lie on `source`.

    Examples
    --------
    >>> grid = Grid.regular((2, 1, 1))
    >>> resample_image(np.array([[[0]], [[4]]]), grid, (4, 1, 1)).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    if array.shape != source.shape:
        raise GeometryError(f"an array of {array.shape} does not lie on a grid of {source.shape}")
    tensor = _tensor(array)
    result = _product(tensor, _matrices(source.shape, target_shape, order))
    if order == "spline":  # it swings beyond steps; scikit-image, and so nnU-Net, cuts that off
        result = result.clamp(tensor.min(), tensor.max())
    return result.contiguous().numpy()


def resample_probabilities(probabilities: NDArray[Any], target_shape: Shape) -> NDArray[np.float32]:
    """Class probabilities (classes, i, j, k) on another number of voxels, linearly, float32."""
    matrices = _matrices(probabilities.shape[1:], target_shape, "linear")
    return _product(_tensor(probabilities), matrices).contiguous().numpy()


@dataclass(frozen=True, eq=False)
class Weighted:
    """Class probabilities for `most_likely`.

    Parameters
    ----------
    probabilities : (classes, i, j, k), of any size.
    weight : in the sum: a number, or an array that broadcasts to the target.
    box : the part of the target that they fill; None: all. Beyond it all is background.
    """

    probabilities: NDArray[Any]
    weight: float | NDArray[Any] = 1.0
    box: Box | None = None


def most_likely(
    probabilities: NDArray[Any] | Sequence[Weighted], target_shape: Shape
) -> NDArray[np.uint8]:
    """The index of the most probable class at each of `target_shape` voxels.

    The same as the argmax of `resample_probabilities`, but class after class in blocks of slices,
    so that the probabilities are never all there at full size. Of equal classes the first wins.

    Parameters
    ----------
    probabilities : (classes, i, j, k); or several of them, weighted.

    Raises
    ------
    LabelError
        If there are more than 256 classes.
    """
    import torch

    alone = isinstance(probabilities, np.ndarray)
    parts = [Weighted(probabilities)] if alone else probabilities
    classes, depth = parts[0].probabilities.shape[0], target_shape[2]
    if classes > 256:
        raise LabelError(f"{classes} classes are too many; 256 with background are the most")
    enlarged = [_Enlarged(part, target_shape) for part in parts]
    result = np.empty(target_shape, np.uint8)
    step = max(1, BLOCK_BYTES // (4 * target_shape[0] * target_shape[1]))
    for start in range(0, depth, step):
        stop = min(start + step, depth)
        best: Tensor | None = None
        winner = torch.zeros((stop - start, *target_shape[:2]), dtype=torch.uint8)
        for number in range(classes):
            first, *more = enlarged
            full = first.block(number, start, stop)
            for other in more:
                full = full + other.block(number, start, stop)
            if best is None:
                best = full
            else:
                winner.masked_fill_(full > best, number)
                best = torch.maximum(best, full)
        result[:, :, start:stop] = winner.permute(1, 2, 0).numpy()
    return result


class _Enlarged:
    """Class probabilities on another number of voxels, weighted, a class and a block at a time."""

    def __init__(self, part: Weighted, shape: Shape):
        self.array, weight = part.probabilities, part.weight
        self.whole, self.box = shape[:2], part.box
        self.sure = float(self.array[:, 0, 0, 0].sum(dtype=np.float32))  # of several: their number
        i, j, k = shape if part.box is None else (side.stop - side.start for side in part.box)
        self.sides = (i, j)
        *self.flat, self.along = _matrices(self.array.shape[1:], (i, j, k), "linear")
        self.grows = all(
            new >= old for old, new in zip(self.array.shape[1:3], self.sides, strict=True)
        )
        self.weight = weight
        if isinstance(weight, np.ndarray):
            self.weight = np.broadcast_to(weight, shape).transpose(2, 0, 1)

    def block(self, number: int, start: int, stop: int) -> Tensor:
        """The slices (k, i, j) of one class from `start` to `stop`."""
        full = self._unweighted(number, start, stop)
        if isinstance(self.weight, np.ndarray):
            return full * _tensor(self.weight[start:stop])
        return full if self.weight == 1 else full * self.weight

    def _unweighted(self, number: int, start: int, stop: int) -> Tensor:
        """The slices with background about the box."""
        if self.box is None:
            return self._inside(number, start, stop)
        import torch

        i, j, k = self.box
        full = torch.full((stop - start, *self.whole), 0.0 if number else self.sure)
        low, high = max(start, k.start), min(stop, k.stop)
        if low < high:
            inside = self._inside(number, low - k.start, high - k.start)
            full[low - start : high - start, i, j] = inside
        return full

    def _inside(self, number: int, start: int, stop: int) -> Tensor:
        """The slices of the box itself."""
        from torch.nn.functional import interpolate

        rows, low, high = None, start, stop
        if self.along is not None:
            used = np.flatnonzero(self.along[start:stop].any(axis=0))
            low, high = int(used[0]), int(used[-1]) + 1
            rows = self.along[start:stop, low:high]
        near = _tensor(self.array[number, ..., low:high].transpose(2, 0, 1))
        if self.grows and any(matrix is not None for matrix in self.flat):  # the same, but faster
            near = _product(near, [rows, None, None])
            return interpolate(near[None], self.sides, mode="bilinear")[0]
        return _product(near, [rows, *self.flat])


def resample_labels(
    labels: NDArray[Any],
    target_shape: Shape,
    method: Literal["nearest", "one-hot"] = "nearest",
    *,
    names: Mapping[int, str] | None = None,
    allow_loss: bool = False,
    ignore: int | None = None,
) -> NDArray[Any]:
    """Label numbers, of the same integer type, on `target_shape` voxels; none is ever mixed.

    Parameters
    ----------
    labels : (i, j, k) integers.
    method : nearest: a new voxel takes the old one at its middle. one-hot: it takes the label with
        the largest share of it, and of equal shares the larger number; slower, smoother.
    names : of the labels, for the message.
    allow_loss : whether a structure may vanish.
    ignore : the number of voxels nobody labelled, which is not a structure: it may vanish.

    Raises
    ------
    LabelError
        If a structure falls between the new voxels and vanishes; it is named.
    """
    if method not in METHODS:
        raise UnknownName("method for labels", method, METHODS)
    result = METHODS[method](labels, target_shape)
    lost = set(np.unique(labels).tolist()) - set(np.unique(result).tolist()) - {0, ignore}
    if lost and not allow_loss:
        called = ", ".join((names or {}).get(i, str(i)) for i in sorted(lost))
        raise LabelError(
            f"{called} would be lost when {labels.shape} become {target_shape}: "
            "choose a smaller preparation.spacing or a larger preparation.size"
        )
    return np.ascontiguousarray(result)


def _nearest(labels: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Each new voxel takes the label at its middle."""
    result = labels
    for axis, (old, new) in enumerate(zip(labels.shape, shape, strict=True)):
        if old != new:
            middle = np.floor((np.arange(new) + 0.5) * (old / new)).astype(int)
            result = np.take(result, np.minimum(middle, old - 1), axis=axis)
    return result


def _largest_share(labels: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Each new voxel takes the label that has the largest share of it."""
    from scipy.ndimage import find_objects

    axes = [weights(old, new) for old, new in zip(labels.shape, shape, strict=True)]
    result = np.zeros(shape, labels.dtype)
    best, taken = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for number, box in enumerate(find_objects(labels.astype(np.int32)), 1):
        if box is None:
            continue
        columns = [matrix[:, span] for matrix, span in zip(axes, box, strict=True)]
        touched = [np.flatnonzero(matrix.any(axis=1)) for matrix in columns]
        if not all(rows.size for rows in touched):
            continue
        there = tuple(slice(int(rows[0]), int(rows[-1]) + 1) for rows in touched)
        matrices = [m[rows] for m, rows in zip(columns, there, strict=True)]
        share = _product(_tensor(labels[box] == number), matrices).numpy()
        wins = (share > EQUAL) & (share >= best[there] - EQUAL)
        result[there][wins] = number
        np.maximum(best[there], share, out=best[there])
        taken[there] += share
    result[best < 1 - taken - EQUAL] = 0
    return result


METHODS: dict[str, Callable[[NDArray[Any], Shape], NDArray[Any]]] = {
    "nearest": _nearest,
    "one-hot": _largest_share,
}
