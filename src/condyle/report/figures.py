"""Pictures of cases and of surfaces, as PNG bytes; those of trainings come from `charts`.

Drawn without any global state, so that threads may draw at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from condyle.measure.offset import offsets_mm
from condyle.report import panels, render
from condyle.report.charts import DPI, box_plot, curves, encoded
from condyle.report.colours import QUIET, colour_of
from condyle.report.models import box_plot_of_models, curves_of_runs, intervals, ranks
from condyle.report.overlay import PLANES, overlay, overlay_pixels
from condyle.report.panels import LETTERS, Entry
from condyle.report.probability import calibration, precision_recall
from condyle.report.render import Painted, Surface

__all__ = [
    "PLANES",
    "box_plot",
    "box_plot_of_models",
    "calibration",
    "curves",
    "curves_of_runs",
    "distances",
    "intervals",
    "overlay",
    "overlay_pixels",
    "precision_recall",
    "ranks",
    "surfaces",
]

MOST_NAMES = 40
"""Structures that a legend names, at most."""

SCALES_MM = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""Ends that the scale of distances may have."""
STRANGE = (148, 103, 189)
"""Colour of a surface that has no true one to be far from."""


def surfaces(shown: Sequence[Surface]) -> bytes:
    """A PNG of surfaces, seen from the front and from the left side."""
    return encoded(_views({"": shown}, [])[0])


def distances(predicted: Sequence[Surface], truth: Sequence[Surface]) -> bytes:
    """A PNG of the true surfaces and, beside them, the predicted ones by their distance to these.

    The colour at each vertex of a predicted surface is its distance in mm to the nearest point of
    the true surface of the same name: blue inside it, grey on it, red outside. The scale ends
    at 1, 2, 3, 5, 10, 20 or 50 mm, above three times the median distance. A structure that the
    truth lacks is violet; what was missed is seen in the truth alone.
    """
    true = {mesh.name: mesh for mesh in truth}
    lighter = [(mesh, *render.simpler(mesh.vertices, mesh.faces)) for mesh in predicted]
    offsets = [
        offsets_mm(vertices, true[mesh.name].vertices, true[mesh.name].faces)
        if mesh.name in true
        else np.full(len(vertices), np.nan)
        for mesh, vertices, _ in lighter
    ]
    usual = float(np.nanmedian(np.abs(np.concatenate([*offsets, np.zeros(1)]))))
    limit = next((mm for mm in SCALES_MM if 3 * usual <= mm), SCALES_MM[-1])
    painted = [
        Painted(vertices, faces, mesh.colour, mesh.name, _by_distance(offset, limit))
        for (mesh, vertices, faces), offset in zip(lighter, offsets, strict=True)
    ]
    invented = [mesh for mesh in predicted if mesh.name not in true]
    entries: list[Entry] = (
        [(Patch(facecolor=colour_of(STRANGE)), "not there in truth")] if invented else []
    )
    figure, foot = _views({"truth": truth, "prediction": painted}, entries, SCALE_PIXELS)
    _write_scale(figure, limit, foot)
    return encoded(figure)


SCALE_PIXELS = 66
"""Height of the scale of distances and what is written at it."""


def _by_distance(offsets: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """A colour, 0 to 255, for each distance; the scale's ends for what lies beyond them."""
    known = np.isfinite(offsets)
    part = np.clip(np.where(known, offsets, 0) / limit, -1, 1) / 2 + 0.5
    colours = np.asarray(colormaps["coolwarm"](part))[:, :3] * 255
    colours[~known] = STRANGE
    return colours


def _write_scale(figure: Figure, limit: float, foot: float) -> None:
    """The scale of distances, in the lowest part of a figure that is left free for it."""
    pixels = figure.get_figheight() * DPI
    width = min(0.6, 520 / (figure.get_figwidth() * DPI))
    axes = figure.add_axes((0.5 - width / 2, foot - 26 / pixels, width, 14 / pixels))
    colours = _by_distance(np.linspace(-limit, limit, 256), limit) / 255
    axes.imshow(colours[None], aspect="auto", extent=(-limit, limit, 0, 1))
    axes.set_yticks([])
    ticks = (-limit, -limit / 2, 0.0, limit / 2, limit)
    words = (f"{limit:g} or more", f"{limit / 2:g}", "0 mm", f"{limit / 2:g}", f"{limit:g} or more")
    axes.set_xticks(ticks, words, fontsize=LETTERS, color=QUIET)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for x, side, text in ((-0.02, "right", "inside"), (1.02, "left", "outside")):
        axes.text(x, 0.5, text, transform=axes.transAxes, ha=side, va="center", color=QUIET,
                  fontsize=LETTERS)  # fmt: skip


def _views(
    groups: Mapping[str, Sequence[Surface]], more: Sequence[Entry], foot: int = 0
) -> tuple[Figure, float]:
    """A figure of groups of surfaces from all sides; and how high its free foot is, 0 to 1.

    Parameters
    ----------
    groups : title -> surfaces. All are drawn on one scale.
    more : what the legend names beside the structures.
    foot : pixels left free below the legend.
    """
    meshes = [mesh for group in groups.values() for mesh in group]
    box = render.bounds(meshes)
    pad = 0.07 * float(np.ptp(box, axis=0).max())
    box = box + np.array([[-pad], [pad]])
    shown = [(title, view, group) for view in render.VIEWS for title, group in groups.items()]
    sizes = [np.ptp(render.VIEWS[view].of(box), axis=0)[:2].tolist() for _, view, _ in shown]
    names = {m.name: colour_of(m.colour) for m in meshes if not isinstance(m, Painted)}
    entries: list[Entry] = [
        panels.entry(colour, name) for name, colour in list(names.items())[:MOST_NAMES]
    ]
    entries += more
    row = panels.row_of_panels(sizes, entries, "none", lines=1, foot=foot)
    for axes, (title, name, group), (width, _) in zip(row.panels, shown, sizes, strict=True):
        view = render.VIEWS[name]
        pixels = axes.get_position().width * row.figure.get_figwidth() * DPI
        axes.imshow(render.draw(group, view, box, pixels / width), aspect="auto")
        panels.letters(axes, view.left + view.right, QUIET)
        words = f"{title}, {name}" if title else name
        axes.set_title(words, fontsize=LETTERS, color=QUIET)
    panels.scale_bar(row, sizes, QUIET, below=True)
    part = foot / (row.figure.get_figheight() * DPI)
    panels.write_legend(row, entries, QUIET, part)
    return row.figure, part
