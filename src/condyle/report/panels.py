"""A row of pictures on one scale: its panels, sides of the body, bar of scale, and legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from condyle.report import tables
from condyle.report.charts import DPI, WIDTH

__all__ = [
    "LETTERS",
    "Entry",
    "Row",
    "letters",
    "row_of_panels",
    "scale_bar",
    "sheet_of_panels",
    "write_legend",
]

HEIGHT = 1000
"""Pixels that panels are high, at most, in a figure of the full width."""
LETTERS = 13
"""Size of what is written, in points; a phone shows it at less than half."""
GAP = 12
"""Pixels around a panel."""
LINE = 22
"""Pixels of a line above a panel."""

TILES = (200, 280)
"""Pixels across a tile of a sheet, at least: of one panel, or of two."""
TALLEST = 420
"""Pixels that a panel of a sheet is high, at most."""

BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Lengths that a bar of scale may have; it takes up to a third of the narrowest panel."""

Entry = tuple[Patch | Line2D, str]
"""A mark of a legend and its name."""


class Row(NamedTuple):
    """A figure with panels beside each other; `scale` is in pixels a mm."""

    figure: Figure
    panels: list[Axes]
    scale: float


def row_of_panels(
    sizes: Sequence[Sequence[float]],
    entries: Sequence[Entry],
    background: str,
    width: int = WIDTH,
    lines: int = 0,
    foot: int = 0,
) -> Row:
    """A figure with a row of empty panels, all on one scale, and room for what is written.

    Parameters
    ----------
    sizes : width and height of each panel in mm.
    entries : of the legend below the panels; see `write_legend`.
    background : a colour; 'none' for none.
    width : pixels of the figure, at most.
    lines : of text above each panel.
    foot : pixels left free below the legend.
    """
    legend, headings = 14 + 27 * _legend_rows(entries, width), LINE * lines
    narrowest = 140 if lines else 0  # pixels that a panel's title needs
    across, up = sum(w for w, _ in sizes), max(h for _, h in sizes)
    scale = min((width - GAP * (len(sizes) + 1)) / across, HEIGHT * width / WIDTH / up)
    slots = [max(w * scale, narrowest) for w, _ in sizes]
    wide = max(math.ceil(sum(slots)) + GAP * (len(sizes) + 1), min(width, 480))
    tall = math.ceil(up * scale)
    high = tall + 2 * GAP + headings + legend + foot
    figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI, facecolor=background)
    left = (wide - sum(slots) - GAP * (len(sizes) - 1)) / 2
    panels: list[Axes] = []
    for (w, h), slot in zip(sizes, slots, strict=True):
        bottom = foot + legend + GAP + (tall - h * scale) / 2
        start = left + (slot - w * scale) / 2
        axes = figure.add_axes((start / wide, bottom / high, w * scale / wide, h * scale / high))
        axes.set_axis_off()
        panels.append(axes)
        left += slot + GAP
    return Row(figure, panels, scale)


