"""Cases scored structure by structure, and their summary: nothing is hidden in a mean.

What an empty mask, or a mask of which a part is unknown, does, throughout:

- absent from truth and prediction: every metric is nan; left out of means, counted in `n_absent`;
- missed (there, not predicted) or invented (predicted, not there): overlaps are 0 and distances
  infinite; counted in `n_failed`, and in means with the diagonal of the scan for a distance;
- voxels that the truth marks as labelled by nobody (its scheme's `ignore`) are background in
  both masks: whatever is predicted there is neither right nor wrong, volumes are those of the
  rest, and surfaces close where nobody labelled further;
- a case without any prediction (`failed_case`) has the worst figures for each structure that is
  there: overlaps 0, distances the diagonal of the scan. Nobody gains by failing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.ndimage import find_objects

from condyle.core import Grid, LabelMap
from condyle.errors import DatasetError, LabelError
from condyle.measure.overlap import Counts, count
from condyle.measure.surface import SurfaceDistances, surface_distances
from condyle.measure.volume import signed_similarity

__all__ = ["METRICS", "Metric", "failed_case", "score_case", "summarise"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """What a figure means: its unit, which way is better, its best and its worst value.

    `better` is 'nearer' where the figure has a sign and the best lies between two bad ends.
    A worst value of inf stands for the diagonal of the scan; None, for less all of the truth.
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
    "volume_similarity": Metric("", "nearer", 1, 0),
    "volume_error_cm3": Metric("cm³", "nearer", 0, None),
    "hd95_mm": Metric("mm", "lower", 0, math.inf),
    "assd_mm": Metric("mm", "lower", 0, math.inf),
    "nsd": Metric("", "higher", 1, 0),
    "hausdorff_mm": Metric("mm", "lower", 0, math.inf),
}
"""The figures of a row, in the order of tables."""

FAILURES = ("missed", "invented", "failed")


def score_case(truth: LabelMap, predicted: LabelMap, tolerance_mm: float = 2.0) -> list[Row]:
    """All figures of one case, a row for each structure of the truth's scheme.

    Parameters
    ----------
    truth, predicted : label maps on one grid. Structures are matched by name.
    tolerance_mm : how far apart surfaces may lie to agree, for `nsd`.

    Returns
    -------
    Rows with the keys structure, those of `METRICS`, volume_truth_cm3, volume_predicted_cm3,
    diagonal_mm (of the scan) and note: '', 'absent in both', 'missed' or 'invented'.

    Raises
    ------
    GridMismatch
        If the grids differ.
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
    truth.grid.require_same(predicted.grid, "truth and prediction")
    known = truth.known()
    truth, predicted = truth.within(known), predicted.within(known)
    lacking = [name for name in truth.scheme.names if name not in predicted.scheme.names]
    if lacking:
        raise LabelError(
            f"the prediction knows no {', '.join(lacking)} (it knows "
            f"{', '.join(predicted.scheme.names)}); read it with the truth's scheme"
        )
    boxes, others = find_objects(truth.array), find_objects(predicted.array)
    rows: list[Row] = []
    for label in truth.scheme.labels:
        number = predicted.scheme[label.name].id
        box = _union(_nth(boxes, label.id), _nth(others, number))
        a, b = truth.array[box] == label.id, predicted.array[box] == number
        distances = surface_distances(a, b, truth.spacing)
        rows.append(_row(label.name, truth.grid, count(a, b), distances, tolerance_mm))
    return rows


def failed_case(truth: LabelMap) -> list[Row]:
    """The rows of a case that has no prediction: for each structure the worst figures there are.

    Overlaps are 0, all of the volume is missing, and distances are the diagonal of the scan in
    mm. The note is 'failed', or 'absent in both' (and nan) where there was nothing to find.
    """
    rows = score_case(truth, truth.with_array(np.zeros_like(truth.array)))
    return [_finite(row) | {"note": "failed"} if row["note"] == "missed" else row for row in rows]


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Mean, standard deviation and median over cases: a row a structure, and a last one, 'mean'.

    Parameters
    ----------
    rows : those of `score_case` and `failed_case` of all cases, each with its 'case' added.

    Returns
    -------
    Rows with the keys structure, n (cases in the figures), n_absent (left out: nothing there,
    nothing predicted), n_failed (missed, invented or failed; they are in the figures), and for
    each metric its name with _mean, _sd (of a sample; nan for one case) and _median. Infinite
    distances count as the scan's diagonal. The row 'mean' is over the cases' own means over
    structures; its n counts cases, its n_absent and n_failed count rows.

    Raises
    ------
    DatasetError
        If a structure of a case comes twice.
    """
    structures: dict[str, list[Row]] = {}
    cases: dict[str, list[Row]] = {}
    seen: set[tuple[str, str]] = set()
    for row in rows:
        case, structure = str(row.get("case", "")), str(row["structure"])
        if (case, structure) in seen:
            raise DatasetError(
                f"case {case!r} has two rows for {structure}: give the rows of each case its name"
            )
        seen.add((case, structure))
        structures.setdefault(structure, []).append(_finite(row))
        cases.setdefault(case, []).append(_finite(row))
    means = [{m: _mean([row[m] for row in group]) for m in METRICS} for group in cases.values()]
    summary = [_summary(name, group, group) for name, group in structures.items()]
    return [*summary, _summary("mean", means, rows)]


