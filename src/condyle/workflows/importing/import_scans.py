"""Scans and masks in, a data set out that Condyle and nnU-Net train on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from condyle.config.requests import ImportRequest
from condyle.core import Case, Dataset, Fold, LabelMap, LabelScheme, Volume
from condyle.core.relabel import consecutive, listed
from condyle.errors import Cancelled, DatasetError, LabelError, OutputError
from condyle.io import dropped, is_dataset, open_dataset, read_channels, read_labels
from condyle.io.datasets.nnunet import require_numbered, splits_json, write_case, write_facts
from condyle.io.datasets.patients import numbered, patients_csv, patients_given
from condyle.jobs.batch import Batch, Done, Task, run_batch
from condyle.jobs.job import Job, count_of, verb
from condyle.jobs.outputs import written_together
from condyle.jobs.records import HOME, OutputFolder, Record
from condyle.prepare import splits
from condyle.prepare.crop import labelled_slices
from condyle.prepare.fingerprint import looks_like_ct
from condyle.prepare.intensity import finite, sample
from condyle.workflows.importing.case_names import telling
from condyle.workflows.importing.masks import Notes, scheme_named
from condyle.workflows.importing.provenance import case_facts, overlaps_csv, without_paths
from condyle.workflows.importing.renaming import NAMES, names_csv, renaming, require_met
from condyle.workflows.importing.sources import (
    Source,
    Sources,
    Wanted,
    sources_of_dataset,
    sources_of_scans,
)
from condyle.workflows.importing.structures import absences, joined, occurring

__all__ = ["BATCH", "ImportedDataset", "import_scans"]

_Case = tuple[tuple[Volume, ...], LabelMap | None, dict[str, Any]]

FOLDERS = ("imagesTr", "imagesTs", "labelsTr")

MARGIN = 5
"""Slices that are kept beyond the first and the last that carry labels."""

LINES = 20
"""Of notes on single cases, as many as are said; overlaps.csv holds all overlaps."""


@dataclass(frozen=True)
class ImportedDataset:
    """A data set that was written, and what was done, line by line."""

    folder: Path
    said: tuple[str, ...]

    @property
    def text(self) -> str:
        """What was done, in lines."""
        return "\n".join(self.said)


@verb
def import_scans(request: ImportRequest, job: Job) -> ImportedDataset:
    """Write scans and their masks as a data set folder, whole or not at all.

    Scans are files, DICOM folders, zips, or folders of these; or, without masks, one data set
    folder of any known layout, whose splits, patients and channels are kept. Of patients only
    patient_001, patient_002, ... are written.

    Raises
    ------
    DatasetError, LabelError, GridMismatch, SplitError, ...
        If a scan or its masks are wrong: nothing is written then.
    OutputError
        If `out` is not a new folder.
    """
    out = request.out
    home = out / HOME
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not _is_unfinished(out)):
        raise OutputError(f"{out} is not empty: choose a new folder for the data set")
    if out.is_symlink() and not out.exists():
        raise OutputError(f"{out} is a link to nothing: remove it first")
    fresh = not out.exists()
    try:
        done = run_batch(BATCH, request, job)
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt | Cancelled):
            for made in (*FOLDERS, HOME):
                shutil.rmtree(out / made, ignore_errors=True)
            if fresh:
                shutil.rmtree(out, ignore_errors=True)
        raise
    shutil.rmtree(home, ignore_errors=True)  # its paths may name patients
    return done


def _is_unfinished(out: Path) -> bool:
    """Whether a folder holds an import that did not come to its end, and nothing else."""
    return (out / HOME).is_dir() and {entry.name for entry in out.iterdir()} <= {*FOLDERS, HOME}


def _sources(request: ImportRequest, job: Job) -> Sources:
    def found() -> Sources:
        scheme = scheme_named(request.scheme)
        wanted = Wanted(
            scheme,
            request.overlap,
            renaming(request.rename),
            request.not_drawn,
            request.anonymous_names,
        )
        scans, masks = request.scans, request.masks
        if request.pairs is None and not masks and len(scans) == 1 and is_dataset(scans[0]):
            request.refuse({
                "volume": "a data set has its own scans", "series": "a data set has its own scans",
                "not_drawn": "in a data set, nothing says what was not drawn",
            })  # fmt: skip
            return sources_of_dataset(open_dataset(scans[0]), wanted)
        return sources_of_scans(scans, masks, wanted, request.pairs, request.volume, request.series)

    return job.keep("sources", found)


def _patients(request: ImportRequest, sources: Sources) -> dict[str, str]:
    """Case -> patient_001, ..."""
    known = {source.name: source.patient for source in sources.cases}
    if request.patients:
        given = patients_given(request.patients, [source.given for source in sources.cases])
        known = {source.name: given[source.given] for source in sources.cases}
    return numbered(known)


def _tasks(request: ImportRequest, job: Job) -> list[Task]:
    sources = _sources(request, job)
    scheme = consecutive(sources.scheme)
    require_numbered(scheme)
    _Import(request, sources, _patients(request, sources)).require_folds()
    if told := telling(source.name for source in sources.cases):
        job.warn(
            f"case names may tell of patients ({listed(told)}), and go into file names, tables and "
            "reports: `anonymous_names` calls them case_001, case_002, ..."
        )
    return [
        Task(source.name, (*source.files, *source.masks), given=(source, scheme))
        for source in sources.cases
    ]


def _compute(request: ImportRequest, task: Task, _: None, job: Job) -> _Case:
    source: Source = task.given[0]
    notes = Notes()
    channels = tuple(
        channel.with_array(finite(channel.array, f"case {source.name}"))
        for channel in source.read()
    )
    whole = channels[0]
    labels, report = source.read_labels(notes, whole.grid) if source.read_labels else (None, None)
    _require_labels(source, whole, notes)
    names = [n for file in source.files for n in dropped(file, request.series)]
    present = list(labels.present()) if labels is not None else []
    if labels is not None and request.area == "labelled":
        channels, labels = _cut(source.name, channels, labels)
    said = [each.sentence for each in job.warnings]
    warnings = without_paths(source.name, (*source.files, *source.masks), said)
    pairs = [(p.first, p.second, p.voxels, p.cm3) for p in report.pairs] if report else []
    data = {
        "facts": case_facts(source.name, source.files, whole, channels[0], names, warnings),
        "notes": notes.lines,
        "names": notes.names,
        "present": present,
        "overlaps": pairs,
        "is_ct": looks_like_ct(whole),
        "is_picture": whole.grid.is_picture,
        "labelled": labels is not None,
        "channels": len(channels),
    }
    return channels, labels, data


MANY = 30
"""Numbers of a label map from which it is looked whether it is a scan."""


def _require_labels(source: Source, scan: Volume, notes: Notes) -> None:
    """Raise if a scan's label map holds more different numbers than the scan."""
    if notes.numbers > MANY and np.unique(sample(scan.array)).size <= notes.numbers:
        raise LabelError(
            f"{source.name}: its label map holds {notes.numbers} different numbers, and its scan "
            "no more: are scans and masks given the other way round? First come the scans, then "
            "`masks`"
        )