def sheet_of_panels(
    size: Sequence[float],
    tiles: int,
    a_tile: int,
    entries: Sequence[Entry],
    background: str,
    width: int = WIDTH,
) -> Row:
    """A figure with rows of empty panels of one size; a line is free above each tile.

    Parameters
    ----------
    size : width and height of a panel in mm.
    tiles : how many.
    a_tile : panels that stand close together in a tile, 1 or 2.
    entries, background, width : as for `row_of_panels`.
    """
    most = max(1, (width - GAP) // (TILES[a_tile - 1] + GAP))
    columns = min(tiles, most)
    across = ((width - GAP) / columns - GAP) / a_tile
    scale = min(across / size[0], TALLEST / size[1])
    wide, tall = size[0] * scale, size[1] * scale
    step = (a_tile * wide + GAP, tall + LINE + GAP)
    rows = math.ceil(tiles / columns)
    full = max(math.ceil(columns * step[0] + GAP), min(width, 480))
    high = math.ceil(rows * step[1] + GAP + 14 + 27 * _legend_rows(entries, full))
    figure = Figure(figsize=(full / DPI, high / DPI), dpi=DPI, facecolor=background)
    panels: list[Axes] = []
    for tile in range(tiles):
        row, column = divmod(tile, columns)
        for n in range(a_tile):
            left = GAP + column * step[0] + n * wide
            bottom = high - (row + 1) * step[1]
            # a pixel stays free between panels of a tile
            box = (left / full, bottom / high, (wide - (a_tile > 1)) / full, tall / high)
            axes = figure.add_axes(box)
            axes.set_axis_off()
            panels.append(axes)
    return Row(figure, panels, scale)


def letters(axes: Axes, sides: str, colour: str) -> None:
    """Write the sides of the body at a panel's left, right, top and bottom."""
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"),
              (0.5, 0.985, "center", "top"), (0.5, 0.015, "center", "bottom"))  # fmt: skip
    for letter, (x, y, ha, va) in zip(sides, places, strict=False):
        text = axes.text(x, y, letter, ha=ha, va=va, color=colour, fontsize=12,
                         fontweight="bold", transform=axes.transAxes)  # fmt: skip
        if colour == "white":
            text.set_path_effects([withStroke(linewidth=2.5, foreground="black", alpha=0.6)])


def scale_bar(
    row: Row,
    sizes: Sequence[Sequence[float]],
    colour: str,
    *,
    below: bool = False,
    unit: str = "mm",
) -> None:
    """Draw a bar of a round length at the lower right of each panel, or below it, and its cm.

    Pixels, where they are the unit of the sizes.
    """
    narrowest = min(w for w, _ in sizes)
    mm = max((one for one in BARS_MM if one <= narrowest / 3), default=BARS_MM[0])
    words = f"{mm // 10} cm" if mm >= 10 and unit == "mm" else f"{mm} {unit}"
    for axes, (w, h) in zip(row.panels, sizes, strict=True):
        across, pixel = 1 / (w * row.scale), 1 / (h * row.scale)
        end, foot = 1 - 12 * across, (-10 if below else 12) * pixel
        start = end - mm / w
        bar = Line2D([start, end], [foot, foot], color=colour, linewidth=2.5,
                     solid_capstyle="butt", transform=axes.transAxes, zorder=6,
                     clip_on=False)  # fmt: skip
        axes.add_line(bar)
        place, ha, va = ((start + end) / 2, foot + 5 * pixel), "center", "bottom"
        if below:
            place, ha, va = (start - 8 * across, foot), "right", "center"
        text = axes.text(*place, words, ha=ha, va=va, color=colour, fontsize=10.5,
                         transform=axes.transAxes)  # fmt: skip
        if colour == "white":
            bar.set_path_effects([withStroke(linewidth=4.5, foreground="black", alpha=0.6)])
            text.set_path_effects([withStroke(linewidth=2.5, foreground="black", alpha=0.6)])


def _legend_rows(entries: Sequence[Entry], width: float) -> int:
    """Rows that the entries need at 0.75 of the width: 10 pixels a letter, 56 a handle."""
    return max(1, math.ceil(sum(10 * len(name) + 56 for _, name in entries) / (0.75 * width)))


def entry(colour: tuple[float, float, float], name: str) -> Entry:
    """A structure's mark and name."""
    return Patch(facecolor=colour), tables.words(name)[:24]


def write_legend(row: Row, entries: Sequence[Entry], colour: str, bottom: float = 0.0) -> None:
    """Write rows of handles with names, `bottom` (0 to 1) above the figure's foot, as they are."""
    if not entries:
        return
    figure = row.figure
    rows = _legend_rows(entries, figure.get_figwidth() * DPI)
    legend = figure.legend(
        [handle for handle, _ in entries], ["name"] * len(entries), loc="lower center",
        bbox_to_anchor=(0.5, bottom), ncol=math.ceil(len(entries) / rows),
        frameon=False, fontsize=LETTERS, labelcolor=colour, handlelength=1.2, handleheight=0.9,
        columnspacing=1.6, handletextpad=0.6, borderaxespad=0.3,
    )  # fmt: skip
    for text, (_, name) in zip(legend.get_texts(), entries, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
