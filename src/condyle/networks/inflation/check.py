"""How far an inflated network is from its 2D original: a measurement, not a promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Proof", "prove"]


@dataclass(frozen=True)
class Proof:
    """How far a 3D network is from its 2D original, on an input that is the same in every slice.

    Parameters
    ----------
    differences : for each output, the largest difference between any slice and the 2D output.
    relative : the largest of them as a part of the largest absolute value of its 2D output.
    """

    differences: tuple[float, ...]
    relative: float


def prove(flat: nn.Module, deep: nn.Module, x: Tensor, slices: int = 32, axis: int = -1) -> Proof:
    """How far the 3D network's outputs are from the 2D network's.

    Parameters
    ----------
    flat, deep : the 2D network and its inflation, each giving a tensor or a list of them.
    x : (B, C, i, j), repeated in `slices` slices.
    axis : of the depth.
    """
    with torch.no_grad():
        here = _listed(flat.eval()(x))
        there = _listed(deep.eval()(torch.stack([x] * slices, dim=axis if axis > 0 else axis + 5)))
    gaps = [
        float((three - two.unsqueeze(axis)).abs().max())
        for two, three in zip(here, there, strict=True)
    ]
    largest = [max(float(two.abs().max()), 1e-30) for two in here]
    return Proof(tuple(gaps), max(g / size for g, size in zip(gaps, largest, strict=True)))


def _listed(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)
