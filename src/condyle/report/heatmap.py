"""How alike regions are, as a picture: a square a layer, a row and a column a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from condyle.report import tables
from condyle.report.charts import DPI, encoded
from condyle.report.colours import INK, QUIET

__all__ = ["heatmap"]

Pair = tuple[str, str]
Cosines = Mapping[Pair, Mapping[str, float]]
Ranges = Mapping[Pair, Mapping[str, Mapping[str, float]]]

WIDE_IN = 10.4
"""Width at the most, at 100 pixels an inch: a page shows it as large as it is."""
EDGE_IN = 2.0
"""Of it, for names and the scale of colours."""
MOST = 10
"""Regions up to which each square shows its number."""


def heatmap(cosines: Sequence[Cosines], random: Sequence[Ranges] = ()) -> bytes:
    """A PNG of the cosine of each two regions in each layer, the mean of all scans.

    Parameters
    ----------
    cosines : a scan each: (region, region) -> layer -> cosine.
    random : a scan each: the same -> `low` and `high` of random regions, shown under the cosine.
    """
    names = list(dict.fromkeys(name for scan in cosines for pair in scan for name in pair))
    layers = list(
        dict.fromkeys(layer for scan in cosines for row in scan.values() for layer in row)
    )
    squares = {layer: _square(names, layer, cosines) for layer in layers}
    ranges = {layer: _ranges(layer, random) for layer in layers}
    lowest = min(float(np.nanmin(square)) for square in squares.values())
    floor = min(np.floor(lowest * 20) / 20, 0.95)
    side = float(np.clip(1.15 * len(names), 2.6, WIDE_IN - EDGE_IN))
    columns = max(1, min(len(layers), int((WIDE_IN - EDGE_IN) / side)))
    rows = -(-len(layers) // columns)
    figure = Figure(
        figsize=(columns * side + EDGE_IN, rows * (side + 0.9) + 0.5), dpi=DPI, facecolor="white",
        layout="constrained",
    )  # fmt: skip
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.ravel()[len(layers) :]:
        axes.set_axis_off()
    image: AxesImage | None = None
    for axes, (layer, square) in zip(panels.ravel(), squares.items(), strict=False):
        image = axes.imshow(square, cmap="viridis", vmin=floor, vmax=1)
        axes.set_title(f"{layer} convolution", loc="left", fontsize=12, color=INK, pad=10)
        axes.set_yticks(range(len(names)), names if axes in panels[:, 0] else [""] * len(names))
        axes.set_xticks(range(len(names)), names, rotation=35 if len(names) > 3 else 0)
        _named(axes)
        if len(names) <= MOST:
            _numbers(axes, names, square, ranges[layer], floor)
    if image is not None:
        bar = figure.colorbar(
            image, ax=list(panels.ravel()), shrink=0.8, pad=0.02, aspect=25 * rows
        )
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]  a patch, says matplotlib
        bar.ax.tick_params(colors=QUIET, length=0)
        bar.set_label("cosine", color=QUIET)
    figure.supxlabel(_caption(len(cosines), bool(random)), fontsize=10, color=QUIET)
    return encoded(figure)


def _square(names: Sequence[str], layer: str, cosines: Sequence[Cosines]) -> NDArray[np.float64]:
    """(regions, regions) means over the scans; 1 for a region and itself."""
    square = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(square, 1)
    for n, a in enumerate(names):
        for m, b in enumerate(names):
            values = [scan[a, b][layer] for scan in cosines if (a, b) in scan]
            if values:
                square[n, m] = square[m, n] = np.mean(values)
    return square


def _ranges(layer: str, random: Sequence[Ranges]) -> dict[Pair, tuple[float, float]]:
    """Pair -> where random regions lie, the mean over the scans."""
    pairs = dict.fromkeys(pair for scan in random for pair in scan)
    found: dict[Pair, tuple[float, float]] = {}
    for a, b in pairs:
        rows = [scan[a, b][layer] for scan in random if (a, b) in scan]
        low, high = (float(np.mean([row[end] for row in rows])) for end in ("low", "high"))
        found[a, b] = found[b, a] = low, high
    return found


def _named(axes: Axes) -> None:
    """Regions' names along the sides, as they are and never as mathematics."""
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_parse_math(False)
        text.set_text(tables.words(text.get_text())[:24])
    axes.tick_params(colors=INK, length=0, labelsize=10)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _numbers(
    axes: Axes,
    names: Sequence[str],
    square: NDArray[np.float64],
    ranges: Mapping[Pair, tuple[float, float]],
    floor: float,
) -> None:
    """Each cosine in its square, and under it the range of random regions."""
    for n, a in enumerate(names):
        for m, b in enumerate(names):
            if n == m or not np.isfinite(square[n, m]):
                continue
            colour = "white" if square[n, m] < floor + 0.6 * (1 - floor) else INK
            range_ = ranges.get((a, b))
            axes.text(
                m, n - 0.08 * bool(range_), f"{square[n, m]:.3f}", color=colour,
                ha="center", va="center", fontsize=11, fontweight="bold",
            )  # fmt: skip
            if range_:
                axes.text(
                    m, n + 0.2, f"{range_[0]:.3f}–{range_[1]:.3f}", color=colour,
                    ha="center", va="center", fontsize=8.5,
                )  # fmt: skip


def _caption(scans: int, random: bool) -> str:
    words = f"means of {scans} scans" if scans > 1 else ""
    below = "small: 90 % of random regions of the same size and shape, put elsewhere in the scan"
    return "; ".join(part for part in (words, below if random else "") if part)
