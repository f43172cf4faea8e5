"""How far a training is, and the learning rate there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from condyle.config import Training

__all__ = ["DEFAULT_EPOCHS", "SCHEDULES", "Clock", "rate_factor"]

DEFAULT_EPOCHS = 50

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "poly": lambda progress: (1 - progress) ** 0.9,
}
"""Learning rate as a part of the full one, by progress from 0 (start) to 1 (end)."""


def rate_factor(settings: Training, progress: float) -> float:
    """The part of the full learning rate at a progress from 0 to 1, warm-up included."""
    progress = min(max(progress, 0.0), 1.0)
    rise = min(1.0, (progress + 1e-3) / settings.warmup) if settings.warmup else 1.0
    return rise * SCHEDULES[settings.schedule](progress)


@dataclass
class Clock:
    """Progress of a training from 0 to 1: by steps, or by seconds where there is a budget.

    Parameters
    ----------
    total_steps : steps of the whole training; None under a budget.
    seconds : wall time for fitting under a budget; None otherwise.
    spent : seconds that earlier, interrupted parts of this training took.
    """

    total_steps: int | None
    seconds: float | None
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds of fitting so far, interrupted parts included."""
        return self.spent + time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """From 0 at the start to 1 at the end, after this many steps."""
        if self.seconds is not None:
            return min(1.0, self.elapsed / self.seconds)
        assert self.total_steps is not None
        return min(1.0, step / self.total_steps)

    def seconds_left(self, step: int) -> float:
        """An estimate of the seconds until the end; 0 before the first step."""
        progress = self.progress(step)
        return self.elapsed * (1 - progress) / progress if progress > 0 else 0.0
