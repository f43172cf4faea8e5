"""How far a training is, and the learning rate there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from condyle.config import Training

__all__ = ["DEFAULT_EPOCHS", "SCHEDULES", "Clock", "rate_factor"]

DEFAULT_EPOCHS = 50

Shape = Callable[[Training, float], float]


def _falling(shape: Callable[[float], float]) -> Shape:
    """From nothing over the warm-up, then along a shape from 1 down to the final rate."""

    def factor(settings: Training, progress: float) -> float:
        left = settings.final_rate + (1 - settings.final_rate) * shape(progress)
        return _risen(settings, progress) * left

    return factor


def _risen(settings: Training, progress: float) -> float:
    """The part of the rate that the warm-up has reached."""
    return min(1.0, (progress + 1e-3) / settings.warmup) if settings.warmup else 1.0


def _half_wave(progress: float) -> float:
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(settings: Training, progress: float) -> float:
    """From a 25th up over the warm-up, then down to nearly nothing, both along half a cosine."""
    start, end = 1 / 25, 1 / 25e4
    if progress < settings.warmup:
        return start + (1 - start) * (1 - _half_wave(progress / settings.warmup))
    return end + (1 - end) * _half_wave((progress - settings.warmup) / (1 - settings.warmup))


SCHEDULES: dict[str, Shape] = {
    "constant": _falling(lambda progress: 1.0),
    "cosine": _falling(_half_wave),
    "poly": _falling(lambda progress: (1 - progress) ** 0.9),
    "linear": _falling(lambda progress: 1 - progress),
    "one-cycle": _one_cycle,
}
"""Learning rate as a part of the full one, by settings and progress from 0 (start) to 1 (end).
one-cycle is that of Smith and Topin (2019, doi 10.1117/12.2520589) as in torch's OneCycleLR."""


def rate_factor(settings: Training, progress: float, epoch: int = 0) -> float:
    """The part of the full learning rate, warm-up included.

    Parameters
    ----------
    progress : from 0 to 1.
    epoch : from 0; it counts where the rate falls by so much an epoch.

    Examples
    --------
    >>> slow = Training(rate=1e-4, schedule="linear", rate_per_epoch=1e-6, warmup=0)
    >>> rate_factor(slow, 0.9, epoch=20)
    0.8
    """
    progress = min(max(progress, 0.0), 1.0)
    if settings.rate_per_epoch:
        left = 1 - epoch * settings.rate_per_epoch / settings.rate
        return _risen(settings, progress) * max(0.0, left)
    return SCHEDULES[settings.schedule](settings, progress)


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
