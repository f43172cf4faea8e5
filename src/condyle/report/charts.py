"""Pictures of trainings and scores: curves and boxes, as PNG bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from condyle.jobs.process import without_python_warnings
from condyle.report import tables

__all__ = [
    "ACCENT",
    "DPI",
    "FAINT",
    "INK",
    "NARROW",
    "QUIET",
    "WIDTH",
    "Style",
    "as_written",
    "box_plot",
    "colour_of",
    "column",
    "curves",
    "drawn",
    "encoded",
    "narrow",
    "plain",
    "png",
    "style",
]

DPI = 100
WIDTH = 1200
"""Pixels across, at the most; a phone shows a third of them, a page in print all."""
COMPRESSION = 4
"""zlib's level: half the time of the usual 6, for files a tenth larger."""
INK, QUIET, FAINT = "#3d4450", "#8a919c", "#e4e7eb"
ACCENT = "#0072b2"

NARROW = 720
"""Pixels across a chart that a phone shows whole, letters and all: 5 in at 144 a inch."""

COLOURS = (ACCENT, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
"""Okabe and Ito's, which colour-blind readers tell apart; their yellow fades on white."""
DASHES = ("-", "--", ":", "-.")


class Style(NamedTuple):
    """How lines differ: by its colour, then by its dashes."""

    color: str
    linestyle: str


def style(n: int) -> Style:
    """The style of the n-th line of a chart; 28 differ."""
    return Style(COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)])


def narrow(height_in: float) -> Figure:
    """An empty figure, 5 in wide, for a chart that is read on a phone without moving it."""
    return Figure((NARROW / 144, height_in), 144, facecolor="white", layout="constrained")


def as_written(text: Text, name: str, letters: int = 40) -> None:
    """Make a text show a name as it is, signs of mathematics too, cut to so many letters."""
    text.set_parse_math(False)
    text.set_text(name if len(name) <= letters else name[: letters - 1] + "…")


def curves(history: Sequence[Mapping[str, Any]]) -> bytes:
    """A PNG of loss and scores over epochs, with minutes along the top.

    Parameters
    ----------
    history : a row an epoch. Columns with 'loss' in their name go left; those with other scores
        between 0 and 1 (validation_dice, validation_femur, ...) go right. Gaps are allowed.
    """
    figure = Figure(figsize=(WIDTH / DPI, 4.4), dpi=DPI, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = column(history, "epoch", range(len(history)))
    keys = list(dict.fromkeys(key for row in history for key in row))
    keys = [k for k in keys if k not in ("epoch", "seconds", "rate", "step")]
    losses = [k for k in keys if "loss" in k]
    scores = [k for k in keys if "loss" not in k and _is_score(column(history, k))]
    scores.sort(key=lambda k: k != "validation_dice")
    for axes, names, title in (
        (left, losses, "Loss"),
        (right, scores, "Scores on validation cases"),
    ):
        plain(axes, title)
        for n, key in enumerate(names):
            values = column(history, key)
            kept = np.isfinite(values)
            few = np.count_nonzero(kept) < 60
            axes.plot(epochs[kept], values[kept], **style(n)._asdict(),
                      linewidth=2.2 if n == 0 else 1.2, marker="o" if few else "",
                      markersize=4 if n == 0 else 2.5, alpha=1 if n == 0 else 0.8,
                      zorder=3 if n == 0 else 2)  # fmt: skip
        lines = list(zip(axes.get_lines(), names, strict=True))
        if len(names) > 1:
            _key(axes, lines[:8])
        axes.set_xlabel("epoch", color=QUIET)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not names:
            axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center",
                      va="center", color=QUIET)  # fmt: skip
    if scores:
        _mark_best(right, epochs, column(history, scores[0]))
    _minutes(left, epochs, column(history, "seconds"))
    return encoded(figure)


def column(
    history: Sequence[Mapping[str, Any]], key: str, default: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """A column's numbers; nan where a row has none."""

    def number(value: Any, otherwise: float) -> float:
        try:
            return float(value)
        except (TypeError, ValueError):
            return otherwise

    spare = default or [math.nan] * len(history)
    rows = zip(history, spare, strict=True)
    return np.array([number(row.get(key), float(other)) for row, other in rows], dtype=float)


def _is_score(values: NDArray[np.float64]) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() >= -0.01 and finite.max() <= 1.01)


