"""How likely a network held its voxels to be a structure, against whether they were.

All voxels of all cases are counted together, each as much as any other, into bins of probability;
curves and figures come from these counts, so cases, folds and processes can be counted apart and
added. Voxels that nobody labelled are not counted. Probabilities are taken in half precision, in
which networks' probabilities are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.errors import ConfigError, GridMismatch

__all__ = ["EDGES", "ProbabilityHistogram", "PrecisionRecall", "Reliability"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TAIL = np.logspace(-5, -2, 50, endpoint=False)
EDGES: Floats = np.concatenate([[0], _TAIL, np.arange(1, 100) / 100, 1 - _TAIL[::-1], [1]])
"""Ends of the 200 bins: 0.01 wide, and towards 0 and 1, where most voxels are, ever narrower."""
SURE = 0.01
"""Voxels that are held to be a structure with no more than this probability say nothing of
calibration: they are nine in ten or more, nearly all of them rightly, and hide the others."""

HALVES: Floats = np.arange(0x3C01, dtype=np.uint16).view(np.float16).astype(float)
"""Every number of half precision from 0 to 1, in order; a number's place here is its bits."""
BIN_OF: NDArray[np.intp] = np.searchsorted(EDGES[1:-1], HALVES)
AT_ONCE = 1 << 22
"""Voxels counted at a time, so that a large scan needs little more memory than it has."""


class PrecisionRecall(NamedTuple):
    """Precision and recall, 0 to 1, of the voxels above each threshold, the highest first."""

    threshold: Floats
    precision: Floats
    recall: Floats


class Reliability(NamedTuple):
    """A row a bin that has voxels: their mean probability, how many of them are the structure."""

    expected: Floats
    observed: Floats
    voxels: Ints


