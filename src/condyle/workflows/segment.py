"""Scans in, label maps out: each whole or absent, and one failure never stops the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from condyle.config.choices import LabelFormat
from condyle.config.requests import SegmentRequest
from condyle.core import Case, Grid, LabelMap, Volume
from condyle.errors import CondyleError, ConfigError
from condyle.io import is_dataset, open_dataset, read, read_channels, scans_by_name, write
from condyle.io.dicom import rtstruct_writer, seg_writer
from condyle.io.dicom.frames import Header
from condyle.io.labelmaps import write_names
from condyle.io.pictures import as_channels, is_picture
from condyle.io.scans import sources
from condyle.io.texts import read_lines
from condyle.jobs.batch import Batch, Done, Task, run_batch
from condyle.jobs.job import Job, verb, warn
from condyle.jobs.outputs import sha256, write_csv
from condyle.jobs.records import OutputFolder, Record, done, failures
from condyle.predict import Ensemble, InferenceOptions, Predictor, Segmenter
from condyle.predict.ensemble import Member
from condyle.predict.nnunet import NnunetPreprocessing
from condyle.predict.passes import PartProgress, share_of
from condyle.predict.runtimes.selection import Backends
from condyle.predict.segmenter import home_of
from condyle.predict.views import Mirroring, common_mirroring
from condyle.prepare.crop import Box, near_slice, slab
from condyle.prepare.splits import held_out
from condyle.quality.assess import NAME as QUALITY
from condyle.quality.assess import (
    SINGLE,
    Quality,
    assess,
    compared_predictions,
    load_quality,
    sentence,
)
from condyle.refine.refinement import refined
from condyle.runs.folds import members_of
from condyle.workflows import segment_engine

__all__ = ["BATCH", "ENDINGS", "Segmented", "segment", "segment_cases"]

ENDINGS = {
    "nifti": ".nii.gz", "nrrd": ".nrrd", "seg.nrrd": ".seg.nrrd", "mha": ".mha",
    "dicom-seg": ".dcm", "rtstruct": ".dcm",
}  # fmt: skip
"""Format of a label map -> the ending of its file."""

FILED: dict[str, Callable[[Path, LabelMap, Sequence[Header]], Path]] = {
    "dicom-seg": seg_writer.save, "rtstruct": rtstruct_writer.save,
}  # fmt: skip
"""Formats that a PACS files with the scan -> what writes a label map with the scan's headers."""

Area = Callable[[Grid], Box]
Row = dict[str, Any]


@dataclass(frozen=True)
class Scan:
    """One scan of a batch.

    Parameters
    ----------
    files : that it is read from.
    read : its channels.
    sources : the headers of the DICOM images that it is made of.
    label : its label map in the data set, which is not read.
    """

    files: tuple[Path, ...]
    read: Callable[[], tuple[Volume, ...]]
    sources: Callable[[], list[Header]]
    label: Path | None = None