def plain(axes: Axes, title: str) -> None:
    """Give axes a title, and take off them what is not needed."""
    axes.set_title(title, loc="left", fontsize=12, color=INK, fontweight="bold", pad=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, length=0, labelsize=10)


KEYS = {
    "loss": "training cases",
    "validation_loss": "validation cases",
    "validation_dice": "Dice, mean",
    "validation_iou": "IoU, mean",
    "dice": "Dice, training batches",
    "iou": "IoU, training batches",
}
"""Column of a history -> what it is called beside its line."""


def _key(axes: Axes, lines: Sequence[tuple[Any, str]]) -> None:
    legend = axes.legend([line for line, _ in lines], ["name"] * len(lines), frameon=False,
                         fontsize=9, labelcolor=INK, loc="best")  # fmt: skip
    for text, (_, name) in zip(legend.get_texts(), lines, strict=True):
        text.set_parse_math(False)
        name = KEYS.get(name, name.removeprefix("validation_"))
        text.set_text(tables.words(name)[:28])


def _mark_best(axes: Axes, epochs: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    best = int(np.nanargmax(values))
    axes.plot(epochs[best], values[best], "o", color=ACCENT, markersize=9, zorder=4,
              markeredgecolor="white", markeredgewidth=1.5)  # fmt: skip
    axes.annotate(f"best {values[best]:.3f}", (epochs[best], values[best]), (4, 12),
                  textcoords="offset points", ha="right", fontsize=10, color=ACCENT)  # fmt: skip


def _minutes(axes: Axes, epochs: NDArray[np.float64], seconds: NDArray[np.float64]) -> None:
    """Write how long the training took beside the panel's title."""
    if np.isfinite(seconds).any():
        took = tables.duration(float(np.nanmax(seconds)))
        axes.set_title(
            f"{len(epochs)} epochs in {took}", loc="right", fontsize=10, color=QUIET, pad=10
        )


def box_plot(rows: Sequence[Mapping[str, Any]], metric: str = "dice") -> bytes:
    """A PNG with a box and all its cases for each structure; what is not finite is counted."""
    names = list(dict.fromkeys(str(row["structure"]) for row in rows))
    figure = Figure(figsize=(WIDTH / DPI, 1.3 + 0.55 * max(1, len(names))), dpi=DPI,
                    facecolor="white", layout="constrained")  # fmt: skip
    axes = figure.subplots()
    plain(axes, tables.heading(metric))
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    for at, name in enumerate(names):
        values = column([row for row in rows if str(row["structure"]) == name], metric)
        finite = values[np.isfinite(values)]
        if finite.size:
            quiet: dict[str, Any] = {"color": QUIET, "linewidth": 1.1}
            axes.boxplot(finite, positions=[at], orientation="horizontal", widths=0.5,
                         showfliers=False, whiskerprops=quiet, capprops=quiet, boxprops=quiet,
                         medianprops={"color": ACCENT, "linewidth": 2.2})  # fmt: skip
            spread = at + 0.18 * np.sin(2.4 * np.arange(finite.size))
            axes.plot(
                finite, spread, "o", color=ACCENT, alpha=0.45, markersize=5, markeredgewidth=0
            )
        lost = values.size - finite.size
        if lost:
            axes.text(1.01, at, f"{lost} not finite", transform=axes.get_yaxis_transform(),
                      color=QUIET, va="center", fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(names)), ["name"] * len(names), color=INK)
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.yaxis.set_major_formatter(_naming(names))
    axes.invert_yaxis()
    return encoded(figure)


def _naming(names: Sequence[str]) -> Callable[[float, float], str]:
    """A tick formatter that writes the names of structures."""

    def name_at(value: float, _: float) -> str:
        at = round(value)
        return tables.words(names[at])[:28] if 0 <= at < len(names) else ""

    return name_at


def drawn(figure: Figure) -> NDArray[np.uint8]:
    """A figure's pixels: (rows, columns, 3) red, green, blue; 4 with alpha if it has no ground."""
    canvas = FigureCanvasAgg(figure)
    # a name in a script that the font lacks shows as boxes here; the page writes it in full
    with without_python_warnings("Glyph .* missing from"):
        canvas.draw()
    opaque = figure.get_facecolor()[3] == 1
    return np.asarray(canvas.buffer_rgba())[..., : 3 if opaque else 4]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as the bytes of a PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=COMPRESSION)
    return stream.getvalue()


def encoded(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG."""
    return png(drawn(figure))


def colour_of(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    """Red, green and blue of 0 to 1, from those of 0 to 255."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
