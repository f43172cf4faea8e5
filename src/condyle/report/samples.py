"""Pictures put together into one."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.image
import numpy as np
from matplotlib.figure import Figure

from condyle.report.charts import DPI, WIDTH, encoded

__all__ = ["samples"]

COLUMNS = 2


def samples(pictures: Sequence[tuple[str, bytes]]) -> bytes:
    """A PNG of PNGs, two a row, each under its caption, on black.

    Parameters
    ----------
    pictures : captions and PNGs, one or more.
    """
    images = [matplotlib.image.imread(io.BytesIO(png), format="png") for _, png in pictures]
    rows = [images[n : n + COLUMNS] for n in range(0, len(images), COLUMNS)]
    wide = WIDTH / COLUMNS
    heights = [max(i.shape[0] / i.shape[1] for i in row) * wide + 30 for row in rows]
    heights = [min(height, wide * 1.2) for height in heights]
    size = (WIDTH / DPI, sum(heights) / DPI)
    figure = Figure(figsize=size, dpi=DPI, facecolor="black", layout="constrained")
    panels = figure.subplots(len(rows), COLUMNS, squeeze=False, height_ratios=heights)
    for axes in panels.ravel():
        axes.set_axis_off()
    for axes, image, (caption, _) in zip(panels.ravel(), images, pictures, strict=False):
        axes.imshow(np.asarray(image))
        axes.set_title(caption, color="white", fontsize=12, parse_math=False)
    return encoded(figure)
