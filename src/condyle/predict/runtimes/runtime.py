"""What all that computes networks has in common."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["Runtime"]


class Runtime(Protocol):
    """Anything that turns prepared slices or windows into class probabilities."""

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]), float32 on the CPU, of (B, C, i, j[, k])."""
        ...
