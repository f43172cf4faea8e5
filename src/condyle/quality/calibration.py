"""The Dice that a label map may be expected to have, estimated from cases whose truth is known.

A logistic curve per structure goes from what is known without the truth (`Signs`) to the Dice;
each sign can only move it one way. About it lies an interval by the jackknife+ of Barber, Candès,
Ramdas and Tibshirani (Predictive inference with the jackknife+, Annals of Statistics 49, 2021), a
form of conformal prediction (Vovk, Gammerman and Shafer, Algorithmic learning in a random world,
2005). A patient is left out with all of its scans, and each patient weighs the same, as Lee, Barber
and Willett have it for repeated measurements (Distribution-free inference with hierarchical data,
arXiv 2306.06342). For a scan of a new patient, drawn as those were, it holds the true Dice nine
times in ten; proved is 1 - 2 x 0.1 for the worst of all cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from condyle.errors import DatasetError
from condyle.jobs.job import warn

__all__ = ["LEVEL", "Calibration", "Expected", "Observation", "Signs"]


LEVEL = 0.9
"""How often the interval shall hold the true Dice."""

FEWEST = 10
"""Patients that a 90 % interval needs: with fewer, its ends are those of the scale."""

RIDGE = 1e-3
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Signs:
    """What tells how good a structure is, without the truth.

    Parameters
    ----------
    agreement : mean pairwise Dice of the predictions, 0 to 1; the higher, the better.
    confidence : the Dice that the network's own probabilities expect, 0 to 1; the higher, the
        better.
    volume : |ln| of its volume over the median of the training set; of this one and the
        following, the lower, the better.
    distance : of the scan from the training set; 1 is usual there.
    rules : how many rules of anatomy it breaks.
    """

    agreement: float
    confidence: float
    volume: float
    distance: float
    rules: int

    def row(self) -> Array:
        """The signs on scales on which more is better."""
        shares = logit(np.clip([self.agreement, self.confidence], 0.01, 0.99))
        distance = np.log(max(self.distance, 0.1))
        return np.array([*shares, -self.volume, -distance, -min(self.rules, 3)], np.float64)


@dataclass(frozen=True)
class Observation:
    """One structure in one scan whose truth is known: its signs, and the Dice it had."""

    patient: str
    structure: str
    signs: Signs
    dice: float


@dataclass(frozen=True)
class Expected:
    """The Dice to be expected, and the ends of its interval, all from 0 to 1."""

    dice: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A logistic curve, and how far the Dice scatters about it: most in the middle."""

    weights: tuple[float, ...]
    """The intercept, then one a sign, none below 0."""
    scatter: tuple[float, float]
    """ln of the scatter is the first, and the second times ln of Dice x (1 - Dice)."""

    @classmethod
    def fitted(cls, x: Array, y: Array, weight: Array) -> Self:
        """The curve through the Dice `y` (n,) over the signs `x` (n, signs)."""
        middle, spread = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
        scaled = np.column_stack([np.ones(len(x)), (x - middle) / spread])
        weight = weight / weight.sum()

        def loss(w: Array) -> tuple[float, Array]:
            odds = scaled @ w
            value = weight @ (np.logaddexp(0, odds) - y * odds) + RIDGE * w[1:] @ w[1:]
            slope = scaled.T @ (weight * (expit(odds) - y))
            return float(value), slope + 2 * RIDGE * np.concatenate([[0.0], w[1:]])

        limits = [(None, None), *[(0.0, None)] * x.shape[1]]
        found: Array = minimize(
            loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B", bounds=limits
        ).x
        slopes = found[1:] / spread
        weights = (float(found[0] - slopes @ middle), *(float(s) for s in slopes))
        dice = expit(np.clip(x @ slopes + weights[0], -6, 6))
        away, middling = np.log(np.abs(y - dice) + 0.01), np.log(dice * (1 - dice))
        centred = middling - weight @ middling
        steep = float(weight @ (centred * away) / (weight @ centred**2 + 1e-3))
        steep = max(steep, 0.0)
        return cls(weights, (float(weight @ (away - steep * middling)), steep))

    def at(self, x: Array) -> tuple[Array, Array]:
        """The Dice (n,) at signs (n, signs), and its scatter there."""
        dice = expit(np.clip(x @ np.array(self.weights[1:]) + self.weights[0], -6, 6))
        return dice, np.exp(self.scatter[0] + self.scatter[1] * np.log(dice * (1 - dice)))


