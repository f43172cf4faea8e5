"""Slices of a scan with its labels drawn into them, as pixels or as PNG bytes.

Drawn without any global state, so that threads may draw at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from condyle.core import LabelMap, Volume
from condyle.core.lattice import on_grid
from condyle.core.volume import OnGrid
from condyle.report import panels
from condyle.report.charts import WIDTH, drawn, png
from condyle.report.colours import colour_of
from condyle.report.panels import LETTERS, Entry

__all__ = [
    "PALE",
    "PLANES",
    "Cut",
    "cut_to",
    "entries_of",
    "fill",
    "overlay",
    "overlay_pixels",
    "sides_of",
    "turned_channels",
    "window_of",
]

CT_WINDOW = (-250.0, 900.0)
"""HU shown from black to white: soft tissue dark, cortical bone bright."""
MARGIN_MM = 30.0
"""Kept around the labels when the picture is cut to them."""
MOST_NAMES = 40
"""Structures that a legend names, at most."""
PALE = "#d5d9de"
"""What is written on black."""
ONE_LINE = 340
"""Pixels that a panel's title needs to stand in one line."""

PLANES = {"axial": (2, "RLAP"), "coronal": (1, "RLSI"), "sagittal": (0, "APSI")}
"""Plane -> the RAS axis across it, and the letters at the left, right, top and bottom."""
TOWARDS = ("RL", "AP", "SI")
"""RAS axis -> the side of the body where millimetres are positive, and where negative."""


def overlay(
    scan: Volume | Sequence[Volume],
    truth: LabelMap | None,
    predicted: LabelMap | None,
    planes: Sequence[str] = tuple(PLANES),
) -> bytes:
    """A PNG of slices through the labels: the truth as outlines, the prediction as filled colours.

    The patient's right is on the picture's left and the head up, whatever the order of the voxels
    on disk; all planes share one scale in mm, which a bar shows. Each plane cuts where the truth
    (without one, the prediction) is largest, and is cropped to the labels and 30 mm around them.
    Above it stand the number of the slice, counted from the patient's left, back or feet from 0,
    and its place in the scan's millimetres. CT is shown from -250 to 900 HU, other scans between
    their percentiles 1 and 99.5.

    A picture has one slice and no body around it: its bar is in pixels, and its three channels are
    its colours.

    Raises
    ------
    GridMismatch
        If the labels are not on the scan's grid.
    """
    return png(overlay_pixels(scan, truth, predicted, planes))


def overlay_pixels(
    scan: Volume | Sequence[Volume],
    truth: LabelMap | None,
    predicted: LabelMap | None,
    planes: Sequence[str] = tuple(PLANES),
    *,
    width: int = WIDTH,
    at: int | None = None,
    title: str = "",
) -> NDArray[np.uint8]:
    """The same as (rows, columns, 3) red, green, blue.

    Parameters
    ----------
    width : pixels across, at most.
    at : the slice that is shown, counted from the patient's left, back or feet from 0.
    title : what is written above.
    """
    channels = turned_channels(scan)
    volume, maps = channels[0], [m for m in (truth, predicted) if m is not None]
    maps = [on_grid(m, volume.grid, "scan and labels of a picture") for m in maps]
    planes = ("axial",) if volume.grid.is_picture else planes
    turned = [m.reoriented("RAS") for m in maps]
    cut = cut_to([m.within(m.known()).array for m in turned], volume)
    if at is not None:
        cut.middle[[PLANES[name][0] for name in planes]] = at
    seen = {name: cut.seen(channels, name) for name in planes}
    shown = [{name: cut.slice(m.array, name) for name in planes} for m in turned]
    sizes = [cut.size_mm(name) for name in planes]
    low, high = window_of(volume, list(seen.values()))
    entries = entries_of(turned, shown, truth is not None, predicted is not None)
    lines = 2 if min(w for w, _ in sizes) / sum(w for w, _ in sizes) * width < ONE_LINE else 1
    row = panels.row_of_panels(sizes, entries, "black", width, lines + bool(title))
    for axes, name, (wide, up) in zip(row.panels, planes, sizes, strict=True):
        extent = (0.0, wide, up, 0.0)
        axes.imshow(seen[name], cmap="gray", vmin=low, vmax=high, extent=extent,
                    interpolation="bilinear")  # fmt: skip
        if predicted is not None:
            fill(axes, shown[-1][name], predicted, extent)
        if truth is not None:
            step = np.delete(cut.spacing, PLANES[name][0])
            outline(axes, shown[0][name], truth, step, filled=predicted is not None)
        axes.set(xlim=(0, wide), ylim=(up, 0))
        panels.letters(axes, sides_of(volume, name), "white")
        words = cut.place(volume, name, "\n" if lines == 2 else ", ")
        axes.set_title(f"{title}\n{words}" if title else words, color=PALE, fontsize=LETTERS - 1.5,
                       pad=5, parse_math=False)  # fmt: skip
    panels.scale_bar(row, sizes, "white", unit=volume.grid.unit)
    panels.write_legend(row, entries, PALE)
    return drawn(row.figure)


