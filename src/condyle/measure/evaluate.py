"""Cases scored structure by structure, and their summary: nothing is hidden in a mean.

What an empty mask, or a mask of which a part is unknown, does, throughout:

- absent from truth and prediction: every metric is nan; left out of means, counted in `n_absent`;
- missed (there, not predicted) or invented (predicted, not there): overlaps are 0 and distances
  infinite; counted in `n_failed`;
- voxels that the truth marks as unlabelled (its scheme's `ignore`) are background in
  both masks: whatever is predicted there is neither right nor wrong, volumes are those of the
  rest, and surfaces close where nobody labelled further;
- a case without any prediction (`failed_case`) has the worst figures for each structure of the
  scheme, present or not, since the prediction is unknown;
- in means all three count as the worst (`counted`): a failure never improves a mean. Figures with
  a sign, volume similarity and volume error, count as they are, in rows and means alike: they say
  which way a volume is wrong, not how well it was segmented;
- volume errors are not averaged over structures: a small bone's cm³ are not a large one's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from condyle.core import Grid, LabelMap
from condyle.core.lattice import together
from condyle.errors import DatasetError
from condyle.measure.overlap import Counts, count
from condyle.measure.pairs import NOTES, pairs
from condyle.measure.surface import SurfaceDistances, surface_distances
from condyle.measure.volume import signed_similarity

__all__ = [
    "FAILURES",
    "FIGURES",
    "METRICS",
    "Metric",
    "counted",
    "failed_case",
    "score_case",
    "summarise",
]

Row = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """What a figure means: its unit, which way is better, its best and its worst value.

    `better` is 'nearer' where the figure has a sign and the best lies between two bad ends; the
    worst is then as far on the other side. A worst value of inf stands for the diagonal of the
    scan, in mm; None for none: however small a structure is, missing it costs its own volume.
    """

    unit: str
    better: Literal["higher", "lower", "nearer"]
    best: float
    worst: float | None


METRICS: dict[str, Metric] = {
    "dice": Metric("", "higher", 1, 0),
    "iou": Metric("", "higher", 1, 0),
    "precision": Metric("", "higher", 1, 0),
    "recall": Metric("", "higher", 1, 0),
    "accuracy": Metric("", "higher", 1, 0),
    "volume_similarity": Metric("", "nearer", 1, 0),
    "abs_volume_similarity": Metric("", "higher", 1, 0),
    "volume_error_cm3": Metric("cm³", "nearer", 0, None),
    "hd95_mm": Metric("mm", "lower", 0, math.inf),
    "assd_mm": Metric("mm", "lower", 0, math.inf),
    "nsd": Metric("", "higher", 1, 0),
    "hausdorff_mm": Metric("mm", "lower", 0, math.inf),
}
"""The figures of a scan's row, in the order of tables."""
OF_PICTURES = {
    "volume_truth_cm3": "area_truth_px",
    "volume_predicted_cm3": "area_predicted_px",
    "volume_error_cm3": "area_error_px",
    "hd95_mm": "hd95_px",
    "assd_mm": "assd_px",
    "hausdorff_mm": "hausdorff_px",
    "diagonal_mm": "diagonal_px",
    "scan_cm3": "scan_px",
}
"""Key of a row -> the one that a picture's row has: pixels for mm, pixels of area for cm³."""
FIGURES = METRICS | {
    name: replace(METRICS[of_scans], unit="px")
    for of_scans, name in OF_PICTURES.items()
    if of_scans in METRICS
}
"""The figures of all rows, those of pictures too."""
VOLUME_ERRORS = ("volume_error_cm3", "area_error_px")

FAILURES = ("missed", "invented", "failed")


def score_case(truth: LabelMap, predicted: LabelMap, tolerance_mm: float = 2.0) -> list[Row]:
    """All figures of one case: a row a structure of the truth's scheme, or that was invented.

    Parameters
    ----------
    truth, predicted : label maps on one lattice. Structures are matched by name.
    tolerance_mm : how far apart surfaces may lie to agree, for `nsd`; in pixels for a picture.

    Returns
    -------
    Rows with the keys structure, those of `METRICS`, tp, fp, fn and tn (voxels), volume_truth_cm3,
    volume_predicted_cm3, diagonal_mm and scan_cm3 (of the scan) and note: '', 'absent in both',
    'missed' or 'invented'. Those of a picture have the keys of `OF_PICTURES` instead, and the
    distances are those between outlines.

    Raises
    ------
    GridMismatch
        If the voxels of the one are none of the other's.
    LabelError
        If the prediction's scheme lacks a structure of the truth's.

    Examples
    --------
    >>> grid = Grid.regular((8, 8, 8))
    >>> array = np.zeros(grid.shape, np.uint8)
    >>> array[2:6, 2:6, 2:6] = 1
    >>> [row] = score_case(LabelMap.of(array, grid), LabelMap.of(array, grid))
    >>> row["structure"], row["dice"], row["hd95_mm"]
    ('label_1', 1.0, 0.0)
    """
    truth, predicted = together(truth, predicted, "truth and prediction")
    known = truth.known()
    labelled = truth.array.size if known is None else int(np.count_nonzero(known))
    return [
        _row(one.name, truth.grid, labelled, count(one.truth, one.predicted),
             surface_distances(one.truth, one.predicted, truth.spacing,
                               outlines=truth.grid.is_picture), tolerance_mm)
        for one in pairs(truth, predicted)
    ]  # fmt: skip


