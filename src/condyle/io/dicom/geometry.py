"""Where the images of a DICOM series lie as a stack: refused, or proved to be one.

Nothing is guessed from file names, slice numbers or SliceThickness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from condyle.errors import GeometryError
from condyle.io.dicom.frames import MOMENTS, TURN, Frame
from condyle.jobs.job import warn

__all__ = ["Stack", "stacked"]


STEP_MM = 0.01
STEP_SHARE = 0.01
"""Steps between slices may differ by 0.01 mm or 1 %, whichever is more: rounding in the header."""

SIDEWAYS_SHARE = 1e-4
"""A stack may lean by 0.01 mm and 0.1 mm a metre: rounding. A gantry tilt of 1 degree is 0.017."""

STEEPEST = 45.0
"""Degrees; no gantry tilts further (they end at 30), so what leans more is something else."""


@dataclass(frozen=True, eq=False)
class Stack:
    """The geometry of a series.

    Parameters
    ----------
    affine : (4, 4) from (column, row, slice) to LPS mm, as if the slices stood upright.
    volumes : for each volume, the numbers of its frames from the first slice to the last.
    shifts : (slices, 2) columns and rows by which each slice lies beside the upright stack;
        None where it stands upright.
    """

    affine: NDArray[np.float64]
    volumes: tuple[tuple[int, ...], ...]
    shifts: NDArray[np.float64] | None = None


def stacked(path: Path, frames: Sequence[Frame]) -> Stack:
    """The stack that parallel images make.

    Raises
    ------
    GeometryError
        If images differ in size or direction, are missing, lie double, or not over each other.
    """
    directions = _same(path, frames, "ImageOrientationPatient", [f.directions for f in frames])
    pixel = _same(path, frames, "PixelSpacing", [f.pixel for f in frames])
    _same(path, frames, "Rows and Columns", [np.array(f.shape, float) for f in frames], 0)
    row, column = directions[:3], directions[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=1e-2) or abs(row @ column) > 1e-3:
        raise GeometryError(f"{path} has rows and columns that are not at right angles")
    if (pixel <= 0).any():
        raise GeometryError(f"{path} has pixels of {pixel.tolist()} mm: export it again")
    # exactly at right angles, so that every tool sees one geometry
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    normal = np.cross(row, column)
    positions = np.array([f.position for f in frames])
    volumes = _volumes(path, frames, positions @ normal)
    first = positions[list(volumes[0])]
    step = _step(path, first @ normal, frames[volumes[0][0]])
    affine = np.eye(4)
    # PixelSpacing: between rows first, then between columns
    affine[:3, :3] = np.column_stack([row * pixel[1], column * pixel[0], normal * step])
    affine[:3, 3] = first[0]
    return Stack(affine, volumes, _shifts(path, first, affine))


def _same(
    path: Path,
    frames: Sequence[Frame],
    name: str,
    values: Sequence[NDArray[np.float64]],
    tolerance: float = TURN,
) -> NDArray[np.float64]:
    """The one value of an element of all slices; refused where it differs."""
    apart = [float(np.abs(v - values[0]).max()) for v in values]
    odd = int(np.argmax(apart))
    if apart[odd] > tolerance:
        raise GeometryError(
            f"{path} has slices whose {name} differs (by up to {apart[odd]:.3g}, in "
            f"{frames[odd].file.name}): it mixes two scans or holds a scout; take out the slices "
            "that do not belong"
        )
    return values[0]


def _volumes(
    path: Path, frames: Sequence[Frame], along: NDArray[np.float64]
) -> tuple[tuple[int, ...], ...]:
    """For each volume its frames in the order of their place; one unless all places are shared."""
    order = [int(n) for n in np.argsort(along, kind="stable")]
    places: list[list[int]] = [[order[0]]]
    for n in order[1:]:
        if along[n] - along[places[-1][0]] < STEP_MM:
            places[-1].append(n)
        else:
            places.append([n])
    counts = {len(place) for place in places}
    if counts == {1}:
        return (tuple(order),)
    if len(places) == 1:
        raise GeometryError(
            f"{path} shows one slice {len(frames)} times (as bolus tracking and cine series do): "
            "there is no volume in it"
        )
    parted = _parted(frames, places) if len(counts) == 1 else None
    if parted is None:
        doubled = np.array([along[place[0]] for place in places if len(place) > 1])
        raise GeometryError(
            f"{path} has more than one slice at {_listed(doubled)} mm along its normal: it mixes "
            "two series, echoes or time points; keep one of each"
        )
    return parted


def _parted(
    frames: Sequence[Frame], places: Sequence[Sequence[int]]
) -> tuple[tuple[int, ...], ...] | None:
    """The volumes of a 4D series, parted by the first element that parts every place alike."""
    for name in MOMENTS:
        moments = [[str(frames[n].get(name)) for n in place] for place in places]
        if any(len(set(m)) < len(m) for m in moments):
            continue
        if name not in ("AcquisitionTime", "ContentTime") and any(
            set(m) != set(moments[0]) for m in moments
        ):
            continue
        ranked = [
            sorted(place, key=lambda n: _sortable(frames[n].get(name)))
            for place in places
        ]  # fmt: skip
        return tuple(zip(*ranked, strict=True))
    return None


def _sortable(value: object) -> tuple[float, str]:
    """Numbers in their order, before and beside any other text."""
    text = str(value)
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def _step(path: Path, along: NDArray[np.float64], frame: Frame) -> float:
    """The one distance in mm between neighbouring slices, from their sorted positions."""
    if len(along) == 1:
        if frame.thickness <= 0:
            raise GeometryError(
                f"{path} is a single slice of unknown thickness; give the whole series"
            )
        return frame.thickness
    steps = np.diff(along)
    usual = float(np.median(steps))
    odd = np.flatnonzero(np.abs(steps - usual) > max(STEP_MM, STEP_SHARE * usual))
    if odd.size:
        raise GeometryError(
            f"{path} has slices missing or unevenly spaced: after {_listed(along[odd])} mm along "
            f"its normal come steps of {_listed(steps[odd])} mm, elsewhere {usual:.4g} mm"
        )
    return float((along[-1] - along[0]) / (len(along) - 1))


def _shifts(
    path: Path, positions: NDArray[np.float64], affine: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """By how many columns and rows each slice lies beside an upright stack; None if it is upright.

    A gantry that is tilted shifts each slice by the same step; anything else is refused.
    """
    indices = (positions - positions[0]) @ np.linalg.inv(affine[:3, :3]).T
    sides = np.linalg.norm(affine[:3, :2], axis=0)
    sideways = np.linalg.norm(indices[:, :2] * sides, axis=1)
    height = float(np.linalg.norm(affine[:3, 2])) * (len(positions) - 1)
    worst = int(np.argmax(sideways))
    if sideways[worst] <= STEP_MM + SIDEWAYS_SHARE * height:
        return None
    slope = indices[-1, :2] / (len(positions) - 1)
    even = np.arange(len(positions))[:, None] * slope
    stray = np.linalg.norm((indices[:, :2] - even) * sides, axis=1)
    angle = float(np.degrees(np.arctan2(sideways[-1], height)))
    if stray.max() > max(STEP_MM, STEP_SHARE * sides.max()) + SIDEWAYS_SHARE * height:
        raise GeometryError(
            f"{path} has slices that do not lie over each other: one is shifted "
            f"{sideways[worst]:.3g} mm sideways; it mixes two scans, or its positions are wrong"
        )
    if angle > STEEPEST:
        raise GeometryError(
            f"{path} is tilted by {angle:.3g} degrees, more than any gantry: its slices do not "
            "form one stack"
        )
    warn(
        f"{path} was scanned with a gantry tilted by {angle:.3g} degrees: its slices were "
        "shifted upright (linear interpolation); draw and check masks on the straightened scan"
    )
    return even


def _listed(numbers: NDArray[np.float64]) -> str:
    """The first few numbers, for a sentence."""
    more = ", ..." if len(numbers) > 4 else ""
    return ", ".join(f"{n:.4g}" for n in numbers[:4]) + more