def _write(request: ImportRequest, task: Task, found: _Case, job: Job) -> Done:
    channels, labels, data = found
    return Done(tuple(write_case(request.out, task.key, channels, labels, task.given[1])), data)


def _gather(
    request: ImportRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> ImportedDataset:
    for record in records:
        record.raise_failure()
    sources = _sources(request, job)
    work = _Import(request, sources, _patients(request, sources), [dict(r.data) for r in records])
    require_met(request.rename, work.names)
    for sentence in absences(work.present(), sources, request.not_drawn):
        job.warn(sentence)
    counts = {data["channels"] for data in work.data}
    if len(counts) > 1:
        raise DatasetError(f"the scans have different numbers of channels: {sorted(counts)}")
    labelled = sum(data["labelled"] for data in work.data)
    channels, texts = work.channels(), work.texts()
    name, scheme = request.out.resolve().name, consecutive(sources.scheme)
    with written_together():
        write_facts(
            request.out, name, channels, counts.pop(), scheme, labelled, (), texts,
            pictures=work.are_pictures,
        )  # fmt: skip
    return ImportedDataset(request.out, tuple(work.said(request.out)))


BATCH = Batch(
    home="condyle.workflows.importing.import_scans:BATCH", stage="importing",
    request=ImportRequest, tasks=_tasks, compute=_compute, write=_write, gather=_gather,
)  # fmt: skip


@dataclass
class _Import:
    """An import: what was asked for and given, and what the cases were found to be."""

    request: ImportRequest
    sources: Sources
    patients: Mapping[str, str]
    data: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    remarks: list[str] = field(default_factory=list[str])

    @property
    def facts(self) -> list[dict[str, Any]]:
        return [data["facts"] for data in self.data]

    @property
    def notes(self) -> list[tuple[str, str]]:
        return [(case, text) for data in self.data for case, text in data["notes"]]

    @property
    def names(self) -> dict[str, str]:
        """What a mask or a segment is called -> its structure, '' if it has none."""
        return {name: structure for data in self.data for name, structure in data["names"].items()}

    def present(self) -> dict[str, set[str]]:
        """Labelled case -> the structures that occur in it."""
        scheme = consecutive(self.sources.scheme)
        return {
            data["facts"]["case"]: {scheme[number].name for number in data["present"]}
            for data in self.data
            if data["labelled"]
        }

    @property
    def are_ct(self) -> list[bool]:
        return [data["is_ct"] for data in self.data]

    @property
    def are_pictures(self) -> bool:
        """Whether the cases are pictures; `DatasetError` where some are and others are not."""
        found = {data["is_picture"] for data in self.data}
        if len(found) > 1:
            raise DatasetError("some scans are pictures, without millimetres: import them apart")
        return found == {True}

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

    def texts(self) -> dict[str, str]:
        """File name -> text of what lies beside dataset.json."""
        split = self.request.split
        folds = self.folds() if split else self.sources.folds
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
            "overlaps.csv": overlaps_csv(
                {data["facts"]["case"]: data["overlaps"] for data in self.data}
            ),
            NAMES: names_csv(self.names) if self.names else "",
            "import.json": "[\n" + ",\n".join(map(json.dumps, self.facts)) + "\n]\n",
        }
        return {name: text for name, text in texts.items() if text}

    def folds(self) -> tuple[Fold, ...]:
        """The folds of the labelled cases; those of 5-fold share out what structures there are."""
        strata: dict[str, str] = {}
        present = {data["facts"]["case"]: set(data["present"]) for data in self.data}
        seen: dict[str, set[int]] = {}
        for source in self._labelled():
            patient = self._patient(source)
            seen[patient] = seen.get(patient, set()) | present.get(source.name, set())
            strata[patient] = " ".join(f"{number:05d}" for number in sorted(seen[patient]))
        return splits.split(
            map(self._case, self._labelled()), self.request.split, self.request.seed, strata
        )

    def require_folds(self) -> None:
        """Raise `SplitError` before anything is read, if the folds cannot be."""
        if self.request.split:
            self.folds()
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
        scans = count_of(len(self.facts), "scan")
        lines = [f"{scans} with {occurring(scheme, self.present())} written into {out}"]
        lines += [*joined(self.names), *_gathered(self.notes), *self.sources.remarks, *self.remarks]
        if consecutive(scheme) != scheme:
            lines.append(f"nnU-Net numbers labels from 1: {_changes(scheme)}")
        if self.request.area == "labelled":
            kept, all_ = (
                sum(facts[key] for facts in self.facts)
                for key in ("axial_slices_kept", "axial_slices")
            )
            lines.append(
                f"{kept} of {all_} axial slices kept: those with labels, and {MARGIN} beyond them "
                "at either end where there are so many"
                if kept < all_
                else f"all {all_} axial slices kept: those with labels reach within {MARGIN} of "
                "either end"
            )
        if not re.fullmatch(r"Dataset\d{3}_.+", out.name):
            wanted = "Dataset042_" + re.sub(r"\W+", "_", out.resolve().name)
            lines.append(f"nnU-Net needs a folder name such as {wanted} to train on it")
        return lines


def _cut(
    case: str, channels: tuple[Volume, ...], labels: LabelMap
) -> tuple[tuple[Volume, ...], LabelMap]:
    """The axial slices that carry labels, and some more at either end, as they were turned."""
    try:
        start, stop = labelled_slices(labels, "axial", MARGIN)
    except LabelError as error:
        raise LabelError(f"{case} has no labels to cut it to: leave it out, or `area`") from error
    turned = labels.grid.orientation

    def cut(thing: Any) -> Any:
        return thing.reoriented("RAS").cropped(start, stop).reoriented(turned)

    return tuple(map(cut, channels)), cut(labels)


def _gathered(notes: Sequence[tuple[str, str]]) -> list[str]:
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