@dataclass(frozen=True, eq=False)
class ProbabilityHistogram:
    """Voxels of a structure, and others, by the probability that a network gave to it.

    Parameters
    ----------
    inside : (200,) voxels of the structure in each bin of `EDGES`; a bin holds its upper end.
    outside : (200,) all others.
    total : (200,) sum of the probabilities in each bin.

    Examples
    --------
    >>> counts = ProbabilityHistogram.count([True, True, False, False], [0.9, 0.4, 0.6, 0.0])
    >>> round(counts.average_precision, 3)
    0.833
    >>> (counts + counts).voxels
    8
    """

    inside: Ints
    outside: Ints
    total: Floats

    @classmethod
    def none(cls) -> Self:
        """Counts of no voxel: what a sum begins with."""
        n = len(EDGES) - 1
        return cls(np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n))

    @classmethod
    def count(
        cls, truth: ArrayLike, probability: ArrayLike, known: ArrayLike | None = None
    ) -> Self:
        """Counts of one structure in one case.

        Parameters
        ----------
        truth : boolean, where the structure is.
        probability : of the structure, 0 to 1, of the same shape.
        known : boolean, where somebody labelled; None: everywhere.

        Raises
        ------
        GridMismatch
            If the shapes differ.
        ConfigError
            If a probability is below 0, above 1 or no number.
        """
        there, given = np.asarray(truth, bool), np.asarray(probability)
        seen = np.ones_like(there) if known is None else np.asarray(known, bool)
        if not there.shape == given.shape == seen.shape:
            raise GridMismatch(
                f"truth, probabilities and labelled voxels have shapes {there.shape}, "
                f"{given.shape} "
                f"and {seen.shape}; bring them to one grid first"
            )
        every, inside = np.zeros(len(HALVES), np.int64), np.zeros(len(HALVES), np.int64)
        flat = there.ravel(), given.ravel(), seen.ravel()
        for at in range(0, there.size, AT_ONCE):
            mask, p, kept = (array[at : at + AT_ONCE] for array in flat)
            bits = np.abs(p[kept].astype(np.float16)).view(np.uint16)  # abs: -0 is 0 too
            if bits.size and (bits.max() >= len(HALVES) or p[kept].min() < 0):
                raise ConfigError(
                    "a probability is a number from 0 to 1, got a value below 0, above 1 or nan"
                )
            every += np.bincount(bits, minlength=len(HALVES))
            inside += np.bincount(bits[mask[kept]], minlength=len(HALVES))
        n = len(EDGES) - 1
        binned = np.array(
            [np.bincount(BIN_OF, w, n) for w in (inside, every - inside, every * HALVES)]
        )
        return cls(binned[0].astype(np.int64), binned[1].astype(np.int64), binned[2])

    def __add__(self, other: ProbabilityHistogram) -> ProbabilityHistogram:
        return ProbabilityHistogram(
            self.inside + other.inside, self.outside + other.outside, self.total + other.total
        )

    @property
    def voxels(self) -> int:
        """How many were counted."""
        return int(self.inside.sum() + self.outside.sum())

    @property
    def precision_recall(self) -> PrecisionRecall:
        """Precision and recall at every lower end of a bin that has voxels.

        At the first threshold, 1, nothing is found: there precision is 1 and recall 0, as
        scikit-learn has it. Where the structure is nowhere, recall is nan.
        """
        filled = np.flatnonzero(self.inside + self.outside)[::-1]
        found, wrong = self.inside[filled].cumsum(), self.outside[filled].cumsum()
        with np.errstate(invalid="ignore"):
            recall = np.append(0.0, found) / self.inside.sum()
        return PrecisionRecall(
            np.append(1.0, EDGES[filled]), np.append(1.0, found / (found + wrong)), recall
        )

    @property
    def average_precision(self) -> float:
        """Mean precision, 0 to 1, weighted by the recall that each threshold adds.

        The area under the curve of precision over recall as steps (scikit-learn's definition), of
        all voxels together; voxels of one bin are not distinguished, which changes it by less than
        0.002. nan where the structure is nowhere.
        """
        if not self.inside.any():
            return float("nan")
        curve = self.precision_recall
        return float((np.diff(curve.recall) * curve.precision[1:]).sum())

    def reliability(self, bins: int = 10, above: float = 0.0) -> Reliability:
        """Expected against observed frequency of the structure, 0 to 1, in bins of equal width.

        Parameters
        ----------
        bins : how many from 0 to 1; must divide 100.
        above : voxels of no more than this probability are left out.

        Calibrated is who observes what is expected: of the voxels that were given 0.7, seven in
        ten are the structure (DeGroot and Fienberg, The Statistician 32, 1983). Bins without a
        voxel are left out.
        """
        if bins < 1 or 100 % bins:
            raise ConfigError(f"bins of equal width must divide 100, got {bins}")
        middle = (EDGES[:-1] + EDGES[1:]) / 2
        wide, kept = (middle * bins).astype(int), EDGES[:-1] >= above
        inside, outside, total = (
            np.bincount(wide[kept], counts[kept], bins)
            for counts in (self.inside, self.outside, self.total)
        )
        voxels = (inside + outside).astype(np.int64)
        some = voxels > 0
        return Reliability(total[some] / voxels[some], inside[some] / voxels[some], voxels[some])

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, 0 to 1: how far observed and expected lie apart on average.

        Over ten bins of equal width, each weighing as many voxels as it has (Naeini, Cooper and
        Hauskrecht, AAAI 2015), of the voxels that were given more than 0.01. nan without any.
        """
        expected, observed, voxels = self.reliability(above=SURE)
        if not voxels.size:
            return float("nan")
        return float(np.abs(expected - observed) @ voxels / voxels.sum())

    def rows(self) -> list[dict[str, float]]:
        """A row a bin that has voxels, as `of` reads them: above, inside, outside, total."""
        return [
            {
                "above": float(EDGES[n]),
                "inside": int(self.inside[n]),
                "outside": int(self.outside[n]),
                "total": float(self.total[n]),
            }
            for n in np.flatnonzero(self.inside + self.outside)
        ]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Self:
        """The counts whose rows these are; numbers may be text, as in a CSV file."""
        counts = cls.none()
        for row in rows:
            n = int(np.abs(EDGES[:-1] - float(row["above"])).argmin())
            counts.inside[n] += int(row["inside"])
            counts.outside[n] += int(row["outside"])
            counts.total[n] += float(row["total"])
        return counts
