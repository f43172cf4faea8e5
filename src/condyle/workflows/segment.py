"""Scans in, label maps out: each whole or absent, and one failure never stops the others."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from condyle.core import Case, Dataset, Grid, Volume
from condyle.core.names import repeated
from condyle.errors import CondyleError, ConfigError, UnknownName
from condyle.io import (
    Manifest,
    dicomseg,
    find_scans,
    is_dataset,
    open_dataset,
    read,
    scan_name,
    write,
)
from condyle.io.frames import Header
from condyle.io.scans import sources
from condyle.predict import Segmenter
from condyle.prepare.crop import Box, near_slice, slab
from condyle.prepare.splits import default_folds
from condyle.workflows.files import write_names
from condyle.workflows.progress import Tell, silent, told

__all__ = ["FORMATS", "Segmented", "held_out", "segment", "segment_cases"]

log = logging.getLogger("condyle")

FORMATS = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "dicom-seg": ".dcm"}


Area = Callable[[Grid], Box]


@dataclass(frozen=True)
class Scan:
    """What reads a scan's channels, and the headers of the DICOM images that it is made of."""

    read: Callable[[], tuple[Volume, ...]]
    sources: Callable[[], list[Header]]


@dataclass(frozen=True)
class Segmented:
    """What became of a batch: the files written, and the sentence of each scan that failed."""

    written: dict[str, Path]
    failed: dict[str, str]


def segment(
    run: Path,
    scans: Sequence[Path],
    out: Path,
    *,
    fold: int | None = None,
    format: str = "nifti",
    device: str = "auto",
    volume: int | None = None,
    series: str = "",
    slices: str = "",
    near: int | None = None,
    tell: Tell = silent,
) -> Segmented:
    """Segment scans (files, DICOM folders, zips, or folders of these) into the folder `out`.

    A label map has its scan's base name and lies on its scan's own grid. Given one data set, its
    cases are segmented: all, or those that a fold holds out. DICOM-SEG is for scans of DICOM
    alone, and carries their patient's identification.

    Parameters
    ----------
    volume, series : which one of a scan that holds several.
    slices : 'FIRST:LAST', both counted from 0 along the body as the file has them and included;
        either may be left out. Only these slices are looked at.
    near : instead of `slices`: an approximate slice of what is looked for. As far as the
        labels of the training scans reached, slices on both sides of it are looked at.
    """
    segmenter = Segmenter.load(run)
    area = _area(segmenter, slices, near)
    if len(scans) == 1 and (fold is not None or is_dataset(scans[0])):
        dataset = open_dataset(scans[0])
        cases = dataset.cases if fold is None else held_out(dataset, fold)
        if volume is not None or series:
            raise ConfigError("--volume and --series choose in a scan, not in a data set")
        return _segmented(segmenter, _scans(cases), out, format, device, tell, area)
    if segmenter.channels != 1:
        raise ConfigError(
            f"{run} needs {segmenter.channels} channels a scan: segment a data set instead of files"
        )
    found = {path: scan_name(path) for scan in scans for path in find_scans(scan)}
    if not found:
        raise ConfigError(f"there is no scan in {', '.join(map(str, scans))}")
    if twice := repeated(found.values()):
        raise ConfigError(
            f"more than one scan is called {', '.join(twice)}: their results would overwrite "
            "each other; segment them into different folders"
        )
    batch = {
        name: Scan(
            lambda p=path: (read(p, volume=volume, series=series),),
            lambda p=path: sources(p, series=series),
        )
        for path, name in found.items()
    }
    return _segmented(segmenter, batch, out, format, device, tell, area)


def _scans(cases: Sequence[Case]) -> dict[str, Scan]:
    return {x.id: Scan(x.channels, lambda c=x: sources(c.images[0])) for x in cases}


def _area(segmenter: Segmenter, slices: str, near: int | None) -> Area | None:
    """What gives the box of a scan's grid that is looked at; None for all of it."""
    if slices and near is not None:
        raise ConfigError("give either --slices or --near-slice, not both")
    if near is not None:
        if not segmenter.reach_mm:
            raise ConfigError(
                "this segmenter does not know how far its labels reach: give --slices FIRST:LAST"
            )
        return lambda grid: near_slice(grid, near, segmenter.reach_mm)
    if not slices:
        return None
    ends = re.fullmatch(r"(\d*):(\d*)", slices)
    if ends is None:
        raise ConfigError(f"--slices {slices} is not FIRST:LAST, such as 0:250 or 120:")
    first, last = (int(end) if end else None for end in ends.groups())
    return lambda grid: slab(grid, first or 0, last)


def held_out(dataset: Dataset, fold: int) -> tuple[Case, ...]:
    """The cases that a fold keeps for judging: its test part, or its validation part if none."""
    if not dataset.folds:
        dataset = dataset.with_folds(default_folds(dataset.labelled()))
    chosen = dataset.fold(fold)
    return dataset.select(chosen.test or chosen.validation)


def segment_cases(
    segmenter: Segmenter,
    cases: Sequence[Case],
    out: Path,
    *,
    format: str = "nifti",
    device: str = "auto",
    tell: Tell = silent,
) -> Segmented:
    """Segment the scans of a data set's cases into the folder `out`; failures are logged."""
    done = _segmented(segmenter, _scans(cases), out, format, device, tell)
    for name, reason in done.failed.items():
        log.warning("%s failed: %s", name, reason)
    return done


def _segmented(
    segmenter: Segmenter,
    batch: Mapping[str, Scan],
    out: Path,
    format: str,
    device: str,
    tell: Tell,
    area: Area | None = None,
) -> Segmented:
    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    manifest = Manifest(out)
    written: dict[str, Path] = {}
    failed: dict[str, str] = {}
    for name, scan in told(tell, "segmenting", batch.items(), len(batch)):
        try:
            images = scan.sources() if format == "dicom-seg" else []
            channels = scan.read()
            labels = segmenter.segment(channels, device, area and area(channels[0].grid))
            path = Path(out) / f"{name}{FORMATS[format]}"
            if not written:
                write_names(out, segmenter.scheme)
            written[name] = dicomseg.save(path, labels, images) if images else write(labels, path)
            manifest.add(name, path)
        except CondyleError as error:
            failed[name] = str(error)
    return Segmented(written, failed)
