"""Models compared on the same patients: intervals, paired tests, ranks.

A patient counts once, however many scans, seeds or structures there are: what is compared are the
patients' own means. Patients are drawn again (with replacement) for intervals; all models get the
same draw, so that ranks and differences keep the pairing.

References
----------
Wiesenfarth et al., Methods and open-source toolkit for analyzing and visualizing challenge results,
Scientific Reports 11:2369, 2021 (ranks with intervals by bootstrap).
Holm, A simple sequentially rejective multiple test procedure, Scand J Stat 6:65, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, wilcoxon

from condyle.errors import DatasetError
from condyle.measure.evaluate import FIGURES, counted

__all__ = [
    "FEWEST",
    "LEVEL",
    "Difference",
    "Standing",
    "differences",
    "holm",
    "of_patients",
    "standings",
]

Floats = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, float]]
"""Model -> patient -> figure."""

LEVEL = 0.95
"""Of intervals; a difference is called significant where Holm's p is below what is left."""
DRAWS = 10_000
FEWEST = 6
"""With fewer patients no paired test can reach p < 0.05: 2 / 2**5 is above it."""
EXACT = 13
"""Up to so many patients all signs of the differences are tried; above, scipy's own choice."""


@dataclass(frozen=True)
class Standing:
    """A model among others: mean, spread and median over patients, and its rank.

    `low` and `high` hold the mean with 95 % confidence, `rank_low` and `rank_high` the rank; 1 is
    the best.
    """

    model: str
    patients: int
    mean: float
    sd: float
    median: float
    low: float
    high: float
    rank: float
    rank_low: float
    rank_high: float


@dataclass(frozen=True)
class Difference:
    """How a model differs from another on the same patients: the mean of `model` less `other`.

    `p` is Wilcoxon's (signed ranks, two-sided; zeros by Pratt's rule), nan with fewer than
    `FEWEST` patients; `holm` the same, adjusted for all pairs; `wins` and `losses` count patients.
    """

    model: str
    other: str
    mean: float
    low: float
    high: float
    p: float
    holm: float
    wins: int
    losses: int

    @property
    def significant(self) -> bool:
        """Whether chance alone would hardly make the difference, all pairs considered."""
        return self.holm < 1 - LEVEL


def of_patients(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], metric: str, side: Literal[-1, 1] = -1
) -> dict[str, dict[str, float]]:
    """Model -> patient -> figure: the mean over a patient's cases, of each over its structures.

    Failures count as the worst (`condyle.measure.evaluate.counted`). Where a model rightly found
    nothing, and another one something, it has the best figure; where all found nothing and
    nothing was there, nothing is counted.

    Parameters
    ----------
    rows : model -> rows with patient, case, structure and figures; several rows of a structure
        of a case (seeds, slices) are averaged first.
    metric : one of `FIGURES`.
    side : on which the worst value of a figure with a sign lies.

    Raises
    ------
    DatasetError
        If a model has no row at all for a structure of a case that another one has.
    """
    found = {model: _by_case(some, metric, side) for model, some in rows.items()}
    asked = list(dict.fromkeys(key for figures in found.values() for key in figures))
    counts = [k for k in asked if any(np.isfinite(f.get(k, ())).any() for f in found.values())]
    best = FIGURES[metric].best
    scores: dict[str, dict[str, float]] = {}
    for model, figures in found.items():
        patients: dict[str, dict[str, list[float]]] = {}
        for patient, case, structure in counts:
            if (patient, case, structure) not in figures:
                raise DatasetError(
                    f"{model} has no row for {structure} of case {case}, which another model has: "
                    "models are compared on the same cases alone"
                )
            values = np.array(figures[patient, case, structure])
            figure = float(np.where(np.isnan(values), best, values).mean())
            patients.setdefault(patient, {}).setdefault(case, []).append(figure)
        scores[model] = {
            patient: float(np.mean([np.mean(some) for some in cases.values()]))
            for patient, cases in patients.items()
        }
    return scores


