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
    best_error: float = 0.0
    """The standard error of the best figure."""
    best_epoch: int = -1
    last: float | None = None
    """The figure of the epoch that was looked at last."""
    last_dice: float | None = None
    since_best: int = 0
    stopped: str = ""

    def add(
        self, row: dict[str, float], scores: Mapping[str, float], best_by: str, error: float = 0.0
    ) -> bool:
        """Note an epoch and its validation scores (none: not looked); True if the best yet.

        Parameters
        ----------
        error : the standard error of the figure; inf where it cannot be known.
        """
        self.rows.append(row)
        if not scores:
            return False
        figure = -scores["loss"] if best_by == "loss" else scores[best_by]
        self.last, self.last_dice = figure, scores.get("dice")
        if self.best is None or figure > self.best:
            self.best, self.best_dice, self.best_error = figure, self.last_dice, error
            self.best_epoch, self.since_best = int(row["epoch"]), 0
            return True
        self.since_best += 1
        return False

    @property
    def last_is_as_good(self) -> bool:
        """Whether the best figure is not better than the last one by more than its error."""
        if self.best is None or self.last is None:
            return False
        return self.best - self.last <= self.best_error

    def take_last(self) -> None:
        """Let the last epoch count as the best."""
        self.best, self.best_dice = self.last, self.last_dice
        self.best_epoch = int(self.rows[-1]["epoch"])
