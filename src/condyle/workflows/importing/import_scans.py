"""Scans and masks in, a data set out that Condyle and nnU-Net train on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from condyle.core import Case, Dataset, Fold, LabelMap, LabelScheme, Volume
from condyle.core.merge import OverlapReport, Policy
from condyle.core.relabel import consecutive
from condyle.errors import ConfigError, LabelError
from condyle.io import (
    dropped,
    is_dataset,
    open_dataset,
    read_channels,
    read_labels,
    write_nnunet,
)
from condyle.io.datasets.nnunet import splits_json
from condyle.io.datasets.patients import numbered, patients_csv, patients_given
from condyle.jobs.progress import Tell, silent, told
from condyle.prepare import splits
from condyle.prepare.crop import labelled_slices
from condyle.prepare.fingerprint import looks_like_ct
from condyle.prepare.intensity import finite
from condyle.workflows.importing.masks import Notes, scheme_named
from condyle.workflows.importing.provenance import case_facts, heard, overlaps_csv
from condyle.workflows.importing.sources import (
    Source,
    Sources,
    sources_of_dataset,
    sources_of_scans,
)

__all__ = ["Area", "import_scans"]

Area = Literal["whole", "labelled"]

MARGIN = 5
"""Slices that are kept beyond the first and the last that carry labels."""

LINES = 20
"""Of notes on single cases, as many as are said; overlaps.csv holds all overlaps."""


def import_scans(
    scans: Sequence[Path],
    masks: Sequence[Path],
    out: Path,
    *,
    scheme: str = "",
    overlap: Policy = "error",
    patients: str = "",
    split: str = "",
    seed: int = 0,
    area: Area = "whole",
    volume: int | None = None,
    series: str = "",
    tell: Tell = silent,
) -> str:
    """Write scans and their masks as a data set folder; gives back what was done, in words.

    Parameters
    ----------
    scans : files, DICOM folders, zips, or folders of these; or, without masks, one data set
        folder of any known layout, whose splits, patients and channels are kept.
    masks : a folder of one scan's masks, or one with such a folder (or a label map) a scan,
        matched by base name; or the files of one scan's masks.
    out : the new data set folder.
    scheme : lower-limb, knee, a JSON file {"name": number}, or '' for the names found.
    overlap : background, priority or error: what happens to a voxel that two masks claim.
    patients : a .csv table with the columns case and patient, a regular expression whose first
        group is the patient in a case's name, or '' for what DICOM's PatientID says. Only
        patient_001, patient_002, ... are written.
    split : 24/8/8, 5-fold or leave-one-out, by patient; '' for none, or the data set's own.
    seed : of the split.
    area : whole, or labelled for the axial slices that carry labels and 5 more at either end.
    volume, series : which volume of files that hold several, which series of DICOM folders.
    """
    wanted = scheme_named(scheme)
    if not masks and len(scans) == 1 and is_dataset(scans[0]):
        if volume is not None or series:
            raise ConfigError("--volume and --series choose among scans; a data set has its own")
        sources = sources_of_dataset(open_dataset(scans[0]), wanted, overlap)
    else:
        sources = sources_of_scans(scans, masks, wanted, overlap, volume, series)
    known = {source.name: source.patient for source in sources.cases}
    if patients:
        known = patients_given(patients, list(known))
    work = _Import(sources, numbered(known), area, series)
    work.require_folds(split, seed)
    write_nnunet(
        out,
        Path(out).name,
        work.cases(tell),
        consecutive(sources.scheme),
        work.channels,
        beside=lambda: work.texts(split, seed),
    )
    return "\n".join(work.said(Path(out)))


@dataclass
class _Import:
    """An import under way: what was given, and what was seen of the cases so far."""

    sources: Sources
    patients: Mapping[str, str]
    area: Area
    series: str
    notes: Notes = field(default_factory=list[tuple[str, str]])
    remarks: list[str] = field(default_factory=list[str])
    overlaps: dict[str, OverlapReport] = field(default_factory=dict[str, OverlapReport])
    facts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    present: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    are_ct: list[bool] = field(default_factory=list[bool])

    def cases(self, tell: Tell) -> Iterator[tuple[str, tuple[Volume, ...], LabelMap | None]]:
        """Each case as it is to be written."""
        cases = self.sources.cases
        for source in told(tell, "importing", cases, len(cases)):
            with heard(source.name, (*source.files, *source.masks)) as warnings:
                channels = tuple(
                    channel.with_array(finite(channel.array, f"case {source.name}"))
                    for channel in source.read()
                )
                labels = self._labels(source, channels[0])
                names = [n for file in source.files for n in dropped(file, self.series)]
            whole = channels[0]
            self.are_ct.append(looks_like_ct(whole))
            if labels is not None and self.area == "labelled":
                channels, labels = _cut(source.name, channels, labels)
            self.facts.append(
                case_facts(source.name, source.files, whole, channels[0], names, warnings)
            )
            yield source.name, channels, labels

    def _labels(self, source: Source, volume: Volume) -> LabelMap | None:
        if source.read_labels is None:
            return None
        labels, report = source.read_labels(self.notes)
        volume.grid.require_same(labels.grid, f"{source.name}: scan and masks")
        self.present[source.name] = set(labels.present())
        if report is not None:
            self.overlaps[source.name] = report
        return labels

    def channels(self) -> tuple[str, ...]:
        """The channels' names: nnU-Net scales by them, CT alone by the numbers of all scans."""
        if self.sources.channels:
            return self.sources.channels
        if any(self.are_ct) and not all(self.are_ct):
            self.remarks.append(
                f"{sum(self.are_ct)} of {len(self.are_ct)} scans look like CT: the channel is "
                "called image, and each scan is scaled by itself"
            )
            return ("image",)
        return ("CT" if all(self.are_ct) else "MRI",)

    def texts(self, split: str, seed: int) -> dict[str, str]:
        """File name -> text of what lies beside dataset.json."""
        folds = self.folds(split, seed) if split else self.sources.folds
        if split:
            left = len({self._patient(s) for s in self._labelled()})
            left -= len({self._patient(s) for s in self._labelled() if s.name in folds[0].all})
            if left:
                self.remarks.append(f"the split {split} leaves out {left} of the patients")
        if folds:
            self.remarks.append(
                "nnU-Net keeps to splits_final.json where a copy lies in its nnUNet_preprocessed"
            )
        texts = {
            "splits_final.json": splits_json(folds) if folds else "",
            "patients.csv": patients_csv(self.patients) if self.patients else "",
            "overlaps.csv": overlaps_csv(self.overlaps),
            "import.json": "[\n" + ",\n".join(map(json.dumps, self.facts)) + "\n]\n",
        }
        return {name: text for name, text in texts.items() if text}

    def folds(self, split: str, seed: int) -> tuple[Fold, ...]:
        """The folds of the labelled cases; those of 5-fold share out what structures there are."""
        strata: dict[str, str] = {}
        seen: dict[str, set[int]] = {}
        for source in self._labelled():
            patient = self._patient(source)
            seen[patient] = seen.get(patient, set()) | self.present.get(source.name, set())
            strata[patient] = " ".join(f"{number:05d}" for number in sorted(seen[patient]))
        return splits.split(map(self._case, self._labelled()), split, seed, strata)

    def require_folds(self, split: str, seed: int) -> None:
        """Raise `SplitError` before anything is read, if the folds cannot be."""
        if split:
            self.folds(split, seed)
            return
        cases = tuple(map(self._case, self.sources.cases))
        folds = self.sources.folds
        dataset = Dataset("the data set", Path(), cases, self.sources.scheme, folds)
        for number in range(len(folds)):
            dataset.fold(number)

    def _labelled(self) -> list[Source]:
        return [source for source in self.sources.cases if source.read_labels]

    def _patient(self, source: Source) -> str:
        return self.patients.get(source.name, source.name)

    def _case(self, source: Source) -> Case:
        patient = self._patient(source)
        return Case(source.name, source.files, None, patient, read_channels, read_labels)

    def said(self, out: Path) -> list[str]:
        """What was done, and what the user should know of it."""
        scheme = self.sources.scheme
        scans = f"{len(self.facts)} scan{'s' * (len(self.facts) != 1)}"
        lines = [f"{scans} with {', '.join(scheme.names)} written into {out}"]
        lines += [*_gathered(self.notes), *self.sources.remarks, *self.remarks]
        if consecutive(scheme) != scheme:
            lines.append(f"nnU-Net counts labels from 1 on: {_changes(scheme)}")
        if self.area == "labelled":
            kept, all_ = (
                sum(facts[key] for facts in self.facts)
                for key in ("axial_slices_kept", "axial_slices")
            )
            lines.append(
                f"{kept} of {all_} axial slices kept: those with labels, and {MARGIN} more"
            )
        if not re.fullmatch(r"Dataset\d{3}_.+", out.name):
            wanted = "Dataset042_" + re.sub(r"\W+", "_", out.resolve().name)
            lines.append(f"before nnU-Net can train on it, call the folder {wanted} or the like")
        return lines


