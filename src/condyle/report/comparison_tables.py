"""Models side by side: the tables of the paper, the tests behind them, and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from condyle.config import Plane, Planes
from condyle.core import Case
from condyle.errors import WeightsError
from condyle.measure.evaluate import FAILURES, FIGURES
from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.measure.slices import at_ends, pooled
from condyle.measure.statistics import (
    FEWEST,
    Difference,
    Standing,
    differences,
    of_patients,
    standings,
)  # fmt: skip
from condyle.prepare.slices import planes_of
from condyle.report import tables

__all__ = ["VIEWS", "Compared", "Model", "Place", "Slice", "compared", "rows_of"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """What a comparison knows of a model.

    Parameters
    ----------
    name : as in the tables.
    absent : why it is not on this machine; '' if it is.
    of_ends : whether it was trained on the ends of structures alone, and is compared there only.
    rows : of `condyle.measure.score_case`, with patient, case, fold and seed.
    slices : of `condyle.measure.slices.score_slices`, with the same.
    runs : a training each: fold, seed, folder, seconds, seconds_a_case, parameters, warnings.
    histories : a training each: its rows of history.csv.
    predictions : case -> its label map.
    histogram : voxels of held-out cases by probability, all structures and trainings together.
    """

    name: str
    absent: str = ""
    of_ends: bool = False
    rows: list[Row] = field(default_factory=list[Row])
    slices: list[Row] = field(default_factory=list[Row])
    runs: list[Row] = field(default_factory=list[Row])
    histories: list[list[Row]] = field(default_factory=list[list[Row]])
    predictions: dict[str, Path] = field(default_factory=dict[str, Path])
    histogram: ProbabilityHistogram = field(default_factory=ProbabilityHistogram.none)


class Slice(NamedTuple):
    """A slice of a case, counted from the patient's left, back or feet from 0."""

    case: str
    plane: Plane
    at: int


@dataclass(frozen=True)
class Place:
    """What a comparison's page says beside its figures."""

    title: str
    settings: Mapping[str, Any]
    ends: int
    environment: Mapping[str, Any]
    warnings: Sequence[str]
    cases: Mapping[str, Case]
    planes: Planes = "axial"
    """Of the slices that are scored each by itself."""
    shown: Sequence[Slice] = ()
    """Slices that are drawn as all models predicted them."""


VOLUME_FIGURES = ("dice", "iou", "volume_similarity", "hd95_mm", "assd_mm", "nsd",
                  "hd95_px", "assd_px")  # fmt: skip
SLICE_FIGURES = ("dice", "iou", "precision", "recall", "volume_similarity")

VIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "3d": ("3D scores", VOLUME_FIGURES),
    "2d": ("2D scores, slice by slice", SLICE_FIGURES),
    "3d_ends": ("3D scores at the ends of structures", SLICE_FIGURES),
    "2d_ends": ("2D scores at the ends of structures, slice by slice", SLICE_FIGURES),
}
"""The femur study's tables: what is scored, and the figures of each."""


@dataclass(frozen=True)
class Compared:
    """All figures of a comparison.

    Parameters
    ----------
    models : those that are here and compared on whole scans, the best first.
    specialists : those that are compared at the ends of structures alone.
    absent : those that are not.
    views : view -> its table as shown; a row a model, the best first.
    standings, pairs : a row a view, metric, structure ('all': their mean) and model, or pair.
    """

    models: list[Model]
    specialists: list[Model]
    absent: list[Model]
    views: dict[str, list[Row]]
    standings: list[Row]
    pairs: list[Row]

    @property
    def too_few(self) -> str:
        """Why there are no intervals and tests; '' if there are."""
        return too_few(self.standing()[0]["patients"])

    def standing(self, metric: str = "dice", view: str = "3d") -> list[Row]:
        """The standings by a metric over all structures, the best first."""
        return [row for row in self.standings if _is(row, view, metric)]

    def between(self, metric: str = "dice", view: str = "3d") -> list[Row]:
        """The tests of all pairs by a metric over all structures."""
        return [row for row in self.pairs if _is(row, view, metric)]

    def of_patients(self, metric: str) -> dict[str, list[float]]:
        """Model -> a figure a patient, in one order for all; the best model first."""
        scores = of_patients({model.name: model.rows for model in self.models}, metric)
        return {name: [found[p] for p in sorted(found)] for name, found in scores.items()}

    def of_cases(self, model: str = "") -> dict[str, float]:
        """Case -> mean Dice of a model, or over all models; the worst first."""
        rows = {m.name: [r | {"patient": r["case"]} for r in m.rows] for m in self.models}
        scores = of_patients(rows, "dice")
        asked = [scores[model]] if model else list(scores.values())
        means = {case: sum(s[case] for s in asked) / len(asked) for case in asked[0]}
        return dict(sorted(means.items(), key=lambda item: item[1]))


