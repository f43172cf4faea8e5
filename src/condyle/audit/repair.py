"""A copy of a data set without what was found wrong: repaired where that is safe, else left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from condyle.audit.check import Finding
from condyle.core import Case, Dataset, Fold, LabelMap, LabelScheme, Volume
from condyle.core.lattice import on_grid
from condyle.core.relabel import by_name, consecutive
from condyle.errors import CondyleError, LabelError
from condyle.io import read, write_nnunet
from condyle.io.datasets.nnunet import splits_json
from condyle.io.datasets.patients import patients_csv
from condyle.jobs.job import Job
from condyle.prepare import splits

__all__ = ["changes", "repair", "repaired_numbers"]

OUT = ("unreadable", "empty", "duplicate", "flip", "misfit", "shift")
"""Kinds of finding whose case is left out of the copy: only a person can say what is right."""
TRIED = ("labels", "grid", "lattice")
"""Kinds that are repaired where it is plain how; else the case is left out."""
NEAR = 0.1
"""Voxels by which the corners of a mask's grid may lie off its scan's: the header was rounded."""
ROUND = 0.05
"""How far a label may lie from a whole number, once a slope common to all is taken out."""
SLOPE = 0.1
"""How far the smallest label may lie from a whole number because of such a slope."""


def repair(dataset: Dataset, findings: Sequence[Finding], out: Path, job: Job) -> list[Finding]:
    """Write a repaired copy in nnU-Net's raw form; gives back the findings with their outcomes.

    Repaired are labels within 0.05 of whole numbers (after one slope common to all of them), NaN in
    the background, grids less than 0.1 voxel off the scan's, turned, cut or padded, and folds that
    part a patient. Left out are the cases of `OUT`, masks in the air of a CT, and what cannot be
    repaired safely.

    Raises
    ------
    OutputError, DatasetError
        If `out` is not empty, or no case is left to write.
    """
    work = _Repair(dataset, findings)
    write_nnunet(
        out,
        dataset.name,
        work.cases(job),
        consecutive(dataset.scheme),
        dataset.channel_names,
        beside=work.texts,
    )
    return [replace(finding, outcome=work.outcome(finding)) for finding in findings]


@dataclass
class _Repair:
    """A copy under way: what was found, and which cases were written so far."""

    dataset: Dataset
    findings: Sequence[Finding]
    written: list[Case] = field(default_factory=list[Case])

    def cases(self, job: Job) -> Iterator[tuple[str, tuple[Volume, ...], LabelMap | None]]:
        """Each case that can be kept, as it is to be written."""
        out = {f.case for f in self.findings if _leaves_out(f)}
        tried = {f.case for f in self.findings if f.kind in TRIED}
        cases = [case for case in self.dataset if case.id not in out]
        for case in job.track("repairing", cases):
            channels = case.channels()
            try:
                labels = self._labels(case, channels[0], case.id in tried)
            except CondyleError:
                continue
            self.written.append(case)
            yield case.id, channels, labels

    def _labels(self, case: Case, volume: Volume, tried: bool) -> LabelMap | None:
        if case.label is None:
            return None
        labels = _repaired(case, volume, self.dataset.scheme) if tried else case.labels()
        return by_name(labels, self.dataset.scheme, case.id)[0]

    def outcome(self, finding: Finding) -> str:
        """What became of a finding in the copy."""
        if finding.kind == "folds":
            return "repaired"
        written = {case.id for case in self.written}
        if any(case.id == finding.case for case in self.dataset) and finding.case not in written:
            return "left out"
        return "repaired" if finding.kind in TRIED else "left"

    def texts(self) -> dict[str, str]:
        """File name -> text of what lies beside dataset.json."""
        known = {case.id: case.patient for case in self.written if case.patient != case.id}
        folds = self._folds()
        texts = {"patients.csv": patients_csv(known) if known else ""}
        texts["splits_final.json"] = splits_json(folds) if folds else ""
        return {name: text for name, text in texts.items() if text}

    def _folds(self) -> tuple[Fold, ...]:
        """The folds of the cases that are kept, parted by patient where they were not."""
        labelled = [case for case in self.written if case.label is not None]
        old = self.dataset.folds
        patients = len({case.patient for case in labelled})
        if not any(f.kind == "folds" for f in self.findings):
            kept = {case.id for case in self.written}
            return tuple(_only(fold, kept) for fold in old)
        if len(old) > 1 and patients >= len(old) and not any(fold.test for fold in old):
            return splits.k_fold(labelled, len(old))
        return tuple(_by_patient(fold, labelled) for fold in old)


def changes(finding: Finding) -> bool:
    """Whether a repaired copy would differ because of a finding."""
    return finding.kind in (*TRIED, "folds") or _leaves_out(finding)


def _leaves_out(finding: Finding) -> bool:
    return finding.kind in OUT or (finding.kind == "air" and finding.severity == "error")


def _only(fold: Fold, kept: set[str]) -> Fold:
    train, validation, test = (
        tuple(case for case in side if case in kept)
        for side in (fold.train, fold.validation, fold.test)
    )
    return Fold(train, validation, test)


def _by_patient(fold: Fold, cases: Sequence[Case]) -> Fold:
    """The fold with each patient on one side: where most of the cases were, else training."""
    sides = (fold.train, fold.validation, fold.test)
    parts: tuple[list[str], ...] = ([], [], [])
    for patient in dict.fromkeys(case.patient for case in cases):
        own = [case.id for case in cases if case.patient == patient]
        named = [sum(case in side for case in own) for side in sides]
        if any(named):
            parts[int(np.argmax(named))].extend(own)
    train, validation, test = (tuple(sorted(part)) for part in parts)
    return Fold(train, validation, test)


def _repaired(case: Case, volume: Volume, scheme: LabelScheme) -> LabelMap:
    """A case's label map as whole numbers on its scan's grid, if there is no doubt about either."""
    try:
        labels = case.labels()
    except LabelError:
        if case.label is None or not case.label.is_file():
            raise
        found = read(case.label)
        labels = LabelMap(repaired_numbers(found.array, scheme), found.grid, scheme)
    near = NEAR * min(volume.spacing)
    return on_grid(labels, volume.grid, f"scan and labels of case {case.id}", near)


def repaired_numbers(array: NDArray[np.floating], scheme: LabelScheme) -> NDArray[np.uint16]:
    """Labels that a slope or rounding bent, as the whole numbers that they were.

    NaN becomes background. The slope is what the smallest label tells: it must lie within 0.1 of a
    whole number, and all others, divided by the slope, within 0.05 of a number of the scheme.

    Raises
    ------
    LabelError
        If the labels were interpolated, so that their original values cannot be recovered.

    Examples
    --------
    >>> scheme = LabelScheme.of({"tibia": 1, "femur": 2})
    >>> repaired_numbers(np.array([0.0, np.nan, 0.98, 1.96]), scheme)
    array([0, 0, 1, 2], dtype=uint16)
    """
    values = np.where(np.isnan(array), 0, array).astype(np.float64)
    if not np.isfinite(values).all():
        raise LabelError("the labels hold infinite values")
    some = np.unique(values[np.abs(values) > ROUND])
    slope = 1.0
    if some.size and np.abs(some - np.rint(some)).max() > ROUND:
        slope = float(some[0] / max(np.rint(some[0]), 1))
    whole = np.rint(values / slope)
    plain = not some.size or (some[0] > 0 and abs(some[0] - np.rint(some[0])) <= SLOPE)
    # fractions alone may be labels divided by 255
    plain = plain and (bool(some.size) or not values.any())
    if not plain or np.abs(values / slope - whole).max() > ROUND:
        raise LabelError(
            "the labels lie between whole numbers: their original values cannot be recovered"
        )
    if not set(np.unique(whole)) <= {0, *scheme.to_dict().values()}:
        raise LabelError(f"the labels are not among {scheme.to_dict()}")
    return whole.astype(np.uint16)
