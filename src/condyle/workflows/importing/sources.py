"""The cases of an import: scans with their masks, or those of a data set of another layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from condyle.core import Case, Dataset, Fold, LabelMap, LabelScheme, Volume
from condyle.core.merge import OverlapReport, Policy
from condyle.errors import ConfigError, DatasetError
from condyle.io import find_scans, list_scans, patient_of, read, scans_by_name
from condyle.workflows.importing.masks import (
    Masks,
    Notes,
    in_scheme,
    labels_of,
    masks_of,
    scheme_found,
    without_scan,
)

__all__ = ["Source", "Sources", "sources_of_dataset", "sources_of_scans"]

Labels = tuple[LabelMap, OverlapReport | None]


@dataclass(frozen=True)
class Source:
    """One case before it is imported.

    Parameters
    ----------
    files, masks : of the scan, one a channel; and of its masks or its label map.
    patient : the same for the scans of one patient, '' where nothing is known. It never leaves
        memory.
    read : gives the channels.
    read_labels : gives the label map numbered from 1 on, and what its masks claimed twice, and
        adds to the notes; None where the case has no labels.
    """

    name: str
    files: tuple[Path, ...]
    masks: tuple[Path, ...]
    patient: str
    read: Callable[[], tuple[Volume, ...]]
    read_labels: Callable[[Notes], Labels] | None


@dataclass(frozen=True)
class Sources:
    """All cases of an import, and what their numbers stand for.

    Parameters
    ----------
    channels : their names; () where only the scans can tell.
    folds : those of the data set that is imported.
    remarks : what the user should know of them.
    """

    cases: tuple[Source, ...]
    scheme: LabelScheme
    channels: tuple[str, ...] = ()
    folds: tuple[Fold, ...] = ()
    remarks: tuple[str, ...] = ()


def sources_of_scans(
    scans: Sequence[Path],
    masks: Sequence[Path],
    scheme: LabelScheme | None,
    overlap: Policy,
    volume: int | None = None,
    series: str = "",
) -> Sources:
    """Scans, each with its masks."""
    if not masks:
        raise ConfigError("give the scans' masks as `masks`, or one data set folder and no masks")
    found = scans_by_name(scans)
    if not found:
        raise DatasetError(f"no scans found in {', '.join(map(str, scans))}")
    names = list(found)
    for path in filter(Path.is_dir, masks):
        list_scans(path, labels=True).say(path)
    groups = {name: masks_of(name, masks, len(found), scheme) for name in names}
    if scheme is None:
        scheme = scheme_found(groups)
    cases = tuple(
        Source(
            name,
            (path,),
            groups[name].files,
            patient_of(path, series),
            partial(_channel, path, volume, series),
            partial(labels_of, name, groups[name], scheme, overlap),
        )
        for name, path in found.items()
    )
    lost = without_scan(masks, names)
    remarks = (f"masks without a scan were ignored: {', '.join(lost[:8])}",) if lost else ()
    return Sources(cases, scheme, remarks=remarks)


def _channel(path: Path, volume: int | None, series: str) -> tuple[Volume, ...]:
    return (read(path, volume=volume, series=series),)


def sources_of_dataset(dataset: Dataset, scheme: LabelScheme | None, overlap: Policy) -> Sources:
    """The cases of a data set, with its channels, patients and folds."""
    wanted = scheme or dataset.scheme
    if wanted.ignore is None and dataset.scheme.ignore is not None:
        wanted = replace(wanted, ignore=max(wanted.ids) + 1)
    # without patients.csv each case counts as a patient, which says nothing
    tabled = any(case.patient != case.id for case in dataset)
    cases = tuple(
        Source(
            case.id,
            case.images,
            (case.label,) if case.label else (),
            case.patient if tabled else patient_of(case.images[0]),
            case.channels,
            partial(_case_labels, case, wanted, overlap) if case.label else None,
        )
        for case in dataset
    )
    return Sources(cases, wanted, dataset.channel_names, dataset.folds)


def _case_labels(case: Case, scheme: LabelScheme, overlap: Policy, notes: Notes) -> Labels:
    """A case's label map, or its folder of masks (TotalSegmentator) made one."""
    if case.label and case.label.is_dir():
        return labels_of(case.id, Masks(tuple(find_scans(case.label))), scheme, overlap, notes)
    return in_scheme(case.labels(), scheme, notes, case.id), None