class Cut(NamedTuple):
    """First and last voxel of what is shown, along RAS, and the voxel that the planes cross."""

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    middle: NDArray[np.int64]
    spacing: NDArray[np.float64]

    def slice(self, array: NDArray[Any], plane: str) -> NDArray[Any]:
        """A plane's slice: head (or front) up, the patient's right (or front) left."""
        axis = PLANES[plane][0]
        place: list[slice | int] = [slice(a, b) for a, b in zip(self.start, self.stop, strict=True)]
        place[axis] = int(self.middle[axis])
        return array[tuple(place)][::-1, ::-1].T

    def seen(self, channels: Sequence[Volume], plane: str) -> NDArray[Any]:
        """A plane's slice of a scan, (rows, columns); of a picture in colour (rows, columns, 3)."""
        if len(channels) == 3 and channels[0].grid.is_picture:
            return np.stack([self.slice(each.array, plane) for each in channels], axis=-1)
        return self.slice(channels[0].array, plane)

    def size_mm(self, plane: str) -> tuple[float, float]:
        """Width and height of a plane's slice."""
        wide, up = np.delete((self.stop - self.start) * self.spacing, PLANES[plane][0])
        return float(wide), float(up)

    def place(self, volume: OnGrid, plane: str, between: str) -> str:
        """Where a plane's slice lies: 'axial 11 (0 to 29), S 105.0 mm', say."""
        if volume.grid.is_picture:
            return f"{volume.grid.shape[0]} x {volume.grid.shape[1]} pixels"
        axis = PLANES[plane][0]
        centre = (self.start + self.stop - 1) / 2
        centre[axis] = self.middle[axis]
        mm = round(float(volume.grid.index_to_world(centre)[axis]), 1)
        side, slices = TOWARDS[axis][mm < 0], volume.grid.shape[axis]
        number = f"{self.middle[axis]} (0 to {slices - 1})"
        return f"{plane} {number}{between}{side} {abs(mm):.1f} mm"


def turned_channels(scan: Volume | Sequence[Volume]) -> tuple[Volume, ...]:
    """A scan's channels in RAS axes."""
    channels = (scan,) if isinstance(scan, Volume) else scan
    return tuple(channel.reoriented("RAS") for channel in channels)


def sides_of(scan: OnGrid, plane: str) -> str:
    """The sides of the body around a plane's slice; '' for a picture, which knows none."""
    return "" if scan.grid.is_picture else PLANES[plane][1]


def cut_to(arrays: list[NDArray[Any]], volume: OnGrid) -> Cut:
    """What is shown of a scan in RAS axes: label maps and 30 mm around them; all, without any.

    The planes cross where the first label map is largest.
    """
    shape, spacing = np.array(volume.grid.shape), np.array(volume.spacing)
    start, stop, middle = np.zeros(3, int), shape.copy(), shape // 2
    filled = [a for a in arrays if a.any()]
    margin = np.ceil(MARGIN_MM / spacing).astype(int)
    for axis in range(3) if filled else ():
        others = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero(np.any([a.any(axis=others) for a in filled], axis=0))
        start[axis] = max(0, where[0] - margin[axis])
        stop[axis] = min(shape[axis], where[-1] + 1 + margin[axis])
        middle[axis] = int(np.argmax(np.count_nonzero(filled[0], axis=others)))
    return Cut(start, stop, middle, spacing)


def window_of(volume: Volume, slices: list[NDArray[Any]]) -> tuple[float, float]:
    """The intensities shown as black and as white."""
    values = np.concatenate([s.ravel() for s in slices]).astype(float)
    values = values[np.isfinite(values)]
    if volume.modality == "CT" or (not volume.modality and values.size and values.min() < -500):
        return CT_WINDOW
    low, high = np.percentile(values, (1, 99.5)) if values.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)


def fill(
    axes: Axes,
    labels: NDArray[Any],
    scheme_of: LabelMap,
    extent: tuple[float, float, float, float],
    alpha: float = 0.5,
) -> None:
    """Fill the structures of a slice with their colours."""
    colours = np.zeros((*labels.shape, 4))
    for label in scheme_of.scheme.labels:
        colours[labels == label.id] = (*colour_of(label.colour), alpha)
    axes.imshow(colours, extent=extent, interpolation="nearest")


def outline(
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


def entries_of(
    maps: Sequence[LabelMap],
    shown: Sequence[Mapping[str, NDArray[Any]]],
    outlined: bool,
    filled: bool,
) -> list[Entry]:
    """What the legend names: the structures in the slices, and how truth and prediction look."""
    colours = {
        label.name: colour_of(label.colour)
        for m, slices in zip(maps, shown, strict=True)
        for present in [set(np.unique(np.concatenate([s.ravel() for s in slices.values()])))]
        for label in m.scheme.labels
        if label.id in present
    }
    entries = [panels.entry(colour, name) for name, colour in list(colours.items())[:MOST_NAMES]]
    if len(colours) > MOST_NAMES:
        entries.append((Patch(facecolor="none"), f"and {len(colours) - MOST_NAMES} more"))
    if outlined and filled:
        entries.append((Line2D([], [], color="white", linewidth=1.5), "truth"))
    if filled:
        entries.append((Patch(facecolor="#9aa0a8"), "prediction"))
    return entries
