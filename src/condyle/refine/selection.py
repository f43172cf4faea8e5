"""Which post-processing steps improve a segmenter, measured on validation cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt
from statistics import fmean, stdev
from typing import Any, get_args

from condyle.config import Plane
from condyle.refine.refinement import Refinement

__all__ = ["FEWEST_CASES", "chosen_steps", "options"]

FEWEST_CASES = 3
"""Validation cases that a choice needs."""
LEAST_RISE = 0.0005
"""What a step must add to the mean Dice: less is noise."""
SHARES = (0.001, 0.01)
"""Of a structure's volume: parts to try to drop."""


Option = dict[str, Any]
Row = dict[str, Any]


def options(volume: float, voxel: float, plane: str) -> list[Option]:
    """The steps to try for a structure, fitted to its size and to the voxels.

    Parameters
    ----------
    volume : of the structure, in mm³.
    voxel : edge of a cube of a voxel's volume, in mm.
    plane : of the slices that the network sees.
    """
    slices: Option = {"slice_ratio": 0.01}
    if plane in get_args(Plane) and plane != "axial":
        slices["slice_plane"] = plane
    return [
        slices,
        {"keep_largest": 1},
        {"keep_largest": 2},
        *({"min_mm3": _short(share * volume)} for share in SHARES),
        {"fill_holes": True},
        *({"smooth_mm": _short(part * voxel)} for part in (0.7, 1.0)),
    ]


def _short(value: float) -> float:
    """A number of two digits."""
    return float(f"{value:.2g}")


def chosen_steps(
    dices: Callable[[Refinement], list[float]], options: Sequence[Option]
) -> tuple[Refinement, list[Row]]:
    """The steps that help one structure, and a row for each step that was tried.

    Parameters
    ----------
    dices : gives the Dice of each validation case after some steps.

    A step that is not kept has its row from the time when it was given up: in the end, or when
    another setting of it was kept.
    """
    steps, rows, left = Refinement(), list[Row](), list(options)
    before = dices(steps)
    while True:
        tried = [(o, dices(replace(steps, **o))) for o in left]
        helpful = [(o, after_) for o, after_ in tried if _helps(before, after_)]
        if not helpful:
            return steps, rows + [_row(o, before, after_, False) for o, after_ in tried]
        best, after = max(helpful, key=lambda each: fmean(each[1]))
        done = [(o, after_) for o, after_ in tried if set(o) & set(best)]
        rows += [_row(o, before, after_, o is best) for o, after_ in done]
        steps, before = replace(steps, **best), after
        left = [o for o in left if not set(o) & set(best)]


def _helps(before: list[float], after: list[float]) -> bool:
    """Whether a rise is more than noise: where cases get worse, more than two standard errors."""
    rises = [b - a for a, b in zip(before, after, strict=True)]
    better, worse = _changes(before, after)
    error = stdev(rises) / sqrt(len(rises)) if worse else 0.0
    return fmean(rises) > max(LEAST_RISE, 2 * error) and better >= worse


def _changes(before: list[float], after: list[float]) -> tuple[int, int]:
    """How many cases are better, and how many worse."""
    pairs = list(zip(before, after, strict=True))
    return sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)


def _row(option: Option, before: list[float], after: list[float], kept: bool) -> Row:
    better, worse = _changes(before, after)
    return {
        "step": " ".join(f"{name} {value}" for name, value in option.items()),
        "dice_before": round(fmean(before), 5),
        "dice_after": round(fmean(after), 5),
        "cases": len(after),
        "better": better,
        "worse": worse,
        "kept": "yes" if kept else "no",
    }
