"""Decoders: from a pyramid of features back towards the size of the input.

All are made in one way, `DECODERS[name](Pyramid(...))`, from what the encoder says of itself, and
called as `decoder(levels, sides)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from condyle.errors import ConfigError
from condyle.networks.atrous import DeepLabV3Decoder, DeepLabV3PlusDecoder
from condyle.networks.fcn import FCNDecoder, FCNVGGDecoder
from condyle.networks.layers import (
    CONV,
    DROP,
    UP_CONV,
    Decoder,
    Pyramid,
    Spatial,
    conv_norm_act,
    enlarged_to,
    repeated_to,
)

__all__ = ["DECODERS", "OUTPUT_STRIDE", "FPNDecoder", "UNetDecoder", "UNetPlusPlusDecoder"]


class UNetBlock(nn.Module):
    """Enlarge, join the encoder's level of that size, and convolve twice."""

    def __init__(self, pyramid: Pyramid, inputs: int, skip: int, outputs: int):
        super().__init__()
        spatial, norm, transposed = pyramid.spatial, pyramid.norm, pyramid.transposed
        self.up = UP_CONV[spatial](inputs, outputs, 2, stride=2) if transposed else None
        joined = (outputs if transposed else inputs) + skip
        self.conv1 = conv_norm_act(spatial, joined, outputs, norm)
        self.conv2 = conv_norm_act(spatial, outputs, outputs, norm)

    def forward(self, x: Tensor, skip: Tensor | None, sides: torch.Size) -> Tensor:
        """The features at `sides`, the size of the level to be joined."""
        x = repeated_to(x if self.up is None else self.up(x), sides)
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


class FPNDecoder(Decoder):
    """The feature pyramid network (Kirillov et al. 2019, arXiv:1901.02446) over four levels.

    Names and shapes of its parameters are segmentation-models-pytorch's.
    """

    def __init__(self, pyramid: Pyramid):
        super().__init__()
        spatial, channels = pyramid.spatial, pyramid.channels
        if len(channels) < 4:
            raise ConfigError(
                f"an FPN joins four levels, the encoder has {len(channels)}: take a U-Net"
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


def halved(sides: torch.Size, times: int) -> torch.Size:
    """The sides, halved so many times."""
    return torch.Size(side // 2**times for side in sides)


DECODERS: dict[str, Callable[..., Decoder]] = {
    "unet": UNetDecoder,
    "unetplusplus": UNetPlusPlusDecoder,
    "fpn": FPNDecoder,
    "deeplabv3": DeepLabV3Decoder,
    "deeplabv3plus": DeepLabV3PlusDecoder,
    "fcn32s": FCNDecoder,
    "fcn16s": partial(FCNDecoder, finer=1),
    "fcn8s": partial(FCNDecoder, finer=2),
    "fcnvgg": FCNVGGDecoder,
}
"""Name -> decoder of a `Pyramid`."""

OUTPUT_STRIDE = {"deeplabv3": 8, "deeplabv3plus": 16}
"""Decoder -> the reduction of the coarsest level it wants, of encoders that can hold it."""
