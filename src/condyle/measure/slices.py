"""Cases scored slice by slice, and at the ends of structures, where segmentations go wrong.

A slice in which a structure neither is nor was predicted has no figure; one in which it was
missed or invented has overlaps of 0. A structure's ends are the first and the last slices in which
the truth has it: the "heads" of a bone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from condyle.config import Planes
from condyle.core import LabelMap
from condyle.measure.overlap import Counts
from condyle.measure.pairs import NOTES, pairs
from condyle.measure.volume import signed_similarity
from condyle.prepare.slices import AXIS, planes_of
from condyle.prepare.slices import ends as edges

__all__ = ["ENDS", "SLICE_METRICS", "at_ends", "pooled", "score_slices"]

ENDS = 20
"""Slices at each end of a structure, as in the femur study."""

SLICE_METRICS = ("dice", "iou", "precision", "recall", "volume_similarity", "abs_volume_similarity")
"""The figures of a slice, from counts of its pixels."""

Row = dict[str, Any]


def score_slices(
    truth: LabelMap, predicted: LabelMap, ends: int = ENDS, planes: Planes = "axial"
) -> list[Row]:
    """A row a structure, plane and slice in which it is or was predicted.

    Parameters
    ----------
    truth, predicted : label maps on one grid. Structures are matched by name.
    ends : how many slices at each end of a structure have `end` set.
    planes : one, or all three.

    Returns
    -------
    Rows with the keys structure, plane, slice (from 0 at the patient's left, back or feet), end (1
    in the first and last slices in which the truth has it), tp, fp, fn (pixels), those of
    `SLICE_METRICS`, and note: '', 'missed' or 'invented'.

    Raises
    ------
    GridMismatch
        If the grids differ.

    Examples
    --------
    >>> from condyle.core import Grid
    >>> array = np.zeros((4, 4, 3), np.uint8)
    >>> array[1:3, 1:3, :2] = 1
    >>> labels = LabelMap.of(array, Grid.regular(array.shape))
    >>> [(row["slice"], row["dice"]) for row in score_slices(labels, labels)]
    [(0, 1.0), (1, 1.0)]
    """
    rows: list[Row] = []
    for one in pairs(truth.reoriented("RAS"), predicted.reoriented("RAS")):
        for plane in planes_of(planes):
            axis = AXIS[plane]
            others = tuple(each for each in range(3) if each != axis)
            counts = [
                np.count_nonzero(mask, axis=others).tolist()
                for mask in (one.truth & one.predicted, one.truth, one.predicted)
            ]
            hard = set(edges(one.truth, ends, axis=axis).tolist())
            first = one.box[axis].start
            rows += [
                {"structure": one.name, "plane": plane, "slice": first + n, "end": int(n in hard)}
                | _figures(Counts(both, true, found))
                for n, (both, true, found) in enumerate(zip(*counts, strict=True))
                if true + found
            ]
    return rows


def at_ends(rows: Sequence[Mapping[str, Any]], ends: int = ENDS) -> list[Mapping[str, Any]]:
    """The axial rows of `score_slices` of one structure that are of its ends.

    Examples
    --------
    >>> rows = [{"plane": "axial", "slice": n, "tp": 1, "fn": 0} for n in range(9)]
    >>> [row["slice"] for row in at_ends(rows, 2)]
    [0, 1, 7, 8]
    """
    axial = [row for row in rows if row["plane"] == "axial"]
    there = sorted(int(row["slice"]) for row in axial if row["tp"] + row["fn"])
    hard = {*there[:ends], *there[-ends:]}
    return [row for row in axial if row["slice"] in hard]


def pooled(rows: Sequence[Mapping[str, Any]]) -> Row:
    """The figures of all voxels of some rows together, as if they were one volume.

    Examples
    --------
    >>> pooled([{"tp": 3, "fp": 1, "fn": 0}, {"tp": 0, "fp": 0, "fn": 1}])["dice"]
    0.75
    """
    tp, fp, fn = (sum(int(row[key]) for row in rows) for key in ("tp", "fp", "fn"))
    return _figures(Counts(tp, tp + fn, tp + fp))


def _figures(counts: Counts) -> Row:
    similarity = signed_similarity(counts)
    return {
        "tp": counts.both,
        "fp": counts.predicted - counts.both,
        "fn": counts.truth - counts.both,
        "dice": counts.dice,
        "iou": counts.iou,
        "precision": counts.precision,
        "recall": counts.recall,
        "volume_similarity": similarity,
        "abs_volume_similarity": 1 - abs(1 - similarity),
        "note": NOTES[bool(counts.truth), bool(counts.predicted)],
    }
