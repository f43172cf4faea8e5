"""The feature pyramid network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from condyle.errors import ConfigError
from condyle.networks.layers import CONV, DROP, Decoder, Pyramid, Spatial, enlarged_to, repeated_to

__all__ = ["FPNDecoder"]


class FPNDecoder(Decoder):
    """The feature pyramid network (Kirillov et al. 2019, arXiv:1901.02446) over four levels.

    Names and shapes of its parameters are segmentation-models-pytorch's.
    """

    def __init__(self, pyramid: Pyramid):
        super().__init__()
        spatial, channels = pyramid.spatial, pyramid.channels
        if len(channels) < 4:
            raise ConfigError(
                f"an FPN combines four levels, the encoder has {len(channels)}: take a U-Net"
            )
        conv, wide, self.out_channels = CONV[spatial], 256, 128
        self.p5 = conv(channels[-1], wide, 1)
        self.p4, self.p3, self.p2 = (
            nn.ModuleDict({"skip_conv": conv(channels[-at], wide, 1)}) for at in (2, 3, 4)
        )
        self.seg_blocks = nn.ModuleList(
            FPNBranch(spatial, wide, self.out_channels, times) for times in (3, 2, 1, 1)
        )
        self.dropout = DROP[spatial](0.2, inplace=True)

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, 128, ...) of the size of the finest of the four levels."""
        sizes = [level.shape[2:] for level in reversed(levels[-4:])]
        x = self.p5(levels[-1])
        branches = [self.seg_blocks[0](x, sizes[1:])]
        for at, side in enumerate((self.p4, self.p3, self.p2), 1):
            x = repeated_to(x, sizes[at]) + side["skip_conv"](levels[-1 - at])
            branches.append(self.seg_blocks[at](x, sizes[at + 1 :]))
        return self.dropout(torch.stack(branches).sum(dim=0))


class FPNBranch(nn.Module):
    """One level of the pyramid, convolved and doubled until it has the finest one's size."""

    def __init__(self, spatial: Spatial, inputs: int, outputs: int, times: int):
        super().__init__()
        self.block = nn.ModuleList(
            nn.ModuleDict(
                {
                    "block": nn.Sequential(
                        CONV[spatial](i, outputs, 3, padding=1, bias=False),
                        nn.GroupNorm(32, outputs),
                        nn.ReLU(inplace=True),
                    )
                }
            )
            for i in [inputs, *[outputs] * (times - 1)]
        )

    def forward(self, x: Tensor, sizes: Sequence[torch.Size]) -> Tensor:
        """Features enlarged to these sizes in turn."""
        for at, layers in enumerate(self.block):
            x = layers["block"](x)  # pyright: ignore[reportIndexIssue]  ModuleDict, the list forgets
            if at < len(sizes):
                x = enlarged_to(x, sizes[at])
        return x
