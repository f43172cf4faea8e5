"""Models beside each other, as pictures: PNG bytes that a phone shows whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from condyle.report import tables
from condyle.report.charts import as_written, column, encoded, narrow, plain
from condyle.report.colours import ACCENT, FAINT, INK, QUIET, style

__all__ = ["box_plot_of_models", "curves_of_runs", "intervals", "ranks"]

Row = Mapping[str, Any]
Floats = NDArray[np.float64]

MOST_JOINED = 12
"""Models among which a patient's points are joined by a line; of more it would be a thicket."""
ROW_IN = 0.52
"""Height of a model: its name, and below it what is drawn."""


def curves_of_runs(
    histories: Mapping[str, Sequence[Sequence[Row]]],
    over: Literal["epoch", "minutes"] = "epoch",
) -> bytes:
    """A PNG of loss (above) and validation Dice (below) of several models, a colour each.

    Parameters
    ----------
    histories : model -> a history a fold or seed, each with a row an epoch as in history.csv
        (epoch, seconds, loss, validation_dice; gaps are allowed, numbers may be text). Each is a
        thin line; the thick one is their mean, as far as all of them go.
    over : what runs to the right.
    """
    figure = narrow(6.2 + 0.21 * len(histories))
    panels: Sequence[Axes] = figure.subplots(2, 1, sharex=True)
    titles = {"loss": "Training loss", "validation_dice": "Dice on validation cases"}
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        plain(axes, title)
        for n, runs in enumerate(histories.values()):
            lines = [line for line in (_line(run, key, over) for run in runs) if len(line[0])]
            how = style(n)._asdict()
            for x, y in lines if len(lines) > 1 else []:
                axes.plot(x, y, linewidth=0.8, alpha=0.45, **how)
            mark = "o" if sum(len(x) for x, _ in lines) < 40 else ""
            axes.plot(*_mean_line(lines), linewidth=2.2, marker=mark, markersize=3.5, **how)
        if not any(line.get_xdata().size for line in axes.get_lines()):  # type: ignore[union-attr]
            axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center",
                      color=QUIET)  # fmt: skip
    panels[-1].set_xlabel(over, color=QUIET)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _key(figure, list(histories))
    return encoded(figure)


def _line(run: Sequence[Row], key: str, over: str) -> tuple[Floats, Floats]:
    """Where one run's numbers are, and what they are."""
    x = column(run, "epoch", range(len(run)))
    if over == "minutes":
        x = column(run, "seconds") / 60
    y = column(run, key)
    kept = np.isfinite(x) & np.isfinite(y)
    return x[kept], y[kept]


