"""What all that computes networks has in common."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

__all__ = ["BackendPrecision", "Runtime"]

BackendPrecision = Literal["fp32", "bf16", "int8"]
"""What a backend computes in: float32, bfloat16, or integers of 8 bits."""


class Runtime(Protocol):
    """Anything that turns prepared slices or windows into class probabilities."""

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]), float32 on the CPU, of (B, C, i, j[, k])."""
        ...
