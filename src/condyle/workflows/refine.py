"""Label maps in, cleaner label maps out; and which steps clean what a segmenter finds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan, sqrt
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from condyle.config import Plane
from condyle.core import Case, Dataset, LabelMap
from condyle.errors import ConfigError
from condyle.io import Manifest, open_dataset, write
from condyle.io.labelmaps import label_files, read_named, write_names
from condyle.jobs.progress import Tell, silent, told
from condyle.measure.overlap import Counts, count
from condyle.predict import Segmenter
from condyle.predict.segmenter import home_of
from condyle.prepare.crop import bounding_box
from condyle.refine import Refinement
from condyle.refine import refine as cleaned
from condyle.runs.record import write_csv

__all__ = ["choose", "refine"]

log = logging.getLogger("condyle")

FEWEST_CASES = 3
"""Validation cases that a choice needs."""
LEAST_RISE = 0.0005
"""What a step must add to the mean Dice: less is noise."""
SHARES = (0.001, 0.01)
"""Of a structure's volume: parts to try to drop."""

Option = dict[str, Any]
Row = dict[str, Any]


def refine(
    labelmaps: Sequence[Path], out: Path, steps: Refinement, *, tell: Tell = silent
) -> list[Path]:
    """Clean label maps (files or folders of them) into the folder `out`; gives back the files."""
    files = label_files(labelmaps)
    manifest = Manifest(out)
    written: list[Path] = []
    for name, path in told(tell, "refining", files.items(), len(files)):
        labels = cleaned(read_named(path), steps)
        write_names(out, labels.scheme)
        written.append(write(labels, Path(out) / path.name))
        manifest.add(name, written[-1])
    return written


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


def choose(
    run: Path, dataset: Path, *, device: str = "auto", tell: Tell = silent
) -> list[dict[str, Any]]:
    """Decide which steps clean what a segmenter finds, on the validation cases of its training.

    Each structure gets those steps that raise its mean Dice over these cases, the most helpful
    first: by more than 0.0005, and where some cases get worse, these are the fewer and the rise
    is more than twice its standard error. The steps are stored with the segmenter, and the table
    goes into its folder as refinement.csv. Test cases are not looked at.

    Parameters
    ----------
    run : the folder of `condyle train`.
    dataset : the data set that it was trained on.
    device : auto, cpu, cuda or mps.

    Returns
    -------
    A row for each structure and step that was tried.

    Raises
    ------
    ConfigError
        If there are fewer than three validation cases with labels.
    """
    run = Path(run)
    segmenter = Segmenter.load(run)
    names = segmenter.scheme.names
    cases = _validation_cases(segmenter, open_dataset(dataset), run)
    predictor = segmenter.predictor(device=device)
    found: dict[str, list[_Found]] = {name: [] for name in names}
    for case in told(tell, "segmenting", cases, len(cases)):
        channels, truth = case.pair()
        labels = predictor.predict(channels).labels
        for name in names:
            if (its := _Found.of(name, labels, truth)) is not None:
                found[name].append(its)
    rows: list[Row] = []
    chosen: dict[str, Refinement] = {}
    for name, its in told(tell, "choosing", found.items(), len(found)):
        if len(its) < FEWEST_CASES:
            log.warning("%s is in %d validation cases only: it stays as it is", name, len(its))
            continue
        steps, tried = _chosen(its, _options(its, segmenter.preprocessor.plane))
        rows += [{"structure": name, **row} for row in tried]
        if steps.to_dict():
            chosen[name] = steps
    refinement = Refinement(structures=chosen).to_dict()
    replace(segmenter, refinement=refinement).save(home_of(run))
    write_csv(run / "refinement.csv", rows)
    return rows


def _validation_cases(segmenter: Segmenter, dataset: Dataset, run: Path) -> list[Case]:
    named = segmenter.training.validation
    cases = [case for case in dataset.select(named) if case.label is not None]
    if len(cases) < FEWEST_CASES:
        raise ConfigError(
            f"{run} was trained with {len(named)} validation cases, {len(cases)} of them labelled "
            f"in {dataset.root}: choosing steps takes {FEWEST_CASES} or more; name steps yourself"
        )
    return cases


def _options(found: Sequence[_Found], plane: str) -> list[Option]:
    """The steps to try for a structure, fitted to its size and to the voxels."""
    voxel = median(x.labels.grid.voxel_volume for x in found) ** (1 / 3)
    volume = median(x.volume for x in found)
    slices: Option = {"slice_ratio": 0.01}
    if plane in get_args(Plane) and plane != "axial":
        slices["slice_plane"] = plane
    return [
        slices,
        {"keep_largest": 1},
        {"keep_largest": 2},
        *({"min_mm3": _short(share * volume)} for share in SHARES),
        {"fill_holes": True},
        *({"smooth_mm": _short(part * voxel)} for part in (0.7, 1.0)),
    ]


def _short(value: float) -> float:
    """A number of two digits."""
    return float(f"{value:.2g}")


def _chosen(found: Sequence[_Found], options: Sequence[Option]) -> tuple[Refinement, list[Row]]:
    """The steps that help one structure, and a row for each step that was tried.

    A step that is not kept has its row from the time when it was given up: in the end, or when
    another setting of it was kept.
    """
    steps, rows, left = Refinement(), list[Row](), list(options)
    before = [x.dice(steps) for x in found]
    while True:
        tried = [(o, [x.dice(replace(steps, **o)) for x in found]) for o in left]
        helpful = [(o, dices) for o, dices in tried if _helps(before, dices)]
        if not helpful:
            return steps, rows + [_row(o, before, dices, False) for o, dices in tried]
        best, after = max(helpful, key=lambda each: fmean(each[1]))
        done = [(o, dices) for o, dices in tried if set(o) & set(best)]
        rows += [_row(o, before, dices, o is best) for o, dices in done]
        steps, before = replace(steps, **best), after
        left = [o for o in left if not set(o) & set(best)]


def _helps(before: list[float], after: list[float]) -> bool:
    """Whether a rise is more than noise: where cases get worse, more than two standard errors."""
    rises = [b - a for a, b in zip(before, after, strict=True)]
    better, worse = _changes(before, after)
    error = stdev(rises) / sqrt(len(rises)) if worse else 0.0
    return fmean(rises) > max(LEAST_RISE, 2 * error) and better >= worse


def _changes(before: list[float], after: list[float]) -> tuple[int, int]:
    """How many cases are better, and how many worse."""
    pairs = list(zip(before, after, strict=True))
    return sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)


def _row(option: Option, before: list[float], after: list[float], kept: bool) -> Row:
    better, worse = _changes(before, after)
    return {
        "step": " ".join(f"{name} {value}" for name, value in option.items()),
        "dice_before": round(fmean(before), 5),
        "dice_after": round(fmean(after), 5),
        "cases": len(after),
        "better": better,
        "worse": worse,
        "kept": "yes" if kept else "no",
    }