def _is(row: Row, view: str, metric: str) -> bool:
    """Whether a row of figures is of a view and a metric, over all structures."""
    return (row["view"], row["metric"], row["structure"]) == (view, metric, "all")


def compared(models: Sequence[Model], ends: int, planes: Planes = "axial") -> Compared:
    """All figures of some models on the same patients.

    Models of the ends of structures have no place in the tables of whole scans, unless there are
    no others.

    Parameters
    ----------
    ends : slices at each end of a structure.
    planes : of the slices that are scored each by itself.

    Raises
    ------
    WeightsError
        If no model at all is here.
    """
    here = {model.name: model for model in models if not model.absent}
    if not here:
        raise WeightsError(f"none of the models can be had here; the first: {models[0].absent}")
    ranked: list[Row] = []
    pairs: list[Row] = []
    shown: dict[str, list[Row]] = {}
    whole = [name for name, model in here.items() if not model.of_ends] or list(here)
    order = whole + [name for name in here if name not in whole]
    for view in VIEWS:
        names = order if view.endswith("_ends") else whole
        rows = {name: rows_of(here[name], view, ends, planes) for name in names}
        if not any(rows.values()):
            continue
        found, tested = _figures(rows, view)
        ranked += found
        pairs += tested
        if view == "3d":
            whole = [row["model"] for row in found if _is(row, view, "dice")]
            order = whole + order[len(whole) :]
            names = whole
        shown[view] = [_line(here[name], rows[name], view, ranked, pairs) for name in names]
        shown[view] += [{"Model": m.name, "Dice": "not here"} for m in models if m.absent
                        and (view.endswith("_ends") or not m.of_ends)]  # fmt: skip
    absent = [model for model in models if model.absent]
    best, rest = ([here[name] for name in some] for some in (whole, order[len(whole) :]))
    return Compared(best, rest, absent, shown, ranked, pairs)


def _figures(rows: Mapping[str, Sequence[Row]], view: str) -> tuple[list[Row], list[Row]]:
    """The standings and the tests of a view, by each metric, of all structures and of each."""
    ranked: list[Row] = []
    pairs: list[Row] = []
    structures = list(dict.fromkeys(r["structure"] for some in rows.values() for r in some))
    there = {key for some in rows.values() for row in some for key in row}
    for structure in ("all", *structures):
        chosen = {
            name: [r for r in some if structure in ("all", r["structure"])]
            for name, some in rows.items()
        }
        for metric in (figure for figure in VIEWS[view][1] if figure in there):
            key = {"view": view, "metric": metric, "structure": structure}
            found, tested = _tested(chosen, metric)
            ranked += [key | _standing(one) for one in found]
            patients = min((one.patients for one in found), default=0)
            pairs += [key | _difference(one, patients) for one in tested]
    return ranked, pairs


def _standing(one: Standing) -> Row:
    """A standing as a row; without intervals where there are too few patients for them."""
    few = one.patients < FEWEST
    none = dict.fromkeys(("low", "high", "rank_low", "rank_high")) if few else {}
    return asdict(one) | none


def _difference(one: Difference, patients: int) -> Row:
    """A difference as a row; without interval and test where there are too few patients."""
    row = asdict(one) | {"significant": one.significant}
    few = patients < FEWEST
    return row | (dict.fromkeys(("low", "high", "p", "holm", "significant")) if few else {})


def rows_of(model: Model, view: str, ends: int, planes: Planes) -> list[Row]:
    """The rows of a model that a view is made from."""
    if view == "3d":
        return model.rows
    whose = ("patient", "case", "structure", "seed")
    groups: dict[tuple[Any, ...], list[Row]] = {tuple(r[k] for k in whose): [] for r in model.rows}
    for row in model.slices:
        groups[tuple(row[k] for k in whose)].append(row)
    chosen: list[Row] = []
    for key, group in groups.items():
        seen = planes_of(planes)
        some = [row for row in group if row["plane"] in seen]
        some = at_ends(group, ends) if view.endswith("_ends") else some
        if view.startswith("3d") or not some:  # nothing at all: rightly, and without a figure
            some = [pooled(some)]
        chosen += [{**dict(zip(whose, key, strict=True)), **row} for row in some]
    return chosen