def _cut(
    case: str, channels: tuple[Volume, ...], labels: LabelMap
) -> tuple[tuple[Volume, ...], LabelMap]:
    """The axial slices that carry labels, and some more at either end, as they were turned."""
    try:
        start, stop = labelled_slices(labels, "axial", MARGIN)
    except LabelError as error:
        raise LabelError(f"{case} has no labels to cut it to: leave it out, or --area") from error
    turned = labels.grid.orientation

    def cut(thing: Any) -> Any:
        return thing.reoriented("RAS").cropped(start, stop).reoriented(turned)

    return tuple(map(cut, channels)), cut(labels)


def _gathered(notes: Notes) -> list[str]:
    """The notes as lines, those of several cases that say the same in one."""
    cases: dict[str, list[str]] = {}
    for case, text in notes:
        cases.setdefault(text, []).append(case)
    lines = [
        ", ".join(names[:5])
        + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        + f": {text}"
        for text, names in cases.items()
    ]
    return [*lines[:LINES], *([f"... and {len(lines) - LINES} more"] if lines[LINES:] else [])]


def _changes(scheme: LabelScheme) -> str:
    """Which numbers changed, in words."""
    changed = [f"{label.name} was {label.id} and is {n}"
               for n, label in enumerate(scheme.entries, 1) if label.id != n]  # fmt: skip
    return ", ".join(changed[:8]) + (", ..." if len(changed) > 8 else "")
