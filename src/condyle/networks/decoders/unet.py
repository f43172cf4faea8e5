"""The U-Net's way from coarse features up to the size of the input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from condyle.networks.layers import (
    CONV,
    UP_CONV,
    Decoder,
    Pyramid,
    Spatial,
    conv_norm_act,
    enlarged_to,
    repeated_to,
)

__all__ = ["AttentionGate", "UNetBlock", "UNetDecoder", "halved", "unet_widths"]


class UNetBlock(nn.Module):
    """Enlarge, join the encoder's level of that size, and convolve twice."""

    def __init__(self, pyramid: Pyramid, inputs: int, skip: int, outputs: int):
        super().__init__()
        spatial, norm, transposed = pyramid.spatial, pyramid.norm, pyramid.transposed
        width = pyramid.up_kernel
        self.up = UP_CONV[spatial](inputs, outputs, width, stride=2) if transposed else None
        joined = (outputs if transposed else inputs) + skip
        self.conv1 = conv_norm_act(spatial, joined, outputs, norm)
        self.conv2 = conv_norm_act(spatial, outputs, outputs, norm)

    def forward(self, x: Tensor, skip: Tensor | None, sides: torch.Size) -> Tensor:
        """The features at `sides`, the size of the level to be joined."""
        if self.up is not None:  # a 3-wide kernel gives one pixel more, at the end
            x = self.up(x)[(..., *[slice(0, 2 * side) for side in x.shape[2:]])]
        x = repeated_to(x, sides)
        return self.conv2(self.conv1(x if skip is None else torch.cat([x, skip], dim=1)))


class AttentionGate(nn.Module):
    """A level of the encoder, weighted place by place by what the coarser features say of it.

    The additive gate of Oktay et al. 2018 (arXiv:1804.03999, equations 1 and 2): a 1-wide
    convolution of each, their sum, a ReLU, a 1-wide convolution to one channel and a sigmoid, at
    the coarser size; its weights are enlarged linearly. Half of the level's channels lie between.

    Parameters
    ----------
    level, coarse : channels of the level that is weighted, and of the coarser features.
    stride : by how much the level is larger.
    """

    def __init__(self, spatial: Spatial, level: int, coarse: int, stride: int):
        super().__init__()
        conv, between = CONV[spatial], max(level // 2, 1)
        self.level = conv(level, between, 1, stride=stride, bias=False)
        self.coarse = conv(coarse, between, 1)
        self.relu = nn.ReLU()
        self.weight = nn.Sequential(conv(between, 1, 1), nn.Sigmoid())

    def forward(self, level: Tensor, coarse: Tensor) -> Tensor:
        """The level (B, C, i, j[, k]), each place times its weight between 0 and 1."""
        weights = self.weight(self.relu(self.level(level) + self.coarse(coarse)))
        return level * enlarged_to(weights, level.shape[2:])


def unet_widths(pyramid: Pyramid) -> tuple[list[int], list[int], list[int]]:
    """Channels of each block of a U-Net, coarse to fine: below, of the joined level, given back."""
    channels, reductions = pyramid.channels, pyramid.reductions
    bare = int(math.log2(reductions[0]))  # blocks above the encoder's finest: nothing to join
    skips = [*reversed(channels[:-1]), *[0] * bare]
    if pyramid.transposed:
        outputs = [*reversed(channels[:-1])] + [channels[0]] * bare
    else:
        outputs = [16 * 2**i for i in reversed(range(len(skips)))]
    return [channels[-1], *outputs[:-1]], skips, outputs


class UNetDecoder(Decoder):
    """The U-Net's way up (Ronneberger et al. 2015, arXiv:1505.04597).

    Over a pretrained encoder its parameters carry the names and shapes of
    segmentation-models-pytorch's, so that weights can be exchanged.

    Parameters
    ----------
    pyramid : the encoder's.
    gated : put attention gates before the levels that are joined, but for the finest, whose
        features say too little of what they are (Oktay et al. 2018).
    """

    def __init__(self, pyramid: Pyramid, gated: bool = False):
        super().__init__()
        self.head_kernel = 1 if pyramid.transposed else 3
        inputs, skips, outputs = unet_widths(pyramid)
        self.out_channels = outputs[-1]
        self.blocks = nn.ModuleList(
            UNetBlock(pyramid, i, s, o) for i, s, o in zip(inputs, skips, outputs, strict=True)
        )
        self.gates = nn.ModuleList()
        coarse_to_fine = pairwise(reversed(pyramid.reductions))
        for i, s, (coarse, fine) in zip(inputs, skips, coarse_to_fine, strict=False):
            if gated and fine != pyramid.reductions[0]:
                self.gates.append(AttentionGate(pyramid.spatial, s, i, coarse // fine))

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, out_channels, *sides) from the encoder's levels, fine to coarse."""
        x, *skips = reversed(levels)
        for at, block in enumerate(self.blocks):
            if at < len(skips):
                skip = self.gates[at](skips[at], x) if at < len(self.gates) else skips[at]
                x = block(x, skip, skip.shape[2:])
            else:
                x = block(x, None, halved(sides, len(self.blocks) - 1 - at))
        return x


def halved(sides: torch.Size, times: int) -> torch.Size:
    """The sides, halved so many times."""
    return torch.Size(side // 2**times for side in sides)
