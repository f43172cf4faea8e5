"""The U-Net's way from coarse features up to the size of the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from condyle.networks.layers import UP_CONV, Decoder, Pyramid, conv_norm_act, repeated_to

__all__ = ["UNetBlock", "UNetDecoder", "halved", "unet_widths"]


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
    """

    def __init__(self, pyramid: Pyramid):
        super().__init__()
        self.head_kernel = 1 if pyramid.transposed else 3
        inputs, skips, outputs = unet_widths(pyramid)
        self.out_channels = outputs[-1]
        self.blocks = nn.ModuleList(
            UNetBlock(pyramid, i, s, o) for i, s, o in zip(inputs, skips, outputs, strict=True)
        )

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, out_channels, *sides) from the encoder's levels, fine to coarse."""
        x, *skips = reversed(levels)
        for at, block in enumerate(self.blocks):
            if at < len(skips):
                x = block(x, skips[at], skips[at].shape[2:])
            else:
                x = block(x, None, halved(sides, len(self.blocks) - 1 - at))
        return x


def halved(sides: torch.Size, times: int) -> torch.Size:
    """The sides, halved so many times."""
    return torch.Size(side // 2**times for side in sides)
