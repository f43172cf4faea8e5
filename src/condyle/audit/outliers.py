"""What sets a case apart from the others of its data set: size, brightness, grid, place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.audit.findings import Finding
from condyle.core import LabelMap, LabelScheme, Volume
from condyle.prepare.intensity import sample

__all__ = ["CaseSummary", "outliers", "case_summary", "with_labels"]

AIR_HU = -900.0
"""Below this a CT voxel is air; the lungs, which may be labelled, lie above."""
DARKEST = 20
"""Percentile of any other scan below which no structure's mean is expected.

In 218 labelled MR and PET scans no structure's mean lay below the 23rd.
"""
AROUND = 2
"""Voxels around a structure's box in which its surroundings are looked at."""
SECTION = 0.1
"""Of its largest cross-section: what a structure shows at the border if it is cut there."""
FEW = 8
"""Cases from which their spread says what is usual."""
RARE = 0.1
"""Part of the other cases: what as many have is nothing strange."""
FAR_VOLUME, FAR_INTENSITY = 5.0, 6.0
"""Standard deviations (by the median's) from the median that are reported."""
SIDES = ("left", "right", "back", "front", "feet", "head")


@dataclass(frozen=True)
class CaseSummary:
    """What one case is like.

    Parameters
    ----------
    case : its id.
    spacing : mm along the RAS axes.
    is_ct : whether it is taken for CT.
    lowest, percentiles : of the intensities; percentiles 5, 50 and 95.
    volumes : cm³ of the structures that occur, by label number.
    cut : structures (by number) and the sides of the scan that cut them.
    dark : structure -> its value, and whether it lies in what is dark all around, too.
    """

    case: str
    spacing: tuple[float, ...]
    is_ct: bool
    lowest: float
    percentiles: tuple[float, float, float]
    volumes: dict[int, float] = field(default_factory=dict[int, float])
    cut: frozenset[tuple[int, str]] = frozenset()
    dark: dict[int, tuple[float, bool]] = field(default_factory=dict[int, tuple[float, bool]])


def case_summary(case: str, volume: Volume, is_ct: bool) -> CaseSummary:
    """What a scan is like, by itself; it holds no NaN."""
    some = sample(volume.array)
    low, middle, high = (float(v) for v in np.percentile(some, (5, 50, 95)))
    spacing = tuple(volume.reoriented("RAS").spacing)
    return CaseSummary(case, spacing, is_ct, float(volume.array.min()), (low, middle, high))


def with_labels(scan: CaseSummary, volume: Volume, labels: LabelMap) -> CaseSummary:
    """What a scan and its label map, on one grid, are like."""
    from scipy.ndimage import find_objects

    values, array = volume.reoriented("RAS").array, labels.reoriented("RAS").array
    level = AIR_HU if scan.is_ct else float(np.percentile(sample(values), DARKEST))
    volumes: dict[int, float] = {}
    cut: set[tuple[int, str]] = set()
    dark: dict[int, tuple[float, bool]] = {}
    for number, box in enumerate(find_objects(array), 1):
        if box is None or number == labels.scheme.ignore:
            continue
        mask = array[box] == number
        volumes[number] = float(np.count_nonzero(mask) * volume.grid.voxel_volume / 1000)
        cut |= {(number, side) for side in _cut(mask, box, array.shape)}
        inside = values[box][mask]
        value = float(np.median(inside) if scan.is_ct else np.mean(inside))
        if value < level or (not scan.is_ct and value == level == scan.lowest):
            wide = tuple(slice(max(0, s.start - AROUND), s.stop + AROUND) for s in box)
            about = values[wide][array[wide] == 0]
            dark[number] = value, not scan.is_ct or not about.size or np.median(about) < level
    return CaseSummary(
        scan.case, scan.spacing, scan.is_ct, scan.lowest, scan.percentiles,
        volumes, frozenset(cut), dark,
    )  # fmt: skip


def _cut(mask: NDArray[np.bool_], box: tuple[slice, ...], shape: Sequence[int]) -> list[str]:
    """The sides of the scan at which a mask ends with more than a tip."""
    sides: list[str] = []
    for axis in range(3):
        ends = (box[axis].start == 0, box[axis].stop == shape[axis])
        if any(ends):
            area = mask.sum(axis=tuple(a for a in range(3) if a != axis))
            sides += [
                SIDES[2 * axis + end]
                for end in (0, 1)
                if ends[end] and area[-end] >= SECTION * area.max()
            ]
    return sides


def outliers(cases: Sequence[CaseSummary], scheme: LabelScheme) -> list[Finding]:
    """Findings on cases that differ from the others of their data set."""
    parts: tuple[Callable[[], list[Finding]], ...] = (
        lambda: _in_air(cases, scheme),
        lambda: _spacings(cases),
        lambda: _not_hounsfield(cases),
        lambda: _intensities(cases),
        lambda: _volumes(cases, scheme),
        lambda: _cuts(cases, scheme),
    )
    return [finding for part in parts for finding in part()]


