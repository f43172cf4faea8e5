"""A prepared scan through a 2D network, slice by slice in one plane."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from condyle.config import Plane
from condyle.predict.runtime import TorchRuntime
from condyle.prepare.slices import AXIS

__all__ = ["by_slices"]

PIXELS_AT_ONCE = 8 * 256 * 256


def by_slices(
    runtime: TorchRuntime, image: NDArray[np.float32], plane: Plane
) -> NDArray[np.float16]:
    """Class probabilities (classes, i, j, k) of a prepared scan (C, i, j, k)."""
    axis = AXIS[plane]
    stack = np.moveaxis(image, axis + 1, 0)  # (slices, C, height, width)
    count, _, height, width = stack.shape
    together = max(1, PIXELS_AT_ONCE // (height * width))
    whole: NDArray[np.float16] | None = None
    for start in range(0, count, together):
        batch = torch.from_numpy(np.array(stack[start : start + together], order="C"))
        found = runtime.probabilities(batch).numpy()
        if whole is None:
            whole = np.empty((found.shape[1], *image.shape[1:]), np.float16)
        np.moveaxis(whole, axis + 1, 0)[start : start + together] = found
    assert whole is not None
    return whole
