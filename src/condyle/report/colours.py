"""Colours of pages: a structure has that of its label scheme everywhere, models have their own."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = [
    "ACCENT",
    "DASHES",
    "FAINT",
    "INK",
    "QUIET",
    "Colour",
    "Style",
    "colour_of",
    "on_white",
    "style",
    "styles",
]

INK, QUIET, FAINT = "#3d4450", "#8a919c", "#e4e7eb"
ACCENT = "#0072b2"

COLOURS = (ACCENT, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
"""Okabe and Ito's, which colour-blind readers tell apart; their yellow fades on white."""
DASHES = ("-", "--", ":", "-.")

PALEST = 0.42
"""Relative luminance of a line on white, at most: contrast 2.2, which WCAG's orange and sky blue
of Okabe and Ito have; only paler colours are darkened, at the same hue."""

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255, as in a label scheme."""


class Style(NamedTuple):
    """How lines differ: by its colour, then by its dashes."""

    color: str
    linestyle: str


def colour_of(colour: Colour) -> tuple[float, float, float]:
    """Red, green and blue of 0 to 1, from those of 0 to 255."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255


def on_white(colour: Colour) -> str:
    """A structure's colour as lines on white have it, '#rrggbb': darker where it would fade.

    Examples
    --------
    >>> on_white((0, 114, 178)), on_white((255, 255, 0))
    ('#0072b2', '#b2b200')
    """
    hue, saturation, value = colorsys.rgb_to_hsv(*colour_of(colour))
    while _luminance(colorsys.hsv_to_rgb(hue, saturation, value)) > PALEST:
        value -= 0.01
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance, 0 (black) to 1 (white), as the W3C's WCAG 2 defines it."""
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def style(n: int) -> Style:
    """The style of the n-th line of a chart of models; 28 differ."""
    return Style(COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)])


def styles(names: Iterable[str], colours: Mapping[str, Colour]) -> dict[str, Style]:
    """The style of each name's line on white.

    Structures have their own colour, and other dashes where several share one; what has no colour
    is told apart by `style`.

    Parameters
    ----------
    names : of structures or models.
    colours : structure -> its colour in the label scheme.

    Examples
    --------
    >>> styles(["left", "right"], {"left": (0, 114, 178), "right": (0, 114, 178)})["right"]
    Style(color='#0072b2', linestyle='--')
    """
    found: dict[str, Style] = {}
    for n, name in enumerate(names):
        if name not in colours:
            found[name] = style(n)
            continue
        colour = on_white(colours[name])
        same = sum(one.color == colour for one in found.values())
        found[name] = Style(colour, DASHES[same % len(DASHES)])
    return found