@dataclass(frozen=True)
class Segmented:
    """What became of a batch.

    Parameters
    ----------
    written : the files, also those that an earlier run of the batch had finished.
    failed : the sentence of each scan that failed.
    doubtful : the sentence of each scan whose result should be looked at, if `quality` was asked.
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
        self, channels: tuple[Volume, ...], progress: PartProgress
    ) -> tuple[LabelMap, list[Row]]:
        """A scan's label map, and how far to trust it, if that was asked."""
        if self.quality is None:
            return self._predicted(channels, progress), []
        if self.is_as_calibrated:
            found, compared = compared_predictions(self.predictor, channels, progress)
            labels = self._refined(found)
        else:
            _, compared = compared_predictions(self._alone, channels, share_of(progress, 0, 2))
            labels = self._predicted(channels, share_of(progress, 1, 2))
        device = self.predictor.options.device
        return labels, assess(self.first, self.quality, channels, labels, compared, device)

    def _predicted(self, channels: tuple[Volume, ...], progress: PartProgress) -> LabelMap:
        box = self.area(channels[0].grid) if self.area else None
        return self.predictor.predict(
            channels, area=box, postprocess=self._refined, progress=progress
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
    def is_as_calibrated(self) -> bool:
        """Whether whole scans are predicted as quality was calibrated."""
        ensemble, options = self.predictor.ensemble, self.predictor.options
        whole = self.area is None and not options.first_look and ensemble.specialist is None
        signature = self.quality.signature if self.quality is not None else None
        return whole and signature == ensemble.signature(options)

    def require(self) -> None:
        """Raise, or warn, where what was asked for does not fit the segmenters."""
        asked, members = self.predictor.options.mirroring, self.predictor.ensemble.all
        if asked != "none" and not any(_mirrorings(member, asked) for member in members):
            raise ConfigError(
                f"`flips` = {asked} cannot be used: {members[0].name} was trained on no mirror "
                "images", setting="flips",
            )  # fmt: skip
        for member in members:
            if common_mirroring(asked, member.mirroring) != asked:
                trained = f"{member.mirroring} mirror images alone"
                trained = "no mirror images" if member.mirroring == "none" else trained
                warn(
                    f"{member.name} was trained on {trained}: `flips` = {asked} predicts no others"
                )
        if self.quality is None or (self.is_as_calibrated and not self.raw):
            return
        if self.quality.signature != SINGLE and not self.is_as_calibrated:
            raise ConfigError(
                "quality was calibrated with other `planes`, `flips` or `also`: segment whole "
                "scans in the same way, or run condyle quality again"
            )
        warn(
            "quality was calibrated on predictions of this run alone, in its own planes, and after "
            "post-processing: predicted in another way, take its figures with care"
        )


def _mirrorings(member: Member, asked: Mirroring) -> bool:
    """Whether a member predicts any mirror image of those that are asked for."""
    preprocessor = member.preprocessor
    if isinstance(preprocessor, NnunetPreprocessing) and not preprocessor.plan.mirror:
        return False
    return common_mirroring(asked, member.mirroring) != "none"


NNUNET = {
    "quality": "quality can be learnt for Condyle's own segmenters alone",
    "near_slice": "how far nnU-Net's labels reach is not known: give `slices`",
}
"""Settings that a model of nnU-Net's cannot use, and why."""
NNUNET_ALONE = {
    "area": "a model of nnU-Net's always predicts the whole scan: give `slices`",
    "planes": "a model of nnU-Net's has planes of its own",
}
"""Those that it cannot use where no segmenter of ours predicts with it."""


@verb
def segment(request: SegmentRequest, job: Job) -> Segmented:
    """Segment scans (files, DICOM folders, zips, or folders of these) into a folder.

    A label map has its scan's base name and lies on its scan's own grid. Given one data set, its
    cases are segmented: all, or those that a fold keeps for testing. DICOM-SEG is for scans of
    DICOM alone, and carries their patient's identification.

    Raises
    ------
    ConfigError
        If a setting does not suit the kind of segmenter, before anything is computed.

    Examples
    --------
    >>> segment(SegmentRequest(run="runs/knees", scans=["scans"], out="labels"))  # doctest: +SKIP
    """
    if (card := segment_engine.card_of(request.run)) is not None:
        request.refuse(card.refused)
    elif request.on != "local:1":
        request = _with_backends(request, job)
    return run_batch(BATCH, request, job)


def _with_backends(request: SegmentRequest, job: Job) -> SegmentRequest:
    """The request with what computes, chosen once for all workers, on the first scan there is."""
    way = _way(request, job)
    for scan in _batch(request, way.first.channels, job).values():
        with suppress(CondyleError):
            names = way.predictor.choose_backends(scan.read())
            return request.changed(backends=names)
    return request


def _tasks(request: SegmentRequest, job: Job) -> list[Task]:
    card = segment_engine.card_of(request.run)
    channels = card.channels if card else _way(request, job).first.channels
    return [
        Task(name, scan.files, (request.out / f"{name}{_ending(request.format, scan.files)}",),
             scan, tuple(filter(None, (scan.label,))))
        for name, scan in _batch(request, channels, job).items()
    ]  # fmt: skip


def _ending(format: LabelFormat, files: Sequence[Path]) -> str:
    """The ending of a label map's file: the format's, or .png for a picture, which has no mm."""
    if not is_picture(files[0]):
        return ENDINGS[format]
    if format != "nifti":
        raise ConfigError(
            f"`format` {format} needs millimetres, which the picture {files[0].name} has not: its "
            "labels are written as PNG", setting="format",
        )  # fmt: skip
    return ".png"


def _way(request: SegmentRequest, job: Job) -> _Way:
    """How the scans are segmented, with the weights loaded; once a process."""

    def loaded() -> _Way:
        own, *folds = members_of(request.run)
        first = Segmenter.load(own)
        if folds and request.quality:
            raise ConfigError(
                f"`quality` is calibrated for one run: give {own}, and the others by `also`",
                setting="quality",
            )
        special = Segmenter.load(request.specialist).member if request.specialist else None
        members = (
            first.member,
            *(Segmenter.load(other).member for other in (*folds, *request.also)),
        )
        if isinstance(first.preprocessor, NnunetPreprocessing):
            request.refuse(NNUNET)
        if all(isinstance(each.preprocessor, NnunetPreprocessing) for each in members):
            request.refuse(NNUNET_ALONE)
        options = InferenceOptions(
            request.planes, request.flips, request.device, request.runtime, request.area == "auto"
        )
        count = len(_batch(request, first.channels, job))
        backends = Backends(request.runtime, request.device, scans=count, names=request.backends)
        way = _Way(
            first,
            Predictor(Ensemble(members, special), options, backends),
            _area(first, request.slices, request.near_slice),
            request.raw,
            load_quality(request.run, first) if request.quality else None,
        )  # fmt: skip
        way.require()
        return way

    return job.keep("segmenters", loaded)


def _made_of(request: SegmentRequest, job: Job) -> list[str]:
    """The hashes of all that predicts, and of what says how far to trust it."""
    if segment_engine.card_of(request.run) is not None:
        return [sha256(request.run / segment_engine.CARD)]
    special = [request.specialist] if request.specialist else []
    homes = [home_of(run) for run in (*members_of(request.run), *request.also, *special)]
    files = [home / name for home in homes for name in ("segmenter.json", "model.safetensors")]
    files += [homes[0] / QUALITY] if request.quality else []
    return [sha256(file) for file in files if file.is_file()]


def _read(request: SegmentRequest, task: Task, job: Job) -> tuple[tuple[Volume, ...], list[Header]]:
    scan: Scan = task.given
    return scan.read(), scan.sources() if request.format in FILED else []


def _compute(
    request: SegmentRequest, task: Task, found: tuple[tuple[Volume, ...], list[Header]], job: Job
) -> tuple[LabelMap, list[Header], list[Row], list[str]]:
    channels, images = found
    if (card := segment_engine.card_of(request.run)) is not None:
        segment_engine.warn_of_differences(card, channels[0])
        labels = segment_engine.predict(card, task.key, channels, request.device, job)
        return labels, images, [], [card.title]
    way = _way(request, job)
    way.predictor.ensemble.warn_of_differences(channels[0])
    labels, rows = way.labels(channels, job.tell)
    return labels, images, rows, list(way.predictor.backends.used)


def _write(
    request: SegmentRequest,
    task: Task,
    found: tuple[LabelMap, list[Header], list[Row], list[str]],
    job: Job,
) -> Done:
    labels, images, rows, by = found
    (path,) = task.outputs
    save = FILED.get(request.format)
    written = save(path, labels, images) if save is not None else write(labels, path)
    return Done((written,), {"quality": rows, "computed_by": by, "scheme": labels.scheme.to_dict()})


def _gather(
    request: SegmentRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> Segmented:
    """Write the names of the labels, quality.csv and the manifest; say what became of all scans."""
    ours, whole = done(records), folder.whole(records)
    tables: list[Path] = []
    rows = [{"scan": r.key, **row} for r in whole for row in r.data["quality"]]
    if whole:
        tables.append(write_names(folder.path, whole[0].data["scheme"]))
    if rows:
        tables.append(write_csv(folder.path / "quality.csv", rows))
    folder.write_manifest(whole, tables)
    doubtful = {record.key: sentence(record.key, record.data["quality"]) for record in ours}
    return Segmented(
        {record.key: folder.path / next(iter(record.outputs)) for record in ours},
        failures(records),
        {name: words for name, words in doubtful.items() if words},
        tuple(sorted({name for record in ours for name in record.data["computed_by"]})),
    )


BATCH = Batch(
    home="condyle.workflows.segment:BATCH", stage="segmenting", request=SegmentRequest,
    tasks=_tasks, read=_read, compute=_compute, write=_write, gather=_gather, made_of=_made_of,
    tables=lambda request: [request.out / "quality.csv"] if request.quality else [],
)  # fmt: skip


def _batch(request: SegmentRequest, channels: int, job: Job) -> dict[str, Scan]:
    """Base name -> scan, of all that was given; looked for once a job."""
    return job.keep("scans", lambda: _found(request, channels))


def _found(request: SegmentRequest, channels: int) -> dict[str, Scan]:
    scans = request.scans
    by_fold = request.fold is not None
    if len(scans) == 1 and (is_dataset(scans[0]) or (by_fold and not scans[0].is_file())):
        dataset = open_dataset(scans[0])
        cases = dataset.cases if request.fold is None else held_out(dataset, request.fold)
        if request.volume is not None or request.series:
            raise ConfigError("`volume` and `series` choose in a scan, not in a data set")
        return {
            case.id: Scan(
                case.images, case.channels, lambda c=case: sources(c.images[0]), case.label
            )
            for case in cases
        }
    if request.fold is not None:
        raise ConfigError("`fold` chooses among the cases of one data set, not among scans")
    given = [path for scan in scans for path in _listed(scan)]
    found = scans_by_name(given)
    pictures = {name: path for name, path in found.items() if is_picture(path)}
    if channels != 1 and (not found or len(pictures) < len(found)):
        raise ConfigError(
            f"this segmenter needs {channels} channels a scan: segment a data set instead of files"
        )
    if not found:
        raise ConfigError(f"no scans found in {', '.join(map(str, scans))}")
    return {
        name: Scan(
            (path,),
            partial(_channels, path, request.volume, request.series, channels),
            lambda p=path: sources(p, series=request.series),
        )
        for name, path in found.items()
    }


def _channels(path: Path, volume: int | None, series: str, channels: int) -> tuple[Volume, ...]:
    """The channels of a scan: all those of a picture, or the one of any other file."""
    if not is_picture(path) or volume is not None:
        return (read(path, volume=volume, series=series),)
    found = as_channels(read_channels([path]), channels)
    if len(found) != channels:
        raise ConfigError(
            f"{path} has {len(found)} channels, and the segmenter was trained on {channels}"
        )
    return found


def _listed(path: Path) -> list[Path]:
    """The paths in a list, a line each, seen from the list's own folder; any other path itself."""
    if path.suffix.lower() != ".txt" or not path.is_file():
        return [path]
    return [path.parent / line for line in read_lines(path)]


def _area(segmenter: Segmenter, slices: str, near: int | None) -> Area | None:
    """What gives the box of a scan's grid that is segmented; None for all of it."""
    if slices and near is not None:
        raise ConfigError("give either `slices` or `near_slice`, not both")
    if near is not None:
        reach = segmenter.training.reach_mm
        if not reach:
            raise ConfigError(
                "`near_slice` cannot be used: this segmenter does not know how far its labels "
                "reach; give `slices` FIRST:LAST", setting="near_slice",
            )  # fmt: skip
        return lambda grid: near_slice(grid, near, reach)
    if not slices:
        return None
    ends = re.fullmatch(r"(\d*):(\d*)", slices)
    if ends is None:
        raise ConfigError(f"`slices` = {slices!r} is not FIRST:LAST, such as 0:250 or 120:")
    first, last = (int(end) if end else None for end in ends.groups())
    return lambda grid: slab(grid, first or 0, last)


def segment_cases(
    segmenter: Segmenter, cases: Sequence[Case], out: Path, job: Job, *, device: str = "auto"
) -> Mapping[str, Path]:
    """Segment the scans of a data set's cases into the folder `out`; gives case -> label map.

    What fails is warned of, and the others go on.
    """
    way = _Way(segmenter, segmenter.predictor(device=device, runtime="torch"))
    written: dict[str, Path] = {}
    for number, case in enumerate(job.track("segmenting", cases)):
        try:
            labels, _ = way.labels(case.channels(), job.share(number, len(cases), "segmenting"))
            ending = _ending("nifti", case.images)
            written[case.id] = write(labels, Path(out) / f"{case.id}{ending}")
        except (CondyleError, MemoryError, RuntimeError) as error:
            job.check()
            job.warn(f"{case.id} failed: {error}", about=case.id)
    if written:
        write_names(Path(out), segmenter.scheme.to_dict())
    return written
