"""Fully convolutional decoders: scores of coarse levels summed, or enlarged step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from condyle.networks.layers import (
    UP_CONV,
    Decoder,
    Pyramid,
    conv_norm_act,
    enlarged_to,
    norm_act,
    repeated_to,
)

__all__ = ["FCNDecoder", "FCNVGGDecoder"]


class FCNDecoder(Decoder):
    """FCN-32s, 16s or 8s (Long et al. 2015, arXiv:1411.4038), torchvision's head on the coarsest.

    In the paper each level is scored by a 1-wide convolution, and the scores are enlarged twofold
    and summed. Enlarging is linear, so we enlarge and join the features instead and score them by
    one 1-wide convolution: the same sum, and the same numbers.

    Parameters
    ----------
    spatial, channels, reductions, norm : the encoder's.
    finer : how many levels are joined to the coarsest: 0 (32s), 1 (16s) or 2 (8s).
    """

    def __init__(self, pyramid: Pyramid, finer: int = 0):
        super().__init__()
        spatial, channels, norm = pyramid.spatial, pyramid.channels, pyramid.norm
        self.finer, narrow = finer, channels[-1] // 4
        self.head = nn.Sequential(
            *conv_norm_act(spatial, channels[-1], narrow, norm), nn.Dropout(0.1)
        )
        self.out_channels = narrow + sum(channels[-1 - finer : -1])

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, out_channels, ...) of the size of the finest level that is joined."""
        x = self.head(levels[-1])
        for level in levels[-2 : -2 - self.finer : -1]:
            x = torch.cat([enlarged_to(x, level.shape[2:]), level], dim=1)
        return x


class FCNVGGDecoder(Decoder):
    """One convolution and up to four transposed ones, 64, 32, 16 and 8 wide, to the full size.

    Made for VGG-16 and its features of reduction 16 that are kept as they are: freezing them is
    `freeze = "encoder"` among the settings of the network.
    """

    def __init__(self, pyramid: Pyramid):
        super().__init__()
        spatial, norm = pyramid.spatial, pyramid.norm
        channels, reductions = pyramid.channels, pyramid.reductions
        self.at = max(at for at, reduction in enumerate(reductions) if reduction <= 16)
        widths = [64, *[64, 32, 16, 8][: int(math.log2(reductions[self.at]))]]
        self.conv = conv_norm_act(spatial, channels[self.at], widths[0], norm)
        self.ups = nn.ModuleList(
            nn.Sequential(
                UP_CONV[spatial](inputs, outputs, 2, stride=2, bias=False),
                *norm_act(spatial, outputs, norm),
            )
            for inputs, outputs in pairwise(widths)
        )
        self.out_channels = widths[-1]

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, 8, *sides)."""
        x = self.conv(levels[self.at])
        for up in self.ups:
            x = up(x)
        return repeated_to(x, sides)
