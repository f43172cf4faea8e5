"""Fully convolutional decoders: scores of several levels summed, or enlarged step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from condyle.networks.layers import (
    CONV,
    POOL,
    UP_CONV,
    Decoder,
    Pyramid,
    Spatial,
    conv_norm_act,
    enlarged_to,
    norm_act,
    repeated_to,
)

__all__ = ["Enlarging", "FCNDecoder", "FCNVGGDecoder", "NormedFCNVGGDecoder", "bilinear_kernel"]


def bilinear_kernel(spatial: Spatial, factor: int) -> Tensor:
    """The kernel (2 factor, ...) by which a transposed convolution enlarges linearly.

    Long et al. 2015: the start of their learned upsampling, as in their Caffe code.

    Examples
    --------
    >>> bilinear_kernel(2, 2)[0].tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """
    size = 2 * factor
    line = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    kernel = line
    for _ in range(spatial - 1):
        kernel = kernel.unsqueeze(-1) * line
    return kernel


class Enlarging(nn.Sequential):
    """Scores enlarged by a transposed convolution that starts as linear interpolation.

    Parameters
    ----------
    factor : by how much; 1 leaves the scores as they are.
    learned : whether the kernel changes in training.
    """

    def __init__(self, spatial: Spatial, classes: int, factor: int, learned: bool):
        super().__init__()
        if factor == 1:
            return
        up = UP_CONV[spatial](
            classes, classes, 2 * factor, stride=factor, padding=factor // 2, bias=False
        )
        with torch.no_grad():
            up.weight.zero_()
            for one in range(classes):
                up.weight[one, one] = bilinear_kernel(spatial, factor)
        up.weight.requires_grad_(learned)
        self.append(up)


class FCNDecoder(Decoder):
    """FCN-32s, 16s or 8s (Long et al. 2015, arXiv:1411.4038), torchvision's head on the coarsest.

    Each level is scored by a 1-wide convolution. From coarse to fine, the scores are enlarged
    twofold by a transposed convolution, which starts bilinear and learns, and summed; the last
    sum is enlarged to the full size in one step. Over VGG the levels joined are pool4 and pool3.

    Parameters
    ----------
    pyramid : the encoder's; `classes` of it are scored.
    finer : how many levels are joined to the coarsest: 0 (32s), 1 (16s) or 2 (8s).
    learned : whether the transposed convolutions learn; else they stay bilinear.
    """

    gives_scores = True

    def __init__(self, pyramid: Pyramid, finer: int = 0, learned: bool = True):
        super().__init__()
        spatial, channels, norm = pyramid.spatial, pyramid.channels, pyramid.norm
        classes, narrow = pyramid.classes, channels[-1] // 4
        self.out_channels = classes
        self.pooled = -1 if pyramid.pooled else 0
        self.pool = POOL[spatial](2)
        self.head = nn.Sequential(
            *conv_norm_act(spatial, channels[-1], narrow, norm), nn.Dropout(0.1)
        )
        joined = [-2 - n for n in range(finer)]
        widths = [narrow, *[channels[at + self.pooled] for at in joined]]
        self.scores = nn.ModuleList(CONV[spatial](width, classes, 1) for width in widths)
        sizes = [pyramid.reductions[at] for at in (-1, *joined)] + [1]
        self.ups = nn.ModuleList(
            Enlarging(spatial, classes, coarse // fine, learned) for coarse, fine in pairwise(sizes)
        )
        self.joined = joined

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Scores (B, classes, *sides)."""
        x = self.scores[0](self.head(levels[-1]))
        for up, score, at in zip(self.ups, [*self.scores][1:], self.joined, strict=False):
            level = levels[at + self.pooled]
            scored = score(self.pool(level) if self.pooled else level)
            x = enlarged_to(up(x), scored.shape[2:]) + scored
        return enlarged_to(self.ups[-1](x), sides)


class FCNVGGDecoder(Decoder):
    """The FCN-VGG of the FCN study as it is drawn there.

    On VGG's last pool a convolution to as many channels as there are classes, four transposed
    ones of 64, 32, 16 and 8, each 4 wide, and two last convolutions 3 wide; nothing between them,
    and all of them start by He et al. 2015 (Kaiming). What comes out is half as large as the input
    and is enlarged linearly. The study's first convolution is 435 pixels wide, of which 13 meet
    the 7 x 7 pixels that it looks at; ours is 13 wide.
    """

    gives_scores = True

    def __init__(self, pyramid: Pyramid):
        super().__init__()
        spatial, classes = pyramid.spatial, pyramid.classes
        conv, up = CONV[spatial], UP_CONV[spatial]
        self.out_channels = classes
        widths = [classes, *[64, 32, 16, 8][: int(math.log2(pyramid.reductions[-1]))]]
        wide = 13 if spatial == 2 else 3
        self.layers = nn.Sequential(
            conv(pyramid.channels[-1], classes, wide, padding=wide // 2),
            *[up(inputs, outputs, 4, stride=2, padding=1) for inputs, outputs in pairwise(widths)],
            conv(widths[-1], classes, 3, padding=1),
            conv(classes, classes, 3, padding=1),
        )
        for name, parameter in self.layers.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter)

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Scores (B, classes, ...), half as large as `sides` over VGG."""
        return self.layers(levels[-1])


class NormedFCNVGGDecoder(Decoder):
    """Ours after FCN-VGG: one convolution and up to four transposed ones, to the full size.

    64, 32, 16 and 8 wide, from the level of reduction 16, each with a norm and a ReLU. Freezing
    the encoder is `freeze = "encoder"` among the settings of the network.
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
