"""A picture of kernels before and after they were inflated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from condyle.report.charts import DPI, encoded
from condyle.report.colours import QUIET

__all__ = ["kernels"]


def kernels(flat: NDArray[np.float32], deep: Mapping[str, NDArray[np.float32]]) -> bytes:
    """A PNG: a row a kernel, first as it was in 2D, then its slices for each way to inflate it.

    Parameters
    ----------
    flat : (kernels, rows, columns).
    deep : name -> (kernels, rows, columns, depth).
    """
    slices = [1, *(kernel.shape[-1] for kernel in deep.values())]
    widths = np.repeat(1.0, sum(slices) + len(slices) - 1)
    gaps = np.cumsum(slices)[:-1] + np.arange(len(slices) - 1)
    widths[gaps] = 0.35
    rows = len(flat)
    height = rows * 0.72 + 0.5
    figure = Figure(figsize=(widths.sum() * 0.72, height), dpi=DPI, facecolor="white")
    grid = figure.subplots(
        rows, len(widths), squeeze=False,
        gridspec_kw={"width_ratios": list(widths), "wspace": 0.06, "hspace": 0.06,
                     "left": 0.01, "right": 0.99, "bottom": 0.02, "top": 1 - 0.42 / height},
    )  # fmt: skip
    for row in grid:
        for axes in row:
            axes.axis("off")
    at = 0
    for name, block in {"2D": flat[..., None], **deep}.items():
        depth = block.shape[-1]
        grid[0][at + depth // 2].set_title(name, fontsize=10, color=QUIET)
        for n in range(rows):
            reach = float(np.abs(flat[n]).max()) or 1.0
            for k in range(depth):
                shown = grid[n][at + k]
                shown.imshow(block[n, ..., k], cmap="RdBu_r", vmin=-reach, vmax=reach)
        at += depth + 1
    return encoded(figure)
