"""Pictures of trainings and scores: curves and boxes, as PNG bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from condyle.jobs.process import without_python_warnings
from condyle.report import tables
from condyle.report.colours import (
    ACCENT,
    DASHES,
    FAINT,
    INK,
    QUIET,
    Colour,
    Style,
    on_white,
    styles,
)

__all__ = [
    "DPI",
    "NARROW",
    "WIDTH",
    "as_written",
    "box_plot",
    "column",
    "curves",
    "drawn",
    "encoded",
    "narrow",
    "plain",
    "png",
]

DPI = 100
WIDTH = 1200
"""Pixels across, at the most; a phone shows a third of them, a page in print all."""
COMPRESSION = 4
"""zlib's level: half the time of the usual 6, for files a tenth larger."""
NARROW = 720
"""Pixels across a chart that a phone shows whole, letters and all: 5 in at 144 a inch."""


def narrow(height_in: float) -> Figure:
    """An empty figure, 5 in wide, for a chart that is read on a phone without moving it."""
    return Figure((NARROW / 144, height_in), 144, facecolor="white", layout="constrained")


def as_written(text: Text, name: str, letters: int = 40) -> None:
    """Make a text show a name as it is, signs of mathematics too, cut to so many letters."""
    text.set_parse_math(False)
    text.set_text(name if len(name) <= letters else name[: letters - 1] + "…")


def curves(
    history: Sequence[Mapping[str, Any]], colours: Mapping[str, Colour] | None = None
) -> bytes:
    """A PNG of loss and scores over epochs, with the time that all took in the title.

    Parameters
    ----------
    history : a row an epoch. Columns with 'loss' in their name go left; those with other scores
        between 0 and 1 (validation_dice, validation_femur, ...) go right. Gaps are allowed.
    colours : structure -> its colour in the label scheme. A structure of the scheme without a
        score is in the legend, as that.
    """
    keys = list(dict.fromkeys(key for row in history for key in row))
    keys = [k for k in keys if k not in ("epoch", "seconds", "rate", "step", "validation_error")]
    losses = [k for k in keys if "loss" in k]
    scores = [k for k in keys if "loss" not in k and _is_score(column(history, k))]
    scores.sort(key=lambda k: k != "validation_dice")
    lost = [n for n in colours or () if f"validation_{n}" not in scores] if scores else []
    rows = max(len(losses), math.ceil((len(scores) + len(lost)) / 2))
    size = (WIDTH / DPI, 4.0 + 0.22 * rows)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = column(history, "epoch", range(len(history)))
    for axes, names, title in (
        (left, losses, "Loss"),
        (right, scores, "Scores on validation cases"),
    ):
        plain(axes, title)
        lines = styles_of_columns(names, colours or {})
        for key in names:
            _plot(axes, epochs, column(history, key), lines[key], main=key == names[0])
        marks = dict(zip(names, axes.get_lines(), strict=True)) if len(names) > 1 else {}
        missing = lost if names is scores else []
        _key(axes, [*marks.items(), *((f"{name} (in none of them)", None) for name in missing)])
        axes.set_xlabel("epoch", color=QUIET)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not names:
            axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center",
                      va="center", color=QUIET)  # fmt: skip
    if scores:
        _mark_best(right, epochs, column(history, scores[0]))
    _minutes(left, epochs, column(history, "seconds"))
    return encoded(figure)


def styles_of_columns(names: Sequence[str], colours: Mapping[str, Colour]) -> dict[str, Style]:
    """The line of each column of a history: grey what is of no structure, by dashes."""
    structures = {name: name.removeprefix("validation_") for name in names}
    own = styles([s for s in structures.values() if s in colours], colours)
    others = [name for name, structure in structures.items() if structure not in colours]
    grey = {
        name: Style(INK if n == 0 else QUIET, DASHES[n % len(DASHES)])
        for n, name in enumerate(others)
        if name in KEYS
    }
    rest = styles([name for name in others if name not in grey], {})
    return grey | rest | {n: own[s] for n, s in structures.items() if s in own}


