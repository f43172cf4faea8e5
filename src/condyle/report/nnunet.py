"""Scores as nnU-Net writes them, for programs that read its summary.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condyle.core import LabelScheme

__all__ = ["case", "summary"]

Row = dict[str, Any]


def case(
    name: str, prediction: Path | None, scheme: LabelScheme, rows: Sequence[Mapping[str, Any]]
) -> Row:
    """A case's entry in `metric_per_case`, from its rows of `condyle.measure.score_case`."""
    return {
        "metrics": {str(scheme[row["structure"]].id): _figures(row) for row in rows},
        "prediction_file": prediction.name if prediction else None,
        "reference_file": name,
    }


def summary(cases: Sequence[Row]) -> Row:
    """The whole of summary.json: means a label, their mean, and every case.

    As in nnU-Net a label that is in neither map has no Dice (NaN) and is left out of means; a
    case that has no prediction is here too, with zeros.
    """
    labels = list(dict.fromkeys(label for one in cases for label in one["metrics"]))
    found = {x: [one["metrics"][x] for one in cases if x in one["metrics"]] for x in labels}
    means = {label: _means(rows) for label, rows in found.items()}
    return {
        "foreground_mean": _means(list(means.values())),
        "mean": means,
        "metric_per_case": list(cases),
    }


def _figures(row: Mapping[str, Any]) -> Row:
    tp, fp, fn, tn = (int(row[key]) for key in ("tp", "fp", "fn", "tn"))
    counts = {"FN": fn, "FP": fp, "TN": tn, "TP": tp, "n_pred": tp + fp, "n_ref": tp + fn}
    return {"Dice": row["dice"], "IoU": row["iou"], **counts}


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    means: dict[str, float] = {}
    for key in rows[0] if rows else ():
        known = [row[key] for row in rows if not math.isnan(row[key])]
        means[key] = sum(known) / len(known) if known else math.nan
    return means
