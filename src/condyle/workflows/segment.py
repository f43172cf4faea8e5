"""Scans in, label maps out: each whole or absent, and one failure never stops the others."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from condyle.config import Planes
from condyle.core import Case, Dataset, Grid, LabelMap, Volume
from condyle.core.case import repeated
from condyle.errors import ConfigError, MissingFile, UnknownName
from condyle.io import Manifest, find_scans, is_dataset, open_dataset, read, scan_name, write
from condyle.io.dicom import seg_writer as dicomseg
from condyle.io.dicom.frames import Header
from condyle.io.labelmaps import write_names
from condyle.io.scans import sources
from condyle.jobs.pipeline import ahead, failing_alone, one_behind
from condyle.jobs.progress import Tell, silent, told
from condyle.predict import Ensemble, InferenceOptions, Predictor, Segmenter
from condyle.predict.progress import PartProgress, share_of
from condyle.predict.runtimes.selection import Backends
from condyle.predict.views import Mirroring, common_mirroring
from condyle.prepare.crop import Box, near_slice, slab
from condyle.prepare.splits import default_folds
from condyle.quality.assess import (
    SINGLE,
    Quality,
    assess,
    compared_predictions,
    load_quality,
    sentence,
    write_quality,
)
from condyle.refine.refinement import refined
from condyle.runs.record import write_json
from condyle.workflows.segment_engine import answer, card_of

__all__ = ["FORMATS", "Segmented", "held_out", "segment", "segment_cases"]

log = logging.getLogger("condyle")

FORMATS = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha", "dicom-seg": ".dcm"}
MADE_BY = "segmenting.json"
"""The file of a folder of results that says how they were made, so that a batch can go on."""


Area = Callable[[Grid], Box]
Row = dict[str, Any]


@dataclass(frozen=True)
class Scan:
    """What reads a scan's channels, and the headers of the DICOM images that it is made of."""

    read: Callable[[], tuple[Volume, ...]]
    sources: Callable[[], list[Header]]


