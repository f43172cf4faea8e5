"""Label maps in, cleaner label maps out; and which steps clean what a segmenter finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from condyle.config import read_toml
from condyle.config.requests import RefineRequest
from condyle.core import Case, Dataset, LabelMap
from condyle.errors import ConfigError
from condyle.io import open_dataset, write
from condyle.io.labelmaps import label_files, read_named, write_names
from condyle.io.paths import ending_of
from condyle.io.pictures import is_picture
from condyle.io.scans import SAVERS
from condyle.jobs.batch import Batch, Done, Task, run_batch
from condyle.jobs.job import Job, verb
from condyle.jobs.outputs import write_csv
from condyle.jobs.records import OutputFolder, Record, done, failures
from condyle.measure.overlap import Counts, count
from condyle.prepare.crop import bounding_box
from condyle.refine import Refinement
from condyle.refine import refine as cleaned
from condyle.refine.selection import FEWEST_CASES, chosen_steps, options
from condyle.runs.folder import RunFolder

if TYPE_CHECKING:
    from condyle.predict import Segmenter
    from condyle.report.drawing import Drawing

__all__ = [
    "BATCH",
    "Chosen",
    "Refined",
    "before_and_after",
    "choose",
    "refine",
    "refine_or_choose",
]


Row = dict[str, Any]

CHOOSING = {"labelmaps", "choose", "device"}
"""What may be given when the steps are chosen."""


@dataclass(frozen=True)
class Refined:
    """What became of label maps: the files written, and the sentence of each that failed."""

    written: dict[str, Path]
    failed: dict[str, str]


@verb
def refine(request: RefineRequest, job: Job) -> Refined:
    """Clean label maps (files or folders of them) into the folder `out`.

    Raises
    ------
    ConfigError
        If `out` is missing, no step is given, or steps are given both in a file and by themselves.
    """
    if request.out is None:
        raise ConfigError("give `out`, a folder for the cleaned label maps", setting="out")
    request.refuse({"device": "it is where scans are segmented, with `choose`"})
    if not _steps(request, job).to_dict():
        raise ConfigError(
            f"no step is given: give {', '.join(f'`{name}`' for name in STEPS)}, or a file of them "
            "by `steps`"
        )
    return run_batch(BATCH, request, job)


STEPS = ("keep_largest", "min_mm3", "fill_holes", "slice_ratio", "smooth_mm")


def _steps(request: RefineRequest, job: Job) -> Refinement:
    """The steps that are asked for; their file is read once a job."""
    return job.keep("steps", lambda: _given(request))


def _given(request: RefineRequest) -> Refinement:
    given = Refinement(**{name: getattr(request, name) for name in STEPS})
    if request.steps is None:
        return given
    if given.to_dict():
        raise ConfigError("give the steps either in a file (`steps`) or one by one, not both")
    return Refinement.from_dict(read_toml(request.steps))


def _tasks(request: RefineRequest, job: Job) -> list[Task]:
    assert request.out is not None
    files = label_files(request.labelmaps)
    if request.pictures and any(map(is_picture, files.values())):
        raise ConfigError(
            "`pictures` cannot be used: these label maps are pictures themselves, of the same names"
        )
    return [
        Task(name, (path,), (request.out / f"{name}{_ending(path)}", *_picture_of(request, name)))
        for name, path in files.items()
    ]


def _picture_of(request: RefineRequest, name: str) -> list[Path]:
    """Where a label map's picture goes, if there shall be one."""
    return [request.out / f"{name}.png"] if request.out and request.pictures else []


def _ending(path: Path) -> str:
    """The ending of a label map's file, or that of NIfTI where its format is only read."""
    ending = ".png" if is_picture(path) else ending_of(path)
    return ending if ending in SAVERS else ".nii.gz"


def _compute(
    request: RefineRequest, task: Task, labels: LabelMap, job: Job
) -> tuple[LabelMap, Drawing | None]:
    after = cleaned(labels, _steps(request, job))
    return after, before_and_after(labels, after) if request.pictures else None


def before_and_after(before: LabelMap, after: LabelMap) -> Drawing:
    """A picture of label maps and of what changed, in the axial slice that changed most."""
    from condyle.report.slice_pictures import Slices, Words  # brings matplotlib in

    kinds = ("removed", "added", "another structure")
    words = Words("after", "before", "changed", kinds)
    slices = Slices.of((), after, before, "axial", words=words)
    return slices.one(slices.most_changed())


def _write(
    request: RefineRequest, task: Task, result: tuple[LabelMap, Drawing | None], job: Job
) -> Done:
    labels, picture = result
    written = [write(labels, task.outputs[0])]
    if picture is not None:
        written.append(picture.write(task.outputs[1]))
    return Done(tuple(written), {"scheme": labels.scheme.to_dict()})