def _mean_line(lines: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """The mean of several lines where all of them are, straight between their points."""
    if not lines:
        return np.zeros(0), np.zeros(0)
    x = np.unique(np.concatenate([x for x, _ in lines]))
    first, last = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    x = x[(x >= first) & (x <= last)]
    if not x.size:
        return np.zeros(0), np.zeros(0)
    return x, np.mean([np.interp(x, *line) for line in lines], axis=0)


def _key(figure: Figure, names: Sequence[str]) -> None:
    """Names at the figure's foot, each in its line's style."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], linewidth=2.2, **style(n)._asdict()) for n in range(len(names))]
    legend = figure.legend(lines, ["name"] * len(names), loc="outside lower left", frameon=False,
                           fontsize=10.5, labelcolor=INK, handlelength=2.2)  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        as_written(text, name)


def box_plot_of_models(scores: Mapping[str, Sequence[float]], metric: str = "dice") -> bytes:
    """A PNG with a box and every patient's point for each model.

    Parameters
    ----------
    scores : model -> a number a patient, the patients in one order; nan: undefined. With at most
        12 models a thin line joins the points of a patient. What is not finite is counted.
    metric : whose numbers they are, for the title: see `condyle.report.tables.METRICS`.
    """
    figure, axes = _rows(tables.heading(metric), len(scores))
    values = [np.asarray(list(column_), dtype=float) for column_ in scores.values()]
    together = len({v.size for v in values}) == 1 and 1 < len(values) <= MOST_JOINED
    at = np.arange(len(values))
    if together:
        for patient in np.stack(values, axis=1):
            kept = np.isfinite(patient)
            axes.plot(patient[kept], at[kept], color=QUIET, linewidth=0.6, alpha=0.5, zorder=1)
    quiet: dict[str, Any] = {"color": INK, "linewidth": 1.1}
    for row, (name, found) in enumerate(zip(scores, values, strict=True)):
        finite = found[np.isfinite(found)]
        if finite.size:
            axes.boxplot(finite, positions=[row], orientation="horizontal", widths=0.34,
                         showfliers=False, whiskerprops=quiet, capprops=quiet, boxprops=quiet,
                         medianprops={"color": "#d55e00", "linewidth": 2.4})  # fmt: skip
            axes.plot(finite, np.full(finite.size, row), "o", color=ACCENT, alpha=0.5,
                      markersize=4.5, markeredgewidth=0)  # fmt: skip
        lost = found.size - finite.size
        _names(axes, row, name, f"{lost} not finite" if lost else "")
    return _finished(figure, axes, len(values))


def intervals(rows: Sequence[Row], metric: str = "dice") -> bytes:
    """A PNG of means with their 95 % confidence intervals, a model below the other.

    Parameters
    ----------
    rows : model, mean, low, high; in the order in which they are shown. A number that is not
        finite is shown as a word, without a mark.
    metric : whose means they are, for the title: see `condyle.report.tables.METRICS`.
    """
    title = f"{tables.heading(metric)}, mean"
    digits = tables.METRICS.get(metric, ("", "", 3))[2]
    return _forest(rows, ("mean", "low", "high"), title, digits)


def ranks(rows: Sequence[Row]) -> bytes:
    """A PNG of ranks (1 is the best) with their 95 % intervals, a model below the other.

    Parameters
    ----------
    rows : model, rank, rank_low, rank_high; in the order in which they are shown.
    """
    keys = ("rank", "rank_low", "rank_high")
    return _forest(rows, keys, "Rank (1 is the best)", 1)


def _forest(rows: Sequence[Row], keys: tuple[str, str, str], title: str, digits: int) -> bytes:
    """A dot and the line of its interval for each row."""
    known = any(math.isfinite(_number(row.get(keys[1]))) for row in rows)
    figure, axes = _rows(title + (" and 95 % interval" if known else ""), len(rows))
    for at, row in enumerate(rows):
        value, low, high = (_number(row.get(key)) for key in keys)
        words = tables.shown(None if row.get(keys[0]) in (None, "") else value, digits)
        if math.isfinite(low) and math.isfinite(high):
            axes.plot([low, high], [at, at], color=ACCENT, linewidth=3, solid_capstyle="butt")
            words += f"  [{tables.shown(low, digits)}, {tables.shown(high, digits)}]"
        if math.isfinite(value):
            axes.plot(value, at, "o", color=ACCENT, markersize=9, markeredgecolor="white",
                      markeredgewidth=1.4, zorder=3)  # fmt: skip
        _names(axes, at, str(row["model"]), words)
    if keys[0] == "rank":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finished(figure, axes, len(rows))


def _number(value: Any) -> float:
    """A value as a number; nan where it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _rows(title: str, rows: int) -> tuple[Figure, Axes]:
    """A figure with a row a model, the first above."""
    figure = narrow(0.9 + ROW_IN * max(1, rows))
    axes: Axes = figure.subplots()
    plain(axes, "")
    as_written(axes.set_title(" ", loc="left", fontsize=12, color=INK, fontweight="bold", pad=8),
               title, 60)  # fmt: skip
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    return figure, axes


def _names(axes: Axes, row: int, name: str, figures: str) -> None:
    """A model's name above its row at the left, and its figures at the right."""
    places = ((0.0, "left", name, INK, 34), (1.0, "right", figures, QUIET, 34))
    for x, side, words, colour, letters in places:
        text = axes.text(x, row - 0.26, " ", transform=axes.get_yaxis_transform(), ha=side,
                         va="bottom", color=colour, fontsize=10.5, zorder=5)  # fmt: skip
        text.set_path_effects([withStroke(linewidth=3, foreground="white")])
        as_written(text, words, letters)


def _finished(figure: Figure, axes: Axes, rows: int) -> bytes:
    axes.set_yticks([])
    axes.set_ylim(max(1, rows) - 0.55, -0.75)
    axes.margins(x=0.04)
    return encoded(figure)