def _tested(
    rows: Mapping[str, Sequence[Row]], metric: str
) -> tuple[list[Standing], list[Difference]]:
    """Standings and tests by a metric; of one with a sign, standings by its distance to the best.

    A figure with a sign has no tests: too much and too little would make up for each other.
    """
    meaning = FIGURES[metric]
    if meaning.better != "nearer":
        scores = of_patients(rows, metric)
        if not any(scores.values()):
            return [], []
        return standings(scores, meaning.better), differences(scores, meaning.better)
    found: dict[str, Standing] = {}
    for side in (-1, 1):
        scores = of_patients(rows, metric, side)
        for one in standings(scores, "higher") if any(scores.values()) else ():
            before = found.get(one.model)
            if before is None or abs(one.mean - meaning.best) > abs(before.mean - meaning.best):
                found[one.model] = one
    return list(found.values()), []


def _line(
    model: Model, rows: Sequence[Row], view: str, ranked: Sequence[Row], pairs: Sequence[Row]
) -> Row:
    """A model's row of a table, as shown; of slices also with their spread over all slices."""
    mine = {
        row["metric"]: row for row in ranked
        if (row["view"], row["structure"], row["model"]) == (view, "all", model.name)
    }  # fmt: skip
    dice = mine["dice"]
    line: Row = {"Model": model.name}
    for metric in (name for name in VIEWS[view][1] if name in mine):
        figure, digits = mine[metric], tables.METRICS[metric][2]
        line[tables.heading(metric)] = tables.mean_sd(figure["mean"], figure["sd"], digits)
        if metric == "dice":
            line["95 % CI"] = interval(dice["low"], dice["high"], "{:.3f}–{:.3f}")
            line["Median"] = tables.shown(dice["median"])
    ranks = interval(dice["rank_low"], dice["rank_high"], " ({:g}–{:g})")
    line["Rank"] = f"{dice['rank']:g}{ranks or ''}"
    line["p to the best"] = _p_to_best(model.name, view, ranked, pairs)
    if view.startswith("2d"):
        line |= {f"{tables.heading(m)}, over slices": _over_slices(rows, m) for m in OVER_SLICES}
    if view == "3d":
        line["Failed"] = sum(row["note"] in FAILURES for row in model.rows)
    costs = _costs(model)
    return line | (costs if view == "3d" else {"Training": costs["Training"]})


OVER_SLICES = ("dice", "iou")
"""The figures whose mean and spread over all slices are shown, as in the femur study."""


def _over_slices(rows: Sequence[Row], metric: str) -> str:
    """Mean ± standard deviation over all slices of all patients, each slice counted once."""
    values = np.array([float(row[metric]) for row in rows])
    values = values[np.isfinite(values)]
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return tables.mean_sd(float(values.mean()) if len(values) else None, sd)


def interval(low: float | None, high: float | None, words: str) -> str | None:
    """The ends of an interval in words; None where there is none."""
    return None if low is None or high is None else words.format(low, high)


def _p_to_best(name: str, view: str, ranked: Sequence[Row], pairs: Sequence[Row]) -> str | None:
    """Holm's p of a model against the best of a view; None for the best, and without a test."""
    best = next(row["model"] for row in ranked if _is(row, view, "dice"))
    for row in pairs:
        if _is(row, view, "dice") and {row["model"], row["other"]} == {name, best}:
            return p_text(row["holm"])
    return None


def too_few(patients: int) -> str:
    """The sentence that stands in the place of intervals and tests; '' where there are enough.

    Examples
    --------
    >>> too_few(2)
    '2 patients are too few for a confidence interval or a test: at least 6 are needed.'
    """
    if patients >= FEWEST:
        return ""
    count = f"{patients} patients are" if patients != 1 else "1 patient is"
    return f"{count} too few for a confidence interval or a test: at least {FEWEST} are needed."


def p_text(p: float | None) -> str | None:
    """A p value as papers print it; None where there was no test.

    Examples
    --------
    >>> p_text(0.0312), p_text(0.00001), p_text(float("nan"))
    ('0.031', '< 0.001', None)
    """
    if p is None or math.isnan(p):
        return None
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _costs(model: Model) -> Row:
    """What a model cost: training and prediction, mean over its runs, and its size."""

    def mean(key: str) -> float | None:
        known = [float(run[key]) for run in model.runs if run.get(key) is not None]
        return sum(known) / len(known) if known else None

    seconds, parameters, each = mean("seconds"), mean("parameters"), mean("seconds_a_case")
    return {
        "Training": tables.duration(seconds) if seconds is not None else None,
        "Prediction (s a case)": tables.shown(each, 2),
        "Parameters (M)": tables.shown(parameters / 1e6, 2) if parameters is not None else None,
    }