def _plot(
    axes: Axes,
    epochs: NDArray[np.float64],
    values: NDArray[np.float64],
    line: Style,
    *,
    main: bool,
) -> None:
    """Draw a column, the main one thicker; dots where it has few values."""
    kept = np.isfinite(values)
    few = np.count_nonzero(kept) < 60
    axes.plot(epochs[kept], values[kept], **line._asdict(), linewidth=2.2 if main else 1.4,
              marker="o" if few else "", markersize=4 if main else 2.5,
              zorder=3 if main else 2)  # fmt: skip


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


def _key(axes: Axes, lines: Sequence[tuple[str, Line2D | None]]) -> None:
    """Below the panel, the name of every line; of what has none, the name alone."""
    if not lines:
        return
    handles = [line or Line2D([], [], linestyle="") for _, line in lines]
    legend = axes.legend(handles, ["name"] * len(lines), frameon=False, fontsize=9.5, ncol=2,
                         labelcolor=INK, loc="upper left", bbox_to_anchor=(-0.01, -0.15),
                         handlelength=2.4, borderaxespad=0)  # fmt: skip
    for text, (name, _) in zip(legend.get_texts(), lines, strict=True):
        name = KEYS.get(name, tables.words(name.removeprefix("validation_")))
        as_written(text, name, 44)


def _mark_best(axes: Axes, epochs: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    best = int(np.nanargmax(values))
    axes.plot(epochs[best], values[best], "o", color=INK, markersize=8, zorder=4,
              markeredgecolor="white", markeredgewidth=1.5)  # fmt: skip
    words = axes.annotate(f"best {values[best]:.3f}", (epochs[best], values[best]), (4, 12),
                          textcoords="offset points", ha="right", fontsize=10, color=INK,
                          zorder=5)  # fmt: skip
    words.set_path_effects([withStroke(linewidth=3, foreground="white")])


def _minutes(axes: Axes, epochs: NDArray[np.float64], seconds: NDArray[np.float64]) -> None:
    """Write how long the training took beside the panel's title."""
    if np.isfinite(seconds).any():
        took = tables.duration(float(np.nanmax(seconds)))
        axes.set_title(
            f"{len(epochs)} epochs in {took}", loc="right", fontsize=10, color=QUIET, pad=10
        )


def box_plot(
    rows: Sequence[Mapping[str, Any]],
    metric: str = "dice",
    colours: Mapping[str, Colour] | None = None,
) -> bytes:
    """A PNG with a box and all its cases for each structure; what is not finite is counted.

    Parameters
    ----------
    rows : a row a case and structure.
    metric : which of its figures.
    colours : structure -> its colour in the label scheme.
    """
    names = list(dict.fromkeys(str(row["structure"]) for row in rows))
    figure = Figure(figsize=(WIDTH / DPI, 1.3 + 0.55 * max(1, len(names))), dpi=DPI,
                    facecolor="white", layout="constrained")  # fmt: skip
    axes = figure.subplots()
    plain(axes, tables.heading(metric))
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    for at, name in enumerate(names):
        values = column([row for row in rows if str(row["structure"]) == name], metric)
        colour = on_white(colours[name]) if colours and name in colours else ACCENT
        finite = values[np.isfinite(values)]
        if finite.size:
            quiet: dict[str, Any] = {"color": QUIET, "linewidth": 1.1}
            axes.boxplot(finite, positions=[at], orientation="horizontal", widths=0.5,
                         showfliers=False, whiskerprops=quiet, capprops=quiet, boxprops=quiet,
                         medianprops={"color": colour, "linewidth": 2.2})  # fmt: skip
            spread = at + 0.18 * np.sin(2.4 * np.arange(finite.size))
            axes.plot(finite, spread, "o", color=colour, alpha=0.5, markersize=5, markeredgewidth=0)
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
    opaque = to_rgba(figure.get_facecolor())[3] == 1
    return np.asarray(canvas.buffer_rgba())[..., : 3 if opaque else 4]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels as the bytes of a PNG."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG", compress_level=COMPRESSION)
    return stream.getvalue()


def encoded(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG."""
    return png(drawn(figure))