@dataclass(frozen=True)
class Segmented:
    """What became of a batch.

    Parameters
    ----------
    written : the files, also those that an earlier run of the batch had finished.
    failed : the sentence of each scan that failed.
    doubtful : the sentence of each scan whose result should be looked at, if that was asked.
    computed_by : the runtimes: 'torch fp32', 'openvino bf16', ...
    """

    written: dict[str, Path]
    failed: dict[str, str]
    doubtful: dict[str, str] = field(default_factory=dict[str, str])
    computed_by: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Way:
    """How each scan of a batch is segmented: all that decides what comes out."""

    first: Segmenter
    predictor: Predictor
    area: Area | None = None
    raw: bool = False
    quality: Quality | None = None

    def labels(
        self, channels: tuple[Volume, ...], tell: PartProgress
    ) -> tuple[LabelMap, list[Row]]:
        """A scan's label map, and how far to trust it, if that was asked."""
        if self.quality is None:
            return self._predicted(channels, tell), []
        if self.is_as_learnt:
            found, compared = compared_predictions(self.predictor, channels, tell)
            labels = self._refined(found)
        else:
            _, compared = compared_predictions(self._alone, channels, share_of(tell, 0, 2))
            labels = self._predicted(channels, share_of(tell, 1, 2))
        device = self.predictor.options.device
        return labels, assess(self.first, self.quality, channels, labels, compared, device)

    def _predicted(self, channels: tuple[Volume, ...], tell: PartProgress) -> LabelMap:
        box = self.area(channels[0].grid) if self.area else None
        return self.predictor.predict(
            channels, area=box, postprocess=self._refined, progress=tell
        ).labels

    def _refined(self, labels: LabelMap) -> LabelMap:
        return labels if self.raw else refined(labels, self.first.refinement)

    @cached_property
    def _alone(self) -> Predictor:
        """The first segmenter as it was trained, on the backend that it has in the ensemble."""
        options = self.predictor.options
        alone = InferenceOptions(device=options.device, runtime=options.runtime)
        return Predictor(Ensemble((self.first.member,)), alone, self.predictor.backends)

    @cached_property
    def is_as_learnt(self) -> bool:
        """Whether whole scans are predicted in the ways in which quality was learnt."""
        ensemble, options = self.predictor.ensemble, self.predictor.options
        whole = self.area is None and not options.first_look and ensemble.specialist is None
        return (
            whole
            and self.quality is not None
            and (self.quality.signature == ensemble.signature(options))
        )

    def require(self) -> None:
        """Raise, or warn, where what was asked for does not fit the segmenters."""
        asked = self.predictor.options.mirroring
        for member in self.predictor.ensemble.all:
            if common_mirroring(asked, member.mirroring) != asked:
                log.warning(
                    "%s was trained on %s: --flips %s predicts no others", member.name,
                    "no mirror images" if member.mirroring == "none" else
                    f"{member.mirroring} mirror images alone", asked,
                )  # fmt: skip
        if self.quality is None or (self.is_as_learnt and not self.raw):
            return
        if self.quality.signature != SINGLE and not self.is_as_learnt:
            raise ConfigError(
                "quality was learnt with other --planes, --flips or --also: segment whole scans "
                "in the same way, or run condyle quality again"
            )
        log.warning(
            "quality was learnt on what this run predicts alone, in its own planes, and after "
            "post-processing: predicted in another way, take its figures with care"
        )


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
    near_slice: int | None = None,
    area: Literal["whole", "auto"] = "whole",
    planes: Planes | None = None,
    flips: Mirroring = "none",
    runtime: str = "auto",
    also: Sequence[Path] = (),
    specialist: Path | None = None,
    raw: bool = False,
    quality: bool = False,
    resume: bool = False,
    tell: Tell = silent,
) -> Segmented:
    """Segment scans (files, DICOM folders, zips, or folders of these) into the folder `out`.

    A label map has its scan's base name and lies on its scan's own grid. Given one data set, its
    cases are segmented: all, or those that a fold holds out. DICOM-SEG is for scans of DICOM
    alone, and carries their patient's identification.

    Parameters
    ----------
    scans : a .txt file is a list of scans, a path a line.
    volume, series : which one of a scan that holds several.
    slices : 'FIRST:LAST', both counted from 0 along the body as the file has them and included;
        either may be left out. Only these slices are looked at.
    near_slice : instead of `slices`: an approximate slice of what is looked for. As far as the
        labels of the training scans reached, slices on both sides of it are looked at.
    area : auto: a first look at a few slices finds those that are then looked at closely.
    planes, flips, runtime : see `condyle.predict.InferenceOptions`.
    also : the folders of other runs, whose probabilities are averaged with the first one's.
    specialist : the folder of a run that was trained on the ends of bones, which answers there.
    raw : leave out the cleaning that was chosen with `condyle refine --choose`.
    quality : say how far to trust each result, in quality.csv (`condyle quality` comes first).
    resume : leave out the scans that an interrupted batch has finished.
    """
    if card := card_of(run):
        batch = _batch(1, scans, fold, volume, series)
        names = {name: Path(out) / f"{name}{FORMATS[format]}" for name in batch}
        return Segmented(*answer(card, batch, names, device, tell), computed_by=(card.task,))
    first = Segmenter.load(run)
    special = Segmenter.load(specialist) if specialist else None
    batch = _batch(first.channels, scans, fold, volume, series)
    members = (first.member, *(Segmenter.load(other).member for other in also))
    options = InferenceOptions(planes, flips, device, runtime, area == "auto")
    way = _Way(
        first,
        Predictor(
            Ensemble(members, special.member if special else None),
            options,
            Backends(runtime, device, scans=len(batch)),
        ),
        _area(first, slices, near_slice),
        raw,
        load_quality(run, first) if quality else None,
    )
    way.require()
    settings = {
        "runs": [str(path) for path in (run, *also, *([specialist] if specialist else []))],
        "planes": planes, "flips": flips, "device": device, "runtime": runtime,
        "slices": slices, "near_slice": near_slice, "area": area, "raw": raw,
        "quality": quality, "volume": volume, "series": series,
    }  # fmt: skip
    return _segmented(way, batch, Path(out), format, tell, settings, resume)


def _batch(
    channels: int,
    scans: Sequence[Path],
    fold: int | None,
    volume: int | None,
    series: str,
) -> dict[str, Scan]:
    """Base name -> scan, of all that was given."""
    if len(scans) == 1 and (fold is not None or is_dataset(scans[0])):
        dataset = open_dataset(scans[0])
        cases = dataset.cases if fold is None else held_out(dataset, fold)
        if volume is not None or series:
            raise ConfigError("--volume and --series choose in a scan, not in a data set")
        return _scans(cases)
    if channels != 1:
        raise ConfigError(
            f"this segmenter needs {channels} channels a scan: segment a data set instead of files"
        )
    given = [path for scan in scans for path in _listed(Path(scan))]
    found = {path: scan_name(path) for scan in given for path in find_scans(scan)}
    if not found:
        raise ConfigError(f"there is no scan in {', '.join(map(str, scans))}")
    if twice := repeated(found.values()):
        raise ConfigError(
            f"more than one scan is called {', '.join(twice)}: their results would overwrite "
            "each other; segment them into different folders"
        )
    return {
        name: Scan(
            lambda p=path: (read(p, volume=volume, series=series),),
            lambda p=path: sources(p, series=series),
        )
        for path, name in found.items()
    }


