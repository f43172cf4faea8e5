"""Pictures of cases and of surfaces, as PNG bytes; those of trainings come from `charts`.

Drawn without any global state, so that threads may draw at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from condyle.core import LabelMap, Volume
from condyle.core.lattice import on_grid
from condyle.measure.offset import offsets_mm
from condyle.report import render, tables
from condyle.report.charts import DPI, QUIET, WIDTH, box_plot, colour_of, curves, encoded
from condyle.report.models import box_plot_of_models, curves_of_runs, intervals, ranks
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
    "precision_recall",
    "ranks",
]

HEIGHT = 1000
LETTERS = 13
"""Size of what is written, in points; a phone shows it at less than half."""
CT_WINDOW = (-250.0, 900.0)
"""HU shown from black to white: soft tissue dark, cortical bone bright."""
MARGIN_MM = 30.0
"""Kept around the labels when the picture is cut to them."""
MOST_NAMES = 12

SCALES_MM = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
"""Ends that the scale of distances may have."""
STRANGE = (148, 103, 189)
"""Colour of a surface that has no true one to be far from."""

Entry = tuple[Patch | Line2D, str]
"""A mark of a legend and its name."""

PLANES = {"axial": (2, "RLAP"), "coronal": (1, "RLSI"), "sagittal": (0, "APSI")}
"""Plane -> the RAS axis across it, and the letters at the left, right, top and bottom."""


def overlay(
    volume: Volume,
    truth: LabelMap | None,
    predicted: LabelMap | None,
    planes: Sequence[str] = tuple(PLANES),
) -> bytes:
    """A PNG of slices through the labels: the truth as outlines, the prediction as filled colours.

    The patient's right is on the picture's left and the head up, whatever the order of the voxels
    on disk; all planes share one scale in mm. Each plane cuts where the truth (without one, the
    prediction) is largest, and is cropped to the labels and 30 mm around them. CT is shown from
    -250 to 900 HU, other scans between their percentiles 1 and 99.5.

    Raises
    ------
    GridMismatch
        If the labels are not on the scan's grid.
    """
    maps = [m for m in (truth, predicted) if m is not None]
    maps = [on_grid(m, volume.grid, "scan and labels of a picture") for m in maps]
    volume = volume.reoriented("RAS")
    turned = [m.reoriented("RAS") for m in maps]
    start, stop, middle = _cut([m.within(m.known()).array for m in turned], volume)
    spacing = np.array(volume.spacing)

    def slices(array: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {name: _slice(array, PLANES[name][0], start, stop, middle) for name in planes}

    scan = slices(volume.array)
    low, high = _window(volume, list(scan.values()))
    sizes = [np.delete((stop - start) * spacing, PLANES[name][0]) for name in planes]
    entries = _entries(turned, truth is not None, predicted is not None)
    figure, panels = _panels(sizes, entries, "black")
    for axes, name, (width, height) in zip(panels, planes, sizes, strict=True):
        extent = (0.0, float(width), float(height), 0.0)
        axes.imshow(scan[name], cmap="gray", vmin=low, vmax=high, extent=extent,
                    interpolation="bilinear")  # fmt: skip
        step = np.delete(spacing, PLANES[name][0])
        if predicted is not None:
            _fill(axes, slices(turned[-1].array)[name], predicted, extent)
        if truth is not None:
            _outline(axes, slices(turned[0].array)[name], truth, step, filled=predicted is not None)
        axes.set(xlim=(0, width), ylim=(height, 0))
        _letters(axes, PLANES[name][1], "white")
    _write_legend(figure, entries, "#d5d9de")
    return encoded(figure)


def _cut(
    arrays: list[NDArray[Any]], volume: Volume
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First and last voxel of what is shown, and the voxel that the planes pass through."""
    shape, spacing = np.array(volume.grid.shape), np.array(volume.spacing)
    start, stop, middle = np.zeros(3, int), shape.copy(), shape // 2
    filled = [a for a in arrays if a.any()]
    if not filled:
        return start, stop, middle
    margin = np.ceil(MARGIN_MM / spacing).astype(int)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero(np.any([a.any(axis=others) for a in filled], axis=0))
        start[axis] = max(0, where[0] - margin[axis])
        stop[axis] = min(shape[axis], where[-1] + 1 + margin[axis])
        middle[axis] = int(np.argmax(np.count_nonzero(filled[0], axis=others)))
    return start, stop, middle


def _slice(
    array: NDArray[Any],
    axis: int,
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    middle: NDArray[np.int64],
) -> NDArray[Any]:
    """The slice across a RAS axis: head (or front) up, the patient's right (or front) left."""
    place: list[slice | int] = [slice(a, b) for a, b in zip(start, stop, strict=True)]
    place[axis] = int(middle[axis])
    return array[tuple(place)][::-1, ::-1].T


def _window(volume: Volume, slices: list[NDArray[Any]]) -> tuple[float, float]:
    """The intensities shown as black and as white."""
    values = np.concatenate([s.ravel() for s in slices]).astype(float)
    values = values[np.isfinite(values)]
    if volume.modality == "CT" or (not volume.modality and values.size and values.min() < -500):
        return CT_WINDOW
    low, high = np.percentile(values, (1, 99.5)) if values.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)


def _fill(
    axes: Axes,
    labels: NDArray[Any],
    scheme_of: LabelMap,
    extent: tuple[float, float, float, float],
) -> None:
    colours = np.zeros((*labels.shape, 4))
    for label in scheme_of.scheme.labels:
        colours[labels == label.id] = (*colour_of(label.colour), 0.5)
    axes.imshow(colours, extent=extent, interpolation="nearest")