def failed_case(truth: LabelMap) -> list[Row]:
    """The rows of a case that has no prediction: for each structure the worst figures there are.

    Overlaps are 0, all of the volume is missing, and distances are the diagonal of the scan in
    mm. The note is 'failed'.
    """
    rows = score_case(truth, truth.emptied())
    signed = [name for name in ("volume_similarity", *VOLUME_ERRORS) if rows and name in rows[0]]
    return [
        {**row, **counted(row | {"note": "failed"}, -1), "note": "failed"}
        | {name: row[name] for name in signed}
        for row in rows
    ]


def counted(row: Mapping[str, Any], side: Literal[-1, 1]) -> dict[str, float]:
    """The figures of a row as they count in a mean: those of a failure are the worst there are.

    Parameters
    ----------
    row : of `score_case`, `failed_case` or `score_slices`; figures that it lacks are left out.
    side : on which the worst value of a figure with a sign lies. A comparison of models takes the
        side that is further from the best, so that failures never make up for other errors.
    """
    if row["note"] not in FAILURES:
        return {name: row[name] for name in FIGURES if name in row}
    figures: dict[str, float] = {}
    for name, metric in FIGURES.items():
        if name not in row:
            continue
        worst = metric.worst
        if worst == math.inf:
            worst = row.get("diagonal_px", row.get("diagonal_mm"))
        if worst is None:
            figures[name] = row[name]
        elif metric.better == "nearer":
            figures[name] = metric.best + side * abs(worst - metric.best)
        else:
            figures[name] = float(worst)
    return figures


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Mean, standard deviation and median over cases: a row a structure, and a last one, 'mean'.

    Parameters
    ----------
    rows : those of `score_case` and `failed_case` of all cases, each with its 'case' added.

    Returns
    -------
    Rows with the keys structure, n (cases in the figures), n_absent (left out: nothing there,
    nothing predicted), n_failed (missed, invented or failed; in the figures as the worst, see
    `counted`; figures with a sign as they are), and for each metric its name with _mean, _sd (of a
    sample; nan for one case) and _median. The row 'mean' is over the cases' own means over
    structures; its n counts cases, its n_absent and n_failed count rows; volume errors, in cm³,
    are nan there.

    Raises
    ------
    DatasetError
        If a structure of a case comes twice.
    """
    structures: dict[str, list[Mapping[str, Any]]] = {}
    cases: dict[str, list[Mapping[str, Any]]] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        case, structure = str(row.get("case", "")), str(row["structure"])
        if (case, structure) in seen:
            raise DatasetError(
                f"case {case!r} has two rows for {structure}: give the rows of each case its name"
            )
        seen.add((case, structure))
        structures.setdefault(structure, []).append(row)
        cases.setdefault(case, []).append(row)
    summary = [_summary(name, [[row] for row in group]) for name, group in structures.items()]
    mean = _summary("mean", list(cases.values()))
    mean |= {key: math.nan for key in mean if key.rpartition("_")[0] in VOLUME_ERRORS}
    return [*summary, mean]


def _row(
    name: str, grid: Grid, labelled: int, counts: Counts, distances: SurfaceDistances,
    tolerance_mm: float,
) -> Row:  # fmt: skip
    """A row of `score_case`; so many voxels of the grid are labelled."""
    cm3 = 1.0 if grid.is_picture else grid.voxel_volume / 1000.0
    error = (counts.predicted - counts.truth) * cm3
    there = bool(counts.truth), bool(counts.predicted)
    wrong = counts.truth + counts.predicted - 2 * counts.both
    similarity = signed_similarity(counts)
    row = {
        "structure": name,
        "dice": counts.dice,
        "iou": counts.iou,
        "precision": counts.precision,
        "recall": counts.recall,
        "accuracy": 1 - wrong / labelled if any(there) else math.nan,
        "volume_similarity": similarity,
        "abs_volume_similarity": 1 - abs(1 - similarity),
        "volume_truth_cm3": counts.truth * cm3,
        "volume_predicted_cm3": counts.predicted * cm3,
        "volume_error_cm3": error if any(there) else math.nan,
        "hd95_mm": distances.hd95(),
        "assd_mm": distances.assd(),
        "nsd": distances.nsd(tolerance_mm),
        "hausdorff_mm": distances.hausdorff(),
        "tp": counts.both,
        "fp": counts.predicted - counts.both,
        "fn": counts.truth - counts.both,
        "tn": labelled - counts.truth - counts.predicted + counts.both,
        "diagonal_mm": float(np.linalg.norm(np.array(grid.shape) * grid.spacing)),
        "scan_cm3": math.prod(grid.shape) * cm3,
        "note": NOTES[there],
    }
    if grid.is_picture:
        return {OF_PICTURES.get(key, key): value for key, value in row.items()}
    return row


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _summary(name: str, groups: Sequence[Sequence[Mapping[str, Any]]]) -> Row:
    """One row of the summary; each group of rows gives one figure, their mean."""
    rows = [row for group in groups for row in group]
    summary: Row = {
        "structure": name,
        "n": sum(any(not math.isnan(row["dice"]) for row in group) for group in groups),
        "n_absent": sum(row["note"] == "absent in both" for row in rows),
        "n_failed": sum(row["note"] in FAILURES for row in rows),
    }
    signed = {name for name, metric in FIGURES.items() if metric.better == "nearer"}
    counts = [
        [counted(row, -1) | {name: row[name] for name in signed if name in row} for row in group]
        for group in groups
    ]
    for metric in (name for name in FIGURES if any(name in row for row in rows)):
        means = (_mean([row[metric] for row in group if metric in row]) for group in counts)
        known = [value for value in means if not math.isnan(value)]
        summary[f"{metric}_mean"] = _mean(known)
        summary[f"{metric}_sd"] = float(np.std(known, ddof=1)) if known[1:] else math.nan
        summary[f"{metric}_median"] = float(np.median(known)) if known else math.nan
    return summary
