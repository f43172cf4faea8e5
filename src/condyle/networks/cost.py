"""What a network costs: its parameters, and the arithmetic of one prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from condyle.networks.factory import NetworkName, SegmentationNetwork, build

__all__ = ["Cost", "cost"]

SIDES = {2: (256, 256), 3: (96, 96, 96)}
"""The slice and the block that costs are given for, in pixels and voxels."""


@dataclass(frozen=True)
class Cost:
    """The parameters of a network in millions, and the GFLOP of one slice or block.

    A multiplication and an addition count as two.
    """

    parameters: float
    gflop: float


def cost(name: str, in_channels: int = 1, classes: int = 2) -> Cost:
    """The cost of a network of this name for a slice of 256 x 256 or a block of 96 x 96 x 96.

    Nothing is computed, so it takes well under a second and no memory.

    Examples
    --------
    >>> round(cost("unet-plain").parameters, 1)
    7.4
    """
    network = _weightless(name, in_channels, classes).eval()
    sides = SIDES[NetworkName.parse(name).spatial]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, in_channels, *sides, device="meta"))
    parameters = sum(math.prod(p.shape) for p in network.parameters())
    return Cost(parameters / 1e6, counter.get_total_flops() / 1e9)


def _weightless(name: str, in_channels: int, classes: int) -> SegmentationNetwork:
    """The network with shapes only, on torch's device 'meta'."""
    try:
        with torch.device("meta"):
            network, _ = build(name, in_channels, classes, "none")
    except NotImplementedError:  # regnet counts with tensors while it is made
        network, _ = build(name, in_channels, classes, "none")
    return network.to("meta")
