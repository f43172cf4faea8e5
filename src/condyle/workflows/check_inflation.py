"""Whether an encoder's inflation keeps its outputs: both networks, side by side."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from condyle.config.requests import CheckInflationRequest
from condyle.jobs.job import Job, verb
from condyle.jobs.outputs import require_free, write_bytes
from condyle.networks.encoders import pretrained_encoder, weights_of
from condyle.networks.inflation.check import prove
from condyle.networks.inflation.inflate import STRATEGIES, inflate
from condyle.networks.inflation.layers import ACSConv3d
from condyle.networks.seeds import seeded
from condyle.networks.weights.locate import load_into, locate, read_state
from condyle.report.kernels import kernels

__all__ = ["InflationCheck", "check_inflation"]

SIDE, SLICES, SHOWN = 32, 17, 8


@dataclass(frozen=True)
class InflationCheck:
    """A row a strategy: how far the 3D output is from the 2D one where all slices are alike."""

    rows: list[dict[str, Any]]


@verb
def check_inflation(request: CheckInflationRequest, job: Job) -> InflationCheck:
    """Run an encoder and its 3D inflations side by side.

    With `out`, a PNG file gets a picture of the first kernels, before and after.
    """
    depth, keep_depth = request.depth, request.keep_depth
    if request.out is not None:
        require_free(request.out)
    with seeded(0):
        flat = pretrained_encoder(request.encoder)
        x = torch.randn(1, 3, SIDE, SIDE)
    if request.weights != "none":
        found = locate(weights_of(request.encoder), request.weights)
        load_into(flat, read_state(found.path), found.path)
    fine = copy.deepcopy(flat).double()
    rows: list[dict[str, Any]] = []
    shown: dict[str, NDArray[np.float32]] = {}
    for strategy in job.track("inflating", STRATEGIES):
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
    if request.out is not None:
        write_bytes(request.out, kernels(_first(flat)[..., 0], shown))
    return InflationCheck(rows)


def _verdict(strategy: str, single: float, double: float) -> str:
    """In words, what the differences mean."""
    if strategy == "acs":
        return "not comparable: two thirds of its kernels see the depth"
    return "the same output" if single < 1e-4 and double < 1e-10 else "NOT the same output"


def _millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def _first(encoder: nn.Module) -> NDArray[np.float32]:
    """Some kernels (n, rows, columns, depth) of the first layer, summed over the colours."""
    layer = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d | nn.Conv3d | ACSConv3d))
    kernel = layer.kernel() if isinstance(layer, ACSConv3d) else layer.weight
    grey = kernel.detach().sum(dim=1)
    grey = grey[..., None] if grey.ndim == 3 else grey
    return grey[torch.linspace(0, len(grey) - 1, SHOWN).long()].numpy()