def _gather(
    request: RefineRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> Refined:
    if len(records) == 1:
        records[0].raise_failure()
    whole = folder.whole(records)
    names: dict[str, int] = {}
    for record in whole:
        names |= record.data["scheme"]
    tables = [write_names(folder.path, names)] if whole else []
    folder.write_manifest(whole, tables)
    return Refined(
        {record.key: folder.path / next(iter(record.outputs)) for record in done(records)},
        failures(records),
    )


BATCH = Batch(
    home="condyle.workflows.refine:BATCH", stage="refining", request=RefineRequest,
    tasks=_tasks, read=lambda request, task, job: read_named(task.inputs[0]), compute=_compute,
    write=_write, gather=_gather,
    made_of=lambda request, job: _steps(request, job).to_dict(),
)  # fmt: skip


@verb
def refine_or_choose(request: RefineRequest, job: Job) -> Refined | Chosen:
    """Clean label maps; with `choose`, decide which steps clean those of a segmenter."""
    return choose(request, job) if request.choose is not None else refine(request, job)


@dataclass(frozen=True)
class Chosen:
    """The steps that were chosen for a segmenter: a row for each structure and step tried."""

    rows: list[Row]


@dataclass(frozen=True, eq=False)
class _Found:
    """One structure in one validation case, within the box of what was found of it."""

    structure: str
    labels: LabelMap
    """What was found, other structures too: no step takes a voxel from them."""
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_] | None
    outside: int
    """Voxels of the truth that lie outside the box."""

    @classmethod
    def of(cls, structure: str, labels: LabelMap, truth: LabelMap) -> _Found | None:
        """None where the structure is neither there nor found."""
        found, true, known = labels.mask(structure), truth.mask(structure), truth.known()
        if not (found.any() or true.any()):
            return None
        box = ((0, 0, 0), (1, 1, 1))
        if found.any():
            box = bounding_box(found, max(labels.spacing), labels.grid)  # with a voxel of room
        within = tuple(map(slice, *box))
        cut = labels.cropped(*box)
        return cls(
            structure,
            cut.with_array(cut.array.copy()),
            true[within].copy(),
            None if known is None else known[within].copy(),
            int(np.count_nonzero(true) - np.count_nonzero(true[within])),
        )

    def dice(self, steps: Refinement) -> float:
        """Dice after these steps; 1 where nothing is left of what was found and not there."""
        only = Refinement(structures={self.structure: steps})
        mask = cleaned(self.labels, only).mask(self.structure)
        counts = count(self.truth, mask if self.known is None else mask & self.known)
        dice = Counts(counts.both, counts.truth + self.outside, counts.predicted).dice
        return 1.0 if isnan(dice) else dice

    @property
    def volume(self) -> float:
        """Of the truth, in mm³."""
        voxels = int(np.count_nonzero(self.truth)) + self.outside
        return voxels * self.labels.grid.voxel_volume


@verb
def choose(request: RefineRequest, job: Job) -> Chosen:
    """Decide which steps clean what a segmenter finds, on the validation cases of its training.

    Each structure gets those steps that raise its mean Dice over these cases, the most helpful
    first: by more than 0.0005, and where some cases get worse, these are the fewer and the rise
    is more than twice its standard error. The steps are stored with the segmenter, and the table
    goes into its folder as refinement.csv. Test cases are not looked at.

    Raises
    ------
    ConfigError
        If there are fewer than three validation cases with labels.
    """
    run = request.choose
    if run is None or len(request.labelmaps) != 1 or request.given().keys() - CHOOSING:
        raise ConfigError(
            "`choose` cannot be combined with other options; use: condyle refine --choose RUN "
            "DATASET", setting="choose",
        )  # fmt: skip
    from condyle.predict import Segmenter  # brings torch in, which refining does without
    from condyle.predict.segmenter import home_of

    segmenter = Segmenter.load(run)
    names = segmenter.scheme.names
    cases = _validation_cases(segmenter, open_dataset(request.labelmaps[0]), run)
    predictor = segmenter.predictor(device=request.device)
    found: dict[str, list[_Found]] = {name: [] for name in names}
    for case in job.track("segmenting", cases):
        channels, truth = case.pair()
        labels = predictor.predict(channels).labels
        for name in names:
            if (its := _Found.of(name, labels, truth)) is not None:
                found[name].append(its)
    rows: list[Row] = []
    chosen: dict[str, Refinement] = {}
    for name, its in job.track("choosing", found.items()):
        if len(its) < FEWEST_CASES:
            job.warn(f"{name} is in {len(its)} validation cases only: no steps are chosen for it")
            continue
        steps, tried = chosen_steps(
            lambda tried, its=its: [each.dice(tried) for each in its],
            options(
                median(each.volume for each in its),
                median(each.labels.grid.voxel_volume for each in its) ** (1 / 3),
                segmenter.preprocessor.plane,
            ),
        )
        rows += [{"structure": name, **row} for row in tried]
        if steps.to_dict():
            chosen[name] = steps
    refinement = Refinement(structures=chosen).to_dict()
    replace(segmenter, refinement=refinement).save(home_of(run))
    write_csv(RunFolder(run).refinement, rows)
    return Chosen(rows)


def _validation_cases(segmenter: Segmenter, dataset: Dataset, run: Path) -> list[Case]:
    named = segmenter.training.validation
    cases = [case for case in dataset.select(named) if case.label is not None]
    if len(cases) < FEWEST_CASES:
        raise ConfigError(
            f"{run} was trained with {len(named)} validation cases, {len(cases)} of them labelled "
            f"in {dataset.root}: choosing steps takes {FEWEST_CASES} or more; give the steps "
            "yourself"
        )
    return cases