def _listed(path: Path) -> list[Path]:
    """The paths in a list, a line each, seen from the list's own folder; any other path itself."""
    if path.suffix != ".txt":
        return [path]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingFile(f"{path} cannot be read as a list of scans ({error})") from error
    return [path.parent / line.strip() for line in lines if line.strip()]


def _scans(cases: Sequence[Case]) -> dict[str, Scan]:
    return {x.id: Scan(x.channels, lambda c=x: sources(c.images[0])) for x in cases}


def _area(segmenter: Segmenter, slices: str, near: int | None) -> Area | None:
    """What gives the box of a scan's grid that is looked at; None for all of it."""
    if slices and near is not None:
        raise ConfigError("give either --slices or --near-slice, not both")
    if near is not None:
        reach = segmenter.training.reach_mm
        if not reach:
            raise ConfigError(
                "this segmenter does not know how far its labels reach: give --slices FIRST:LAST"
            )
        return lambda grid: near_slice(grid, near, reach)
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
    way = _Way(segmenter, segmenter.predictor(device=device, runtime="torch"))
    done = _segmented(way, _scans(cases), Path(out), format, tell)
    for name, reason in done.failed.items():
        log.warning("%s failed: %s", name, reason)
    return done


def _segmented(
    way: _Way,
    batch: Mapping[str, Scan],
    out: Path,
    format: str,
    tell: Tell,
    settings: Row | None = None,
    resume: bool = False,
) -> Segmented:
    """Segment a batch; while a scan is computed, the next one is read and the last one written."""
    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    manifest, done = Manifest(out), Segmented({}, {})
    paths = {name: out / f"{name}{FORMATS[format]}" for name in batch}
    rows = _go_on(out, settings, resume)
    finished = {name for name in batch if resume and manifest.holds(name)}
    done.written.update((name, paths[name]) for name in batch if name in finished)
    rows = [row for row in rows if row["scan"] in finished]
    left = {name: scan for name, scan in batch.items() if name not in finished}

    def put(name: str, labels: LabelMap, images: list[Header], found: list[Row]) -> None:
        path = paths[name]
        if not (out / "labels.json").is_file() or not done.written:
            write_names(out, way.first.scheme)
        done.written[name] = dicomseg.save(path, labels, images) if images else write(labels, path)
        rows.extend({"scan": name, **row} for row in found)
        if rows:
            write_quality(out, rows)
            done.doubtful.update({name: said} if (said := sentence(name, found)) else {})
        manifest.add(name, path)

    def part(number: int, done: float) -> None:
        tell("segmenting", (number + done) / len(left), f"{number}/{len(left)}")

    with one_behind(done.failed) as behind:
        reading = {name: partial(_read, scan, format == "dicom-seg") for name, scan in left.items()}
        scans = told(tell, "segmenting", ahead(reading), len(left))
        for number, (name, coming) in enumerate(scans):
            with failing_alone(name, done.failed):
                channels, images = coming.result()
                labels, found = way.labels(channels, partial(part, number))
                behind(name, partial(put, name, labels, images, found))
    ordered = {name: done.written[name] for name in batch if name in done.written}
    return Segmented(ordered, done.failed, done.doubtful, way.predictor.backends.used)


def _read(scan: Scan, dicom: bool) -> tuple[tuple[Volume, ...], list[Header]]:
    return scan.read(), scan.sources() if dicom else []


def _go_on(out: Path, settings: Row | None, resume: bool) -> list[Row]:
    """Say in a folder how its results are made; what is known of those that an earlier run made.

    Raises
    ------
    ConfigError
        If a batch that goes on was begun in another way.
    """
    if settings is None:
        return []
    path, rows = out / MADE_BY, list[Row]()
    now: Row = json.loads(json.dumps(settings))
    if resume and path.is_file():
        before: Row = json.loads(path.read_text(encoding="utf-8"))
        other = sorted(key for key in now if now[key] != before.get(key))
        if other:
            raise ConfigError(
                f"the results in {out} were made with other settings ({', '.join(other)}): choose "
                "another --out, or leave out --resume to make them anew"
            )
        if (out / "quality.csv").is_file():
            with (out / "quality.csv").open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
    write_json(path, now)
    return rows
