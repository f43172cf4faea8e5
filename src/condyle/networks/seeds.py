"""Random numbers of PyTorch, which are one stream a process: two trainings take turns with it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

import torch

__all__ = ["in_turn", "seeded"]

_TURN = threading.RLock()


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Meanwhile PyTorch draws the numbers of this seed, and nobody else in this process does.

    Examples
    --------
    >>> with seeded(1):
    ...     one = torch.rand(2)
    >>> with seeded(1):
    ...     bool((torch.rand(2) == one).all())
    True
    """
    with _TURN:
        torch.manual_seed(seed)
        yield


@contextmanager
def in_turn() -> Generator[None]:
    """Meanwhile random numbers may be drawn, whichever: not while another thread is `seeded`."""
    with _TURN:
        yield
