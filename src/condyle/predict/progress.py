"""How far a prediction is: parts of a scan, from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from condyle.predict.runtimes.runtime import Runtime

__all__ = ["CountedRuntime", "PartProgress", "no_progress", "share_of"]

PartProgress = Callable[[float], None]
"""Called with the part of a scan that is predicted, from 0 to 1."""


def no_progress(part: float) -> None:
    """Show no progress."""


def share_of(progress: PartProgress, number: int, total: int) -> PartProgress:
    """The progress of one of several equal shares of a work, counted from 0."""
    return lambda part: progress((number + part) / total)


@dataclass
class CountedRuntime:
    """A runtime that reports progress after each batch.

    Parameters
    ----------
    total : slices or windows that it is going to predict, mirror images too.
    """

    runtime: Runtime
    total: int
    progress: PartProgress
    done: int = field(default=0, init=False)

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]) of (B, C, i, j[, k])."""
        found = self.runtime.probabilities(batch)
        self.done += len(batch)
        self.progress(min(self.done / self.total, 1.0))
        return found
