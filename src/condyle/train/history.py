"""What a training went through, and where it is now."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["History", "Moment"]


@dataclass(frozen=True)
class Moment:
    """Where a training is, for whoever shows its progress.

    `progress` goes from 0 to 1; `dice` is the best validation Dice so far, None before any.
    """

    epoch: int
    step: int
    progress: float
    seconds_left: float
    loss: float
    dice: float | None


@dataclass
class History:
    """A row an epoch, the best of them by validation Dice, and why it ended ('' while it runs)."""

    rows: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    best_dice: float | None = None
    best_epoch: int = -1
    since_best: int = 0
    stopped: str = ""

    def add(self, row: dict[str, float], dice: float | None) -> bool:
        """Note an epoch and its validation Dice (None: not looked); True if it is the best yet."""
        self.rows.append(row)
        if dice is None:
            return False
        if self.best_dice is None or dice > self.best_dice:
            self.best_dice, self.best_epoch, self.since_best = dice, int(row["epoch"]), 0
            return True
        self.since_best += 1
        return False
