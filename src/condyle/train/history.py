"""What a training went through, and where it is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["History", "Moment"]


@dataclass(frozen=True)
class Moment:
    """Where a training is, for whoever shows its progress.

    `progress` goes from 0 to 1; `dice` is the validation Dice of the best weights so far, None
    before any.
    """

    epoch: int
    step: int
    progress: float
    seconds_left: float
    loss: float
    dice: float | None


@dataclass
class History:
    """A row an epoch, the best of them by a validation figure, and why it ended ('': it runs)."""

    rows: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    best: float | None = None
    """The figure of the best epoch; the loss with a minus sign: more is better."""
    best_dice: float | None = None
    best_epoch: int = -1
    since_best: int = 0
    stopped: str = ""

    def add(self, row: dict[str, float], scores: Mapping[str, float], best_by: str) -> bool:
        """Note an epoch and its validation scores (none: not looked); True if the best yet."""
        self.rows.append(row)
        if not scores:
            return False
        figure = -scores["loss"] if best_by == "loss" else scores[best_by]
        if self.best is None or figure > self.best:
            self.best, self.best_dice = figure, scores.get("dice")
            self.best_epoch, self.since_best = int(row["epoch"]), 0
            return True
        self.since_best += 1
        return False
