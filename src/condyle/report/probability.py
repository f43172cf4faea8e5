"""What a network's probabilities are worth, as pictures: PNG bytes that a phone shows whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.report import tables
from condyle.report.charts import as_written, encoded, narrow, plain
from condyle.report.colours import FAINT, INK, QUIET, Colour, styles

__all__ = ["calibration", "precision_recall"]

SIDE_IN = 4.6
"""Height of a square panel with its title and the words at its axes."""
ROW_IN = 0.21
"""Height of a name in the key."""


def precision_recall(
    counts: Mapping[str, ProbabilityHistogram], colours: Mapping[str, Colour] | None = None
) -> bytes:
    """A PNG of precision over recall, a line a name, with the average precision of each.

    Parameters
    ----------
    counts : name (of a structure, or of a model) -> its voxels by probability. Where there is
        nothing to find no line is drawn. The axes begin where the curves differ.
    colours : structure -> its colour in the label scheme.
    """
    figure, axes = _square("Precision and recall", len(counts))
    shown = {name: c for name, c in counts.items() if c.inside.any()}
    lines, corners = styles(counts, colours or {}), [] if shown else [0.0]
    for name, count in shown.items():
        _, precision, recall = count.precision_recall
        axes.step(recall, precision, where="pre", linewidth=2, label=name, **lines[name]._asdict())
        corners.append(float(np.minimum(precision, recall).max()))
    low = max(0.0, math.floor(min(corners) * 10 - 1e-9) / 10 - 0.2)  # where curves bend, and more
    axes.set(xlim=(low, 1 + 0.02 * (1 - low)), ylim=(low, 1 + 0.02 * (1 - low)))
    if low:
        axes.set_title(f"axes from {low:.1f}", loc="right", fontsize=10, color=QUIET, pad=10)
    axes.yaxis.set_major_locator(
        MaxNLocator(6, steps=[1, 2, 5], prune="lower")
    )  # two numbers meet in the corner
    axes.set_xlabel("recall: part of the truth that is predicted", color=QUIET)
    axes.set_ylabel("precision: part of the prediction that is true", color=QUIET)
    _key(figure, axes, {n: f"AP {c.average_precision:.3f}" for n, c in shown.items()})
    return encoded(figure)


def calibration(
    counts: Mapping[str, ProbabilityHistogram], colours: Mapping[str, Colour] | None = None
) -> bytes:
    """A PNG of how often a structure is there over how often it is expected, a line a name.

    Parameters
    ----------
    counts : name (of a structure, or of a model) -> its voxels by probability. On the diagonal
        probabilities are what they say; a dot is the larger the more voxels it stands for. The
        key gives the expected calibration error (ECE).
    colours : structure -> its colour in the label scheme.
    """
    figure, axes = _square("Calibration", len(counts))
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, zorder=1)
    quiet: dict[str, Any] = {"color": QUIET, "fontsize": 10, "transform": axes.transAxes}
    axes.text(0.03, 0.95, "too shy", va="top", **quiet)
    axes.text(0.97, 0.05, "too sure", ha="right", **quiet)
    shown = {name: c for name, c in counts.items() if c.voxels}
    lines = styles(counts, colours or {})
    for name, count in shown.items():
        expected, observed, voxels = count.reliability()
        axes.plot(expected, observed, linewidth=1.6, label=name, **lines[name]._asdict())
        size = 8 + 10 * np.log10(voxels)
        axes.scatter(
            expected, observed, s=size, color=lines[name].color, zorder=3, edgecolors="white"
        )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_xlabel("expected: the predicted probability", color=QUIET)
    axes.set_ylabel("observed: the structure's frequency", color=QUIET)
    _key(figure, axes, {n: f"ECE {c.calibration_error:.3f}" for n, c in shown.items()})
    return encoded(figure)


def _square(title: str, names: int) -> tuple[Figure, Axes]:
    """A figure with a square panel and room for a key of so many names."""
    figure = narrow(SIDE_IN + ROW_IN * max(1, names))
    axes: Axes = figure.subplots()
    plain(axes, title)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_aspect("equal", adjustable="box")
    return figure, axes


def _key(figure: Figure, axes: Axes, figures: Mapping[str, str]) -> None:
    """Names below the panel, each with its figure, in the order of the lines."""
    lines = [line for line in axes.get_lines() if str(line.get_label()) in figures]
    if not lines:
        axes.text(0.5, 0.5, "nothing counted", transform=axes.transAxes, ha="center", color=QUIET)
        return
    legend = figure.legend(lines, ["name"] * len(lines), loc="outside lower left", frameon=False,
                           fontsize=10.5, labelcolor=INK, handlelength=2.2)  # fmt: skip
    for text, (name, value) in zip(legend.get_texts(), figures.items(), strict=True):
        as_written(text, f"{value}  {tables.words(name)}")
