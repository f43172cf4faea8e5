"""What is wrong with a data set: each case by itself, and held to the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from condyle.audit import duplicates
from condyle.audit.alignment import Borders, borders
from condyle.audit.alignment_findings import misfits
from condyle.audit.duplicates import Thumbnail
from condyle.audit.findings import Finding
from condyle.audit.outliers import CaseSummary, case_summary, outliers, with_labels
from condyle.audit.structures import structure_findings
from condyle.core import Case, Dataset, LabelMap, Volume
from condyle.core.lattice import on_grid, place_of
from condyle.errors import CondyleError, GridMismatch, LabelError, SplitError
from condyle.prepare.fingerprint import looks_like_ct
from condyle.prepare.intensity import finite

__all__ = ["Finding", "check"]


@dataclass
class _Seen:
    """What the cases looked at so far were like."""

    hashes: dict[str, str] = field(default_factory=dict[str, str])
    pairs: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    thumbnails: dict[str, Thumbnail] = field(default_factory=dict[str, Thumbnail])
    summaries: list[CaseSummary] = field(default_factory=list[CaseSummary])
    borders: list[Borders] = field(default_factory=list[Borders])


def check(
    dataset: Dataset, on_case: Callable[[int, int], None] = lambda done, total: None
) -> list[Finding]:
    """Everything found wrong; one case in memory at a time, or two that look like duplicates."""
    findings: list[Finding] = []
    seen = _Seen()
    for number, case in enumerate(dataset, 1):
        findings += _case_findings(case, seen, dataset)
        on_case(number, len(dataset))
    findings += outliers(seen.summaries, dataset.scheme)
    findings += misfits(seen.borders, len(dataset.scheme))
    findings += _duplicate_findings(dataset, seen)
    findings += _name_findings(dataset)
    findings += _fold_findings(dataset, seen)
    findings += _unlabelled_findings(dataset)
    findings += structure_findings(_present(dataset, seen))
    return findings + _absent_findings(dataset, seen)


def _case_findings(case: Case, seen: _Seen, dataset: Dataset) -> list[Finding]:
    """What is wrong with one case by itself; what the others are held to goes into `seen`."""
    try:
        volume = case.image()
    except CondyleError as error:
        remedy = "replace the scan, or take the case out"
        return [Finding(case.id, "error", _said(error, dataset), remedy, "unreadable")]
    findings = _same_voxels(case, volume, seen)
    seen.thumbnails[case.id] = duplicates.thumbnail(volume)
    is_ct = dataset.channel_names[0].upper() == "CT" or looks_like_ct(volume)
    volume = volume.with_array(finite(volume.array, f"case {case.id}"))
    scan = case_summary(case.id, volume, is_ct)
    labels, wrong = _labels(case, volume, dataset)
    findings += wrong
    if labels is None:
        seen.summaries.append(scan)
        return findings
    scan = with_labels(scan, volume, labels)
    seen.summaries.append(scan)
    if not is_ct or scan.lowest < 0:
        seen.borders += filter(None, [borders(case.id, volume, labels, is_ct)])
    return findings


def _labels(case: Case, volume: Volume, dataset: Dataset) -> tuple[LabelMap | None, list[Finding]]:
    """A case's labels on its scan's grid, None where there are none; and what is to be said."""
    if case.label is None:
        return None, []
    try:
        found = case.labels()
        labels = on_grid(found, volume.grid, "scan and labels")
    except GridMismatch as error:
        remedy = "export the labels again, from the scan they were drawn on"
        return None, [Finding(case.id, "error", _said(error, dataset), remedy, "grid")]
    except LabelError as error:
        remedy = "export the labels again, as whole numbers that the data set names"
        return None, [Finding(case.id, "error", _said(error, dataset), remedy, "labels")]
    except CondyleError as error:
        remedy = "replace the label map"
        return None, [Finding(case.id, "error", _said(error, dataset), remedy, "unreadable")]
    if not labels.within(labels.known()).array.any():
        remedy = "label it, or take it out"
        return None, [Finding(case.id, "error", "its label map is empty", remedy, "empty")]
    place = place_of(found.grid, volume.grid)
    if place is None or not place.words:
        return labels, []
    what = f"its label map lies on another grid than the scan, voxel on voxel: {place.words}"
    remedy = "nothing need be done: each voxel is put in its place, without interpolation"
    return labels, [Finding(case.id, "warning", what, remedy, "lattice")]


def _said(error: CondyleError, dataset: Dataset) -> str:
    """The error's sentence, with paths relative to the data set."""
    return str(error).replace(f"{dataset.root}/", "")


REMEDY = "keep one of them: a case must not be both in training and in test"


