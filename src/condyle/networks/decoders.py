"""Decoders: from a pyramid of features back to the size of the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from condyle.networks.layers import UP_CONV, Norm, Spatial, conv_norm_act, resized_to

__all__ = ["DECODERS", "UNetDecoder"]


class UNetBlock(nn.Module):
    """Enlarge, join the encoder's level of that size, and convolve twice."""

    def __init__(
        self, spatial: Spatial, inputs: int, skip: int, outputs: int, norm: Norm, transposed: bool
    ):
        super().__init__()
        self.up = UP_CONV[spatial](inputs, outputs, 2, stride=2) if transposed else None
        joined = (outputs if transposed else inputs) + skip
        self.conv1 = conv_norm_act(spatial, joined, outputs, norm)
        self.conv2 = conv_norm_act(spatial, outputs, outputs, norm)

    def forward(self, x: Tensor, skip: Tensor | None, sides: torch.Size) -> Tensor:
        """The features at `sides`, the size of the level to be joined."""
        x = resized_to(x if self.up is None else self.up(x), sides)
        return self.conv2(self.conv1(x if skip is None else torch.cat([x, skip], dim=1)))


class UNetDecoder(nn.Module):
    """The U-Net's way up (Ronneberger et al. 2015, arXiv:1505.04597).

    Over a pretrained encoder its parameters carry the names and shapes of
    segmentation-models-pytorch's, so that weights can be exchanged.

    Parameters
    ----------
    spatial : 2 or 3.
    channels, reductions : the encoder's.
    norm : of the convolutions.
    transposed : enlarge by transposed convolutions (plain U-Net) or by repeating values.
    """

    def __init__(
        self,
        spatial: Spatial,
        channels: Sequence[int],
        reductions: Sequence[int],
        norm: Norm = "batch",
        transposed: bool = False,
    ):
        super().__init__()
        bare = int(math.log2(reductions[0]))  # levels above the encoder's finest: nothing to join
        skips = [*reversed(channels[:-1]), *[0] * bare]
        if transposed:
            outputs = [*reversed(channels[:-1])] + [channels[0]] * bare
        else:
            outputs = [16 * 2**i for i in reversed(range(len(skips)))]
        inputs = [channels[-1], *outputs]
        self.out_channels = outputs[-1]
        self.blocks = nn.ModuleList(
            UNetBlock(spatial, i, s, o, norm, transposed)
            for i, s, o in zip(inputs, skips, outputs, strict=False)
        )

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, out_channels, *sides) from the encoder's levels, fine to coarse."""
        x, *skips = reversed(levels)
        for at, block in enumerate(self.blocks):
            if at < len(skips):
                x = block(x, skips[at], skips[at].shape[2:])
            else:
                left = 2 ** (len(self.blocks) - 1 - at)
                x = block(x, None, torch.Size(side // left for side in sides))
        return x


DECODERS = {"unet": UNetDecoder}