def _outline(
    axes: Axes, labels: NDArray[Any], scheme_of: LabelMap, step: NDArray[np.float64], filled: bool
) -> None:
    padded = np.pad(labels, 1)
    x = (np.arange(padded.shape[1]) - 0.5) * step[0]
    y = (np.arange(padded.shape[0]) - 0.5) * step[1]
    for label in scheme_of.scheme.labels:
        mask = padded == label.id
        if mask.any():
            colour = (1.0, 1.0, 1.0) if filled else colour_of(label.colour)
            lines = axes.contour(x, y, mask, levels=[0.5], colors=[colour], linewidths=1.3)
            lines.set_path_effects([withStroke(linewidth=3, foreground="black", alpha=0.55)])


def _panels(
    sizes: Sequence[Any],
    entries: Sequence[Entry],
    background: str,
    headings: int = 0,
    foot: int = 0,
) -> tuple[Figure, list[Axes]]:
    """A figure with a row of panels of given (width, height), all on one scale in mm."""
    gap, legend = 12, 14 + 27 * _legend_rows(entries)
    across, up = sum(w for w, _ in sizes), max(h for _, h in sizes)
    scale = min((WIDTH - gap * (len(sizes) + 1)) / across, HEIGHT / up)
    width = max(math.ceil(across * scale) + gap * (len(sizes) + 1), 480)
    tall = math.ceil(up * scale)
    height = tall + 2 * gap + headings + legend + foot
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=background)
    left = (width - across * scale - gap * (len(sizes) - 1)) / 2
    panels: list[Axes] = []
    for w, h in sizes:
        bottom = foot + legend + gap + (tall - h * scale) / 2
        place = (left / width, bottom / height, w * scale / width, h * scale / height)
        axes = figure.add_axes(place)
        axes.set_axis_off()
        panels.append(axes)
        left += w * scale + gap
    return figure, panels


def _letters(axes: Axes, letters: str, colour: str) -> None:
    """The sides of the body at a panel's left, right, top and bottom."""
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"),
              (0.5, 0.985, "center", "top"), (0.5, 0.015, "center", "bottom"))  # fmt: skip
    for letter, (x, y, ha, va) in zip(letters, places, strict=False):
        text = axes.text(x, y, letter, ha=ha, va=va, color=colour, fontsize=12,
                         fontweight="bold", transform=axes.transAxes)  # fmt: skip
        if colour == "white":
            text.set_path_effects([withStroke(linewidth=2.5, foreground="black", alpha=0.6)])


def _shown_labels(maps: Sequence[LabelMap]) -> dict[str, tuple[float, float, float]]:
    """Name -> colour of the structures that occur."""
    return {
        label.name: colour_of(label.colour)
        for m in maps
        for present in [set(m.present())]
        for label in m.scheme.labels
        if label.id in present
    }


def _entries(maps: Sequence[LabelMap], outlined: bool, filled: bool) -> list[Entry]:
    """What the legend of an overlay names."""
    shown = _shown_labels(maps)
    entries: list[Entry] = []
    for name, colour in list(shown.items())[:MOST_NAMES]:
        entries.append((Patch(facecolor=colour), tables.words(name)[:24]))
    if len(shown) > MOST_NAMES:
        entries.append((Patch(facecolor="none"), f"and {len(shown) - MOST_NAMES} more"))
    if outlined:
        entries.append((Line2D([], [], color="white", linewidth=1.5), "truth"))
    if filled:
        entries.append((Patch(facecolor="#9aa0a8"), "prediction"))
    return entries


def _legend_rows(entries: Sequence[Entry]) -> int:
    """Rows that the entries need at 0.75 of the full width: 10 pixels a letter, 56 a handle."""
    return max(1, math.ceil(sum(10 * len(name) + 56 for _, name in entries) / (0.75 * WIDTH)))


def _write_legend(
    figure: Figure, entries: Sequence[Entry], colour: str, bottom: float = 0.0
) -> None:
    """Rows of handles with names, `bottom` (0 to 1) above the figure's foot, shown as they are."""
    if not entries:
        return
    legend = figure.legend(
        [handle for handle, _ in entries], ["name"] * len(entries), loc="lower center",
        bbox_to_anchor=(0.5, bottom), ncol=math.ceil(len(entries) / _legend_rows(entries)),
        frameon=False, fontsize=LETTERS, labelcolor=colour, handlelength=1.2, handleheight=0.9,
        columnspacing=1.6, handletextpad=0.6, borderaxespad=0.3,
    )  # fmt: skip
    for text, (_, name) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(name)


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
    sizes = [np.ptp(render.VIEWS[view].of(box), axis=0)[:2] for _, view, _ in shown]
    names = {m.name: colour_of(m.colour) for m in meshes if not isinstance(m, Painted)}
    entries: list[Entry] = [
        (Patch(facecolor=colour), tables.words(name)[:24])
        for name, colour in list(names.items())[:MOST_NAMES]
    ]
    entries += more
    figure, panels = _panels(sizes, entries, "none", headings=30, foot=foot)
    for axes, (title, name, group), (width, _) in zip(panels, shown, sizes, strict=True):
        view = render.VIEWS[name]
        pixels = axes.get_position().width * figure.get_figwidth() * DPI
        axes.imshow(render.draw(group, view, box, pixels / width), aspect="auto")
        _letters(axes, view.left + view.right, QUIET)
        words = f"{title}, {name}" if title else name
        axes.set_title(words, fontsize=LETTERS, color=QUIET)
    part = foot / (figure.get_figheight() * DPI)
    _write_legend(figure, entries, QUIET, part)
    return figure, part
