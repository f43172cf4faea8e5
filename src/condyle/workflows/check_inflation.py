"""Whether an encoder's inflation keeps its answers: both networks, side by side."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from condyle.jobs.outputs import write_bytes
from condyle.jobs.progress import Tell, silent, told
from condyle.networks.encoders import pretrained_encoder, weights_of
from condyle.networks.inflation.check import prove
from condyle.networks.inflation.inflate import STRATEGIES, inflate
from condyle.networks.inflation.layers import ACSConv3d
from condyle.networks.weights.locate import load_into, locate, read_state
from condyle.report.kernels import kernels

__all__ = ["check_inflation"]

SIDE, SLICES, SHOWN = 32, 17, 8


def check_inflation(
    encoder: str,
    *,
    weights: str = "imagenet",
    depth: int = 3,
    keep_depth: int = 0,
    out: Path | None = None,
    tell: Tell = silent,
) -> list[dict[str, Any]]:
    """A row a strategy: how far the 3D answer is from the 2D one where all slices are alike.

    Parameters
    ----------
    weights : imagenet, none, or a file.
    depth, keep_depth : as in `condyle.inflate`.
    out : also write a picture of the first kernels, before and after, into this PNG file.
    """
    torch.manual_seed(0)
    flat = pretrained_encoder(encoder)
    if weights != "none":
        found = locate(weights_of(encoder), weights)
        load_into(flat, read_state(found.path), found.path)
    fine = copy.deepcopy(flat).double()
    x = torch.randn(1, 3, SIDE, SIDE)
    rows: list[dict[str, Any]] = []
    shown: dict[str, NDArray[np.float32]] = {}
    for strategy in told(tell, "inflating", STRATEGIES, len(STRATEGIES)):
        deep = inflate(flat, strategy, depth, keep_depth=keep_depth)
        single = prove(flat, deep, x, SLICES)
        exact = inflate(fine, strategy, depth, keep_depth=keep_depth)
        double = prove(fine, exact, x.double(), SLICES)
        rows.append(
            {
                "inflation": strategy,
                "largest difference": f"{max(single.differences):.2g}",
                "relative, float32": f"{single.relative:.1e}",
                "relative, float64": f"{double.relative:.1e}",
                "parameters, millions": f"{_millions(deep):.1f} of {_millions(flat):.1f}",
                "verdict": _verdict(strategy, single.relative, double.relative),
            }
        )
        shown[strategy] = _first(deep)
    if out is not None:
        write_bytes(out, kernels(_first(flat)[..., 0], shown))
    return rows


def _verdict(strategy: str, single: float, double: float) -> str:
    """In words, what the differences mean."""
    if strategy == "acs":
        return "another network: two thirds of it look along the depth"
    return "the same answer" if single < 1e-4 and double < 1e-10 else "NOT the same answer"


def _millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def _first(encoder: nn.Module) -> NDArray[np.float32]:
    """Some kernels (n, rows, columns, depth) of the first layer, summed over the colours."""
    layer = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | ACSConv3d))
    kernel = layer.kernel() if isinstance(layer, ACSConv3d) else layer.weight
    grey = kernel.detach().sum(dim=1)
    grey = grey[..., None] if grey.ndim == 3 else grey
    return grey[torch.linspace(0, len(grey) - 1, SHOWN).long()].numpy()
