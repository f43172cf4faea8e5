"""What is wrong with a data set, and how to mend it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from condyle.core import Case, Dataset, LabelMap, Volume
from condyle.errors import CondyleError, GridMismatch, LabelError, SplitError
from condyle.prepare.fingerprint import looks_like_ct
from condyle.prepare.intensity import finite, sample

__all__ = ["Finding", "check"]

AIR_HU = -900.0
"""Below this a CT voxel is air; the lungs, which may be labelled, lie above."""
DARKEST = 20
"""Percentile of any other scan below which no structure's mean is expected.

In 218 labelled MR and PET scans no structure's mean lay below the 23rd.
"""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, what, and what to do about it."""

    case: str
    severity: Literal["error", "warning"]
    what: str
    remedy: str


@dataclass
class _Seen:
    """What the cases looked at so far were like."""

    hashes: dict[str, str] = field(default_factory=dict[str, str])
    spacings: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    present: set[int] = field(default_factory=set[int])


def check(
    dataset: Dataset, on_case: Callable[[int, int], None] = lambda done, total: None
) -> list[Finding]:
    """Everything found wrong; one case is in memory at a time."""
    findings: list[Finding] = []
    seen = _Seen()
    for number, case in enumerate(dataset, 1):
        findings += _case_findings(case, seen)
        on_case(number, len(dataset))
    findings += _spacing_findings(seen)
    findings += _fold_findings(dataset)
    absent = [x.name for x in dataset.scheme.labels if x.id not in seen.present]
    if absent and dataset.labelled():
        findings.append(
            Finding(
                "all cases", "warning", f"no case holds {', '.join(absent)}",
                "remove it from the labels, or add cases that show it",
            )
        )  # fmt: skip
    return findings


def _case_findings(case: Case, seen: _Seen) -> list[Finding]:
    try:
        volume = case.image()
    except CondyleError as error:
        return [Finding(case.id, "error", str(error), "replace the scan, or take the case out")]
    findings = _twin_findings(case, volume, seen)
    seen.spacings[case.id] = tuple(volume.reoriented("RAS").spacing)
    if case.label is None:
        what = "has no labels and is not trained on"
        return [
            *findings,
            Finding(case.id, "warning", what, "label it, or leave it for segmenting"),
        ]
    try:
        labels = case.labels()
        volume.grid.require_same(labels.grid, "scan and labels")
    except (GridMismatch, LabelError) as error:
        remedy = "export the labels again, from the scan they were drawn on, as whole numbers"
        return [*findings, Finding(case.id, "error", str(error), remedy)]
    except CondyleError as error:
        return [*findings, Finding(case.id, "error", str(error), "replace the label map")]
    seen.present |= set(labels.present())
    return findings + _content_findings(case, volume, labels)


def _twin_findings(case: Case, volume: Volume, seen: _Seen) -> list[Finding]:
    """A scan whose voxels another case has too, however they are stored."""
    ras = volume.reoriented("RAS").array
    digest = hashlib.sha256(str(ras.shape).encode())
    for piece in ras:
        digest.update(piece.astype(np.float32).tobytes())
    twin = seen.hashes.setdefault(digest.hexdigest(), case.id)
    if twin == case.id:
        return []
    what = f"is the same scan as {twin}, voxel for voxel"
    return [Finding(case.id, "error", what, "keep one: both sides of a split would know it")]


def _content_findings(case: Case, volume: Volume, labels: LabelMap) -> list[Finding]:
    """Masks that are empty, or that lie where there is no body."""
    if not labels.present():
        return [Finding(case.id, "error", "its label map is empty", "label it, or take it out")]
    ct = looks_like_ct(volume)
    array = finite(volume.array, f"case {case.id}")
    level = AIR_HU if ct else float(np.percentile(sample(array), DARKEST))
    unit = " HU" if ct else ""
    findings: list[Finding] = []
    for number in labels.present():
        inside = array[labels.array == number]
        value = float(np.median(inside) if ct else np.mean(inside))
        if value < level or (not ct and value == level == array.min()):
            name = labels.scheme[number].name
            what = f"{name} seems to lie in air ({value:.4g}{unit}): it is shifted or flipped"
            remedy = "compare mask and scan in a viewer, and export the mask again"
            findings.append(Finding(case.id, "error" if ct else "warning", what, remedy))
    return findings


def _spacing_findings(seen: _Seen) -> list[Finding]:
    """Scans whose spacing is three times the usual, or a third of it."""
    if len(seen.spacings) < 3:
        return []
    median = np.median(list(seen.spacings.values()), axis=0)
    findings: list[Finding] = []
    for case, spacing in seen.spacings.items():
        ratio = np.array(spacing) / median
        if ratio.max() > 3 or ratio.min() < 1 / 3:
            shown, usual = ("x".join(f"{s:.3g}" for s in v) for v in (spacing, median))
            what = f"its spacing is {shown} mm, where {usual} mm is usual"
            findings.append(Finding(case, "warning", what, "see whether the file says the truth"))
    return findings


def _fold_findings(dataset: Dataset) -> list[Finding]:
    """Folds that leak, or that name cases which are not there."""
    findings: list[Finding] = []
    for number in range(len(dataset.folds)):
        try:
            dataset.fold(number)
        except SplitError as error:
            findings.append(
                Finding(f"fold {number}", "error", str(error), "mend or delete splits_final.json")
            )
    return findings
