"""The nested U-Net."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from condyle.networks.decoders.unet import UNetBlock, halved, unet_widths
from condyle.networks.layers import Decoder, Pyramid

__all__ = ["UNetPlusPlusDecoder"]


class UNetPlusPlusDecoder(Decoder):
    """The nested U-Net (Zhou et al. 2018, arXiv:1807.10165), as segmentation-models-pytorch has it.

    Block x_d_l starts from the d-th level from below and works at the size of the (l+1)-th: it
    joins that level and all the blocks x_d+1_l ... x_l_l. The paper counts from above: our
    x_3_3, x_2_3, x_1_3 and x_0_3 over five levels are its X0,1 ... X0,4.
    """

    def __init__(self, pyramid: Pyramid):
        super().__init__()
        self.head_kernel = 1 if pyramid.transposed else 3
        inputs, skips, outputs = unet_widths(pyramid)
        self.depth = len(pyramid.channels) - 1
        self.bare = len(skips) - self.depth
        self.out_channels = outputs[-1]
        self.node_channels = [skips[self.depth - 1]] * (self.depth - 1)
        blocks: dict[str, nn.Module] = {}
        for at in range(len(outputs)):
            start, joined = inputs[at], skips[at] * (at + 1)
            blocks[f"x_0_{at}"] = UNetBlock(pyramid, start, joined, outputs[at])
            for d in range(1, at + 1 if at < self.depth else 1):
                start, joined = skips[at - 1], skips[at] * (at + 1 - d)
                blocks[f"x_{d}_{at}"] = UNetBlock(pyramid, start, joined, skips[at])
        self.blocks = nn.ModuleDict(blocks)

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, out_channels, *sides) from the encoder's levels, fine to coarse."""
        return self.nodes(levels, sides)[-1]

    def nodes(self, levels: Sequence[Tensor], sides: torch.Size) -> list[Tensor]:
        """The features for deep supervision, `node_channels` wide, and the last ones at `sides`."""
        below = list(reversed(levels))
        x: dict[tuple[int, int], Tensor] = {}
        for at in range(self.depth):
            skip = below[at + 1]
            for d in reversed(range(at + 1)):
                start = below[d] if d == at else x[d, at - 1]
                joined = torch.cat([*[x[i, at] for i in range(d + 1, at + 1)], skip], dim=1)
                x[d, at] = self.blocks[f"x_{d}_{at}"](start, joined, skip.shape[2:])
        last = x[0, self.depth - 1]
        for left in reversed(range(self.bare)):
            at = self.depth + self.bare - 1 - left
            last = self.blocks[f"x_0_{at}"](last, None, halved(sides, left))
        return [*[x[d, self.depth - 1] for d in reversed(range(1, self.depth))], last]