def _by_case(
    rows: Sequence[Mapping[str, Any]], metric: str, side: Literal[-1, 1]
) -> dict[tuple[str, str, str], list[float]]:
    """(patient, case, structure) -> its figures as they count."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        key = str(row["patient"]), str(row["case"]), str(row["structure"])
        found.setdefault(key, []).append(counted(row, side)[metric])
    return found


def standings(
    scores: Scores, better: Literal["higher", "lower"] = "higher", seed: int = 0
) -> list[Standing]:
    """Each model's standing, the best first.

    Parameters
    ----------
    scores : model -> patient -> figure; all models have the same patients.
    better : which way is better.
    seed : of the draws of patients.

    Raises
    ------
    DatasetError
        If a model lacks a patient that another has, or a figure is not finite.

    Examples
    --------
    >>> scores = {"a": {"p1": 0.9, "p2": 0.8}, "b": {"p1": 0.7, "p2": 0.7}}
    >>> [(s.model, round(s.mean, 2), s.rank) for s in standings(scores)]
    [('a', 0.85, 1.0), ('b', 0.7, 2.0)]
    """
    table = _table(scores)
    drawn = _drawn(table, seed)
    sign = -1 if better == "higher" else 1
    ranks = rankdata(sign * drawn, axis=0)
    rank = rankdata(sign * table.mean(axis=1))
    found = [
        Standing(
            model,
            table.shape[1],
            float(values.mean()),
            float(values.std(ddof=1)) if values.size > 1 else math.nan,
            float(np.median(values)),
            *_middle(means),
            float(rank[n]),
            *_middle(ranks[n]),
        )
        for n, (model, values, means) in enumerate(zip(scores, table, drawn, strict=True))
    ]
    return sorted(found, key=lambda s: s.rank)


def differences(
    scores: Scores, better: Literal["higher", "lower"] = "higher", seed: int = 0
) -> list[Difference]:
    """Each pair of models tested on the same patients; p adjusted for all pairs by Holm.

    Parameters
    ----------
    scores, better, seed : as for `standings`. The first of a pair comes first in `scores`.

    Raises
    ------
    DatasetError
        If a model lacks a patient that another has, or a figure is not finite.
    """
    table, models = _table(scores), list(scores)
    drawn = _drawn(table, seed)
    pairs = list(combinations(range(len(models)), 2))
    tests = [_p(table[a] - table[b]) for a, b in pairs]
    sign = 1 if better == "higher" else -1
    return [
        Difference(
            models[a],
            models[b],
            float((table[a] - table[b]).mean()),
            *_middle(drawn[a] - drawn[b]),
            p,
            adjusted,
            int((sign * (table[a] - table[b]) > 0).sum()),
            int((sign * (table[a] - table[b]) < 0).sum()),
        )
        for (a, b), p, adjusted in zip(pairs, tests, holm(tests), strict=True)
    ]


def holm(tests: Sequence[float]) -> list[float]:
    """The p values of several tests, adjusted so that all hold together; nan stays nan.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = [n for n in np.argsort(tests) if not math.isnan(tests[n])]
    adjusted, so_far = list(tests), 0.0
    for place, n in enumerate(order):
        so_far = max(so_far, min((len(order) - place) * tests[n], 1.0))
        adjusted[n] = so_far
    return adjusted


def _table(scores: Scores) -> Floats:
    """(models, patients); the same patients in each row."""
    patients = sorted({patient for found in scores.values() for patient in found})
    for model, found in scores.items():
        lacking = [p for p in patients if not math.isfinite(found.get(p, math.nan))]
        if lacking:
            raise DatasetError(
                f"{model} has no figure for {lacking[0]}, which other models have: models are "
                "compared on the same patients alone"
            )
    if not patients:
        raise DatasetError("there are no patients to compare the models on")
    return np.array([[found[p] for p in patients] for found in scores.values()])


def _drawn(table: Floats, seed: int) -> Floats:
    """(models, draws) means over patients drawn with replacement, the same for all models."""
    rng = np.random.default_rng(seed)
    patients = table.shape[1]
    times = rng.multinomial(patients, np.full(patients, 1 / patients), size=DRAWS)
    return table @ times.T / patients


def _middle(values: Floats) -> tuple[float, float]:
    """The two ends of the middle 95 % of some values."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _p(gaps: Floats) -> float:
    """Wilcoxon's p for paired differences, two-sided."""
    if gaps.size < FEWEST:
        return math.nan
    gaps = np.where(np.abs(gaps) < 1e-12, 0, gaps)  # sums in another order differ by that much
    if not gaps.any():
        return 1.0
    if gaps.size <= EXACT:
        return _exact(gaps)
    found: Any = wilcoxon(gaps, zero_method="pratt")
    return float(found.pvalue)


def _exact(gaps: Floats) -> float:
    """Wilcoxon's p with every choice of signs tried, so that ties and zeros do no harm."""
    ranks = rankdata(np.abs(gaps)) * (gaps != 0)
    sums = np.zeros(1)
    for rank in ranks[ranks > 0]:
        sums = np.concatenate([sums - rank, sums + rank])
    found = abs(float((ranks * np.sign(gaps)).sum()))
    return float((np.abs(sums) >= found - 1e-9).mean())
