"""A prepared scan through a 2D network, slice by slice in one plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from condyle.config import Plane
from condyle.predict.runtimes.runtime import Runtime
from condyle.prepare.slices import AXIS

__all__ = ["by_slices", "slabs"]

PIXELS_AT_ONCE = 8 * 256 * 256


def by_slices(runtime: Runtime, image: NDArray[np.float32], plane: Plane) -> NDArray[np.float16]:
    """Class probabilities (classes, i, j, k) of a prepared scan (C, i, j, k)."""
    axis = AXIS[plane]
    whole: NDArray[np.float16] | None = None
    for start, found in slabs(runtime, image, plane):
        if whole is None:
            whole = np.empty((found.shape[0], *image.shape[1:]), np.float16)
        there = np.moveaxis(whole, axis + 1, 0)[start : start + found.shape[axis + 1]]
        there[:] = np.moveaxis(found, axis + 1, 0)
    assert whole is not None
    return whole


def slabs(
    runtime: Runtime, image: NDArray[np.float32], plane: Plane
) -> Iterator[tuple[int, NDArray[Any]]]:
    """The first slice of some, and the class probabilities (classes, i, j, k) of these alone."""
    axis = AXIS[plane]
    stack = np.moveaxis(image, axis + 1, 0)  # (slices, C, height, width)
    count, _, height, width = stack.shape
    together = max(1, PIXELS_AT_ONCE // (height * width))
    for start in range(0, count, together):
        batch = torch.from_numpy(np.array(stack[start : start + together], order="C"))
        found = runtime.probabilities(batch).numpy()  # (slices, classes, height, width)
        yield start, np.moveaxis(found, 0, axis + 1)