def _in_air(cases: Sequence[CaseSummary], scheme: LabelScheme) -> list[Finding]:
    """Structures in air, but for those that are air in most cases, or in one case in tissue."""
    findings: list[Finding] = []
    for case in cases:
        for number, (value, surrounded) in case.dark.items():
            others = [c for c in cases if c is not case and number in c.volumes]
            same = sum(number in c.dark for c in others)
            if (len(others) > 1 and 2 * same > len(others)) or (len(others) < 2 and not surrounded):
                continue
            name, unit = scheme[number].name, " HU" if case.is_ct else ""
            what = f"{name} seems to lie in air ({value:.4g}{unit}): it is shifted or flipped"
            remedy = "compare mask and scan in a viewer, and export the mask again"
            severity = "error" if case.is_ct else "warning"
            findings.append(Finding(case.case, severity, what, remedy, "air"))
    return findings


def _spacings(cases: Sequence[CaseSummary]) -> list[Finding]:
    """Scans whose spacing is three times the usual, or a third of it."""
    if len(cases) < 3:
        return []
    median = np.median([case.spacing for case in cases], axis=0)
    findings: list[Finding] = []
    for case in cases:
        ratio = np.array(case.spacing) / median
        if ratio.max() > 3 or ratio.min() < 1 / 3:
            shown, usual = ("x".join(f"{s:.3g}" for s in v) for v in (case.spacing, median))
            what = f"its spacing is {shown} mm, where {usual} mm is usual"
            remedy = "check whether the file's header is right"
            findings.append(Finding(case.case, "warning", what, remedy, "spacing"))
    return findings


def _not_hounsfield(cases: Sequence[CaseSummary]) -> list[Finding]:
    """CT whose numbers are not Hounsfield units: nothing below water, or nothing above fat."""
    wrong = [c for c in cases if c.is_ct and (c.lowest >= 0 or c.percentiles[2] < -500)]
    remedy = "export the scan again with its rescale slope and intercept applied"

    def said(case: CaseSummary) -> str:
        low, middle, high = case.percentiles
        return (
            f"its numbers are not Hounsfield units: the lowest is {case.lowest:.4g}, half lie "
            f"below {middle:.4g}, 5 % below {low:.4g} and 5 % above {high:.4g}"
        )

    if len(wrong) > len(cases) / 2 and len(wrong) > 1:
        what = (
            f"most of these CT scans do not hold Hounsfield units; in {wrong[0].case}, "
            f"{said(wrong[0])}"
        )
        return [Finding("all cases", "warning", what, remedy, "intensity")]
    return [Finding(case.case, "warning", said(case), remedy, "intensity") for case in wrong]


def _intensities(cases: Sequence[CaseSummary]) -> list[Finding]:
    """Scans that are of another kind than nearly all others.

    CT is compared by its brightest 5 %; other scans, whose scale is arbitrary, by
    where the median lies between the percentiles 5 and 95.
    """
    findings: list[Finding] = []
    for is_ct in (True, False):
        alike = [c for c in cases if c.is_ct == is_ct and not (is_ct and c.lowest >= 0)]
        if len(alike) < FEW:
            continue
        low, middle, high = np.array([case.percentiles for case in alike]).T
        place = (middle - low) / np.maximum(high - low, 1e-9)
        far = _far(high, 100.0, FAR_INTENSITY) if is_ct else _far(place, 0.05, FAR_INTENSITY)
        if np.count_nonzero(far) > max(1, RARE * len(alike) / 2):
            continue  # a group of its own
        for n in np.flatnonzero(far):
            what = (
                f"its intensities (5 % below {low[n]:.4g}, half below {middle[n]:.4g}, 5 % above "
                f"{high[n]:.4g}) are distributed differently from those of the others"
            )
            remedy = "check whether it is the same kind of scan"
            findings.append(Finding(alike[n].case, "warning", what, remedy, "intensity"))
    return findings


def _volumes(cases: Sequence[CaseSummary], scheme: LabelScheme) -> list[Finding]:
    """Structures far larger or smaller than in the other cases."""
    findings: list[Finding] = []
    for label in scheme.labels:
        having = [case for case in cases if label.id in case.volumes]
        if len(having) < FEW:
            continue
        volumes = np.array([case.volumes[label.id] for case in having])
        for n in np.flatnonzero(_far(np.log(volumes), 0.1, FAR_VOLUME)):
            what = (
                f"{label.name} has {volumes[n]:.3g} cm³, where {np.median(volumes):.3g} cm³ "
                "is usual"
            )
            remedy = "check whether a part is missing, or too much is labelled"
            findings.append(Finding(having[n].case, "warning", what, remedy, "volume"))
    return findings


def _far(values: NDArray[Any], least: float, far: float) -> NDArray[np.bool_]:
    """Which values lie so many standard deviations (at least so large) off the median."""
    off = np.abs(values - np.median(values))
    return off > far * max(1.4826 * float(np.median(off)), least)


def _cuts(cases: Sequence[CaseSummary], scheme: LabelScheme) -> list[Finding]:
    """Structures that end at the border of a scan and hardly ever do in the others."""
    findings: list[Finding] = []
    for case in cases:
        for number, side in sorted(case.cut):
            others = [c for c in cases if c is not case and number in c.volumes]
            same = sum((number, side) in c.cut for c in others)
            if len(others) + 1 >= FEW and same <= RARE * len(others):
                name = scheme[number].name
                what = f"{name} is cut by the border of the scan towards the {side}"
                remedy = "check whether slices are missing; volumes and lengths will be too small"
                findings.append(Finding(case.case, "warning", what, remedy, "cut"))
    return findings