@dataclass(frozen=True)
class Leaving:
    """The curve without one patient, and how far off it was for that patient, in scatters."""

    curve: Curve
    off: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """Structure -> its curve over all patients, and the curves that each left one out.

    Parameters
    ----------
    curves : structure -> the curve; a structure of fewer than `FEWEST` patients has none.
    leaving : structure -> a curve a patient.
    """

    curves: dict[str, Curve]
    leaving: dict[str, tuple[Leaving, ...]]

    @classmethod
    def fit(cls, observations: Iterable[Observation]) -> Self:
        """The calibration of scans whose truth is known; those without a Dice are ignored.

        Raises
        ------
        DatasetError
            If no structure was seen in enough patients.
        """
        by_structure: dict[str, dict[str, list[Observation]]] = {}
        patients: set[str] = set()
        for each in observations:
            patients.add(each.patient)
            if not np.isnan(each.dice):
                group = by_structure.setdefault(each.structure, {})
                group.setdefault(each.patient, []).append(each)
        if len(patients) < FEWEST:
            raise DatasetError(
                f"a {LEVEL:.0%} interval needs held-out cases of {FEWEST} patients or more, "
                f"here are {len(patients)}: give more labelled cases that were not trained on"
            )
        curves: dict[str, Curve] = {}
        leaving: dict[str, tuple[Leaving, ...]] = {}
        for name, groups in by_structure.items():
            if len(groups) < FEWEST:
                warn(
                    f"{name} was found in {len(groups)} held-out patients only: estimating "
                    f"its Dice takes {FEWEST}"
                )
                continue
            curves[name], leaving[name] = _fitted(list(groups.values()))
        if not curves:
            raise DatasetError(
                f"no structure was found in held-out cases of {FEWEST} patients or more: give "
                "more labelled cases that were not trained on"
            )
        return cls(curves, leaving)

    def expect(self, structure: str, signs: Signs, level: float = LEVEL) -> Expected | None:
        """The Dice to be expected of a structure, and its interval; None if it has no curve."""
        if structure not in self.curves:
            return None
        x = signs.row()[None]
        best = float(self.curves[structure].at(x)[0][0])
        ends: list[tuple[float, float, float]] = []
        groups = self.leaving[structure]
        for one in groups:
            dice, scatter = (float(value[0]) for value in one.curve.at(x))
            weight = 1 / ((len(groups) + 1) * len(one.off))
            ends += [(dice - off * scatter, dice + off * scatter, weight) for off in one.off]
        low, high, weights = np.array(ends).T
        top, bottom = _quantile(high, weights, level), -_quantile(-low, weights, level)
        return Expected(best, min(max(bottom, 0.0), best), max(min(top, 1.0), best))

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            name: {"curve": asdict(curve), "leaving": [asdict(one) for one in self.leaving[name]]}
            for name, curve in self.curves.items()
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """The calibration of what `to_dict` gave."""
        curves = {name: _curve(row["curve"]) for name, row in found.items()}
        leaving = {
            name: tuple(Leaving(_curve(one["curve"]), tuple(one["off"])) for one in row["leaving"])
            for name, row in found.items()
        }
        return cls(curves, leaving)


def _curve(row: dict[str, Any]) -> Curve:
    first, second = row["scatter"]
    return Curve(tuple(row["weights"]), (first, second))


def _fitted(groups: Sequence[Sequence[Observation]]) -> tuple[Curve, tuple[Leaving, ...]]:
    """The curve of all patients, and those that leave one out."""
    x = np.array([each.signs.row() for group in groups for each in group])
    y = np.array([each.dice for group in groups for each in group])
    patient = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    weight = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    leaving: list[Leaving] = []
    for out in range(len(groups)):
        kept, left = patient != out, patient == out
        curve = Curve.fitted(x[kept], y[kept], weight[kept])
        dice, scatter = curve.at(x[left])
        leaving.append(Leaving(curve, tuple((np.abs(y[left] - dice) / scatter).tolist())))
    return Curve.fitted(x, y, weight), tuple(leaving)


def _quantile(values: Array, weights: Array, level: float) -> float:
    """The smallest value up to which the weights reach a level; infinite where they never do."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= level - 1e-9
    return float(values[order][np.argmax(reached)]) if reached.any() else float("inf")