def _same_voxels(case: Case, volume: Volume, seen: _Seen) -> list[Finding]:
    """A scan whose voxels another case has too, however they are stored."""
    ras = volume.reoriented("RAS").array
    digest = hashlib.sha256(str(ras.shape).encode())
    for piece in ras:
        digest.update(piece.astype(np.float32).tobytes())
    original = seen.hashes.setdefault(digest.hexdigest(), case.id)
    if original == case.id:
        return []
    seen.pairs.append((original, case.id))
    what = f"is the same scan as {original}, voxel for voxel"
    return [Finding(case.id, "error", what, REMEDY, "duplicate")]


def _duplicate_findings(dataset: Dataset, seen: _Seen) -> list[Finding]:
    """Scans that are others rescaled, cropped or mirrored: thumbnails find, voxels prove them."""
    names = list(seen.thumbnails)
    findings: list[Finding] = []
    for n, m, flip in duplicates.candidates([seen.thumbnails[name] for name in names]):
        one, other = names[n], names[m]
        if (one, other) in seen.pairs:
            continue
        first, second = dataset[one].image(), dataset[other].image()
        if duplicates.same_scan(first, second, flip):
            seen.pairs.append((one, other))
            how = "mirrored" if any(flip) else "saved otherwise"
            how += " and cropped" if first.grid.shape != second.grid.shape else ""
            what = f"is the same scan as {one}, {how}"
            findings.append(Finding(other, "error", what, REMEDY, "duplicate"))
    return findings


def _name_findings(dataset: Dataset) -> list[Finding]:
    """Cases whose names say that they are of one patient, where nothing else does."""
    groups = duplicates.same_patient_names(dataset.cases)
    if not groups:
        return []
    more = f" (and {len(groups) - 1} more such groups)" if len(groups) > 1 else ""
    what = f"{' and '.join(groups[0])} look like one patient{more}"
    remedy = (
        "write patients.csv (columns case, patient): all scans of a patient must be on one side "
        "of a split"
    )
    return [Finding("all cases", "warning", what, remedy, "names")]


def _fold_findings(dataset: Dataset, seen: _Seen) -> list[Finding]:
    """Folds that leak, by patient or by duplicates, or that name cases which are not there."""
    findings: list[Finding] = []
    remedy = "correct or delete splits_final.json"
    for number, fold in enumerate(dataset.folds):
        try:
            dataset.fold(number)
        except SplitError as error:
            findings.append(Finding(f"fold {number}", "error", str(error), remedy, "folds"))
        sides = {case: side for side in ("train", "validation", "test")
                 for case in getattr(fold, side)}  # fmt: skip
        for one, other in seen.pairs:
            if sides.get(one, "") != sides.get(other, "") and {one, other} <= set(sides):
                what = f"one scan is on two sides: {one} in {sides[one]}, {other} in {sides[other]}"
                findings.append(Finding(f"fold {number}", "error", what, remedy, "folds"))
    return findings


def _unlabelled_findings(dataset: Dataset) -> list[Finding]:
    """The scans without labels, in a line: those of imagesTs, which need none, and others."""
    bare = [case for case in dataset if case.label is None]
    test = [case for case in bare if case.images[0].parent.name == "imagesTs"]
    rest = [case.id for case in bare if case not in test]
    found: list[Finding] = []
    if test:
        what = f"{len(test)} scan{'s' * (len(test) > 1)} without labels, for segmenting"
        found.append(Finding("imagesTs", "note", what, "nothing need be done", "unlabelled"))
    remedy = "label it, or leave it for segmenting"
    if len(rest) == 1:
        what = "has no labels and is not trained on"
        found.append(Finding(rest[0], "warning", what, remedy, "unlabelled"))
    elif rest:
        named = ", ".join(rest[:8]) + (", ..." if len(rest) > 8 else "")
        what = f"{len(rest)} have no labels and are not trained on: {named}"
        found.append(Finding("all cases", "warning", what, remedy, "unlabelled"))
    return found


def _present(dataset: Dataset, seen: _Seen) -> dict[str, list[str]]:
    """Labelled case -> the names of its structures; of those alone whose labels could be used."""
    return {
        case.case: [dataset.scheme[number].name for number in case.volumes]
        for case in seen.summaries
        if case.volumes
    }


def _absent_findings(dataset: Dataset, seen: _Seen) -> list[Finding]:
    present = {number for case in seen.summaries for number in case.volumes}
    absent = [x.name for x in dataset.scheme.labels if x.id not in present]
    if not absent or not dataset.labelled():
        return []
    what = f"no case holds {', '.join(absent)}"
    remedy = "remove it from the labels, or add cases that show it"
    return [Finding("all cases", "warning", what, remedy, "absent")]