def _row(
    name: str, grid: Grid, counts: Counts, distances: SurfaceDistances, tolerance_mm: float
) -> Row:
    cm3 = grid.voxel_volume / 1000.0
    error = (counts.predicted - counts.truth) * cm3
    there = bool(counts.truth), bool(counts.predicted)
    notes = {(False, False): "absent in both", (True, False): "missed", (False, True): "invented"}
    return {
        "structure": name,
        "dice": counts.dice,
        "iou": counts.iou,
        "precision": counts.precision,
        "recall": counts.recall,
        "volume_similarity": signed_similarity(counts),
        "volume_truth_cm3": counts.truth * cm3,
        "volume_predicted_cm3": counts.predicted * cm3,
        "volume_error_cm3": error if any(there) else math.nan,
        "hd95_mm": distances.hd95(),
        "assd_mm": distances.assd(),
        "nsd": distances.nsd(tolerance_mm),
        "hausdorff_mm": distances.hausdorff(),
        "diagonal_mm": float(np.linalg.norm(np.array(grid.shape) * grid.spacing)),
        "note": notes.get(there, ""),
    }


def _nth(boxes: list[Any], number: int) -> tuple[slice, ...] | None:
    """The box that `find_objects` gave a label number, or None."""
    return boxes[number - 1] if number <= len(boxes) else None


def _union(a: tuple[slice, ...] | None, b: tuple[slice, ...] | None) -> tuple[slice, ...]:
    """The smallest box that holds both; no voxels at all if there is neither."""
    if a is None or b is None:
        return a or b or (slice(0, 0),) * 3
    return tuple(
        slice(min(x.start, y.start), max(x.stop, y.stop)) for x, y in zip(a, b, strict=True)
    )


def _finite(row: Mapping[str, Any]) -> Row:
    """The row with the diagonal of the scan for each infinite distance."""
    return {k: row["diagonal_mm"] if v == math.inf else v for k, v in row.items()}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _summary(
    name: str, figures: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> Row:
    """One row of the summary: figures over cases, and counts of the rows that they come from."""
    summary: Row = {
        "structure": name,
        "n": sum(not math.isnan(row["dice"]) for row in figures),
        "n_absent": sum(row["note"] == "absent in both" for row in rows),
        "n_failed": sum(row["note"] in FAILURES for row in rows),
    }
    for metric in METRICS:
        known = [row[metric] for row in figures if not math.isnan(row[metric])]
        summary[f"{metric}_mean"] = _mean(known)
        summary[f"{metric}_sd"] = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
        summary[f"{metric}_median"] = float(np.median(known)) if known else math.nan
    return summary
