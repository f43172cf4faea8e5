"""Atrous spatial pyramid pooling, and the DeepLab decoders made of it.

Over slices the parameters carry the names and shapes of segmentation-models-pytorch's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from condyle.networks.layers import (
    ATROUS_CONV,
    CONV,
    GLOBAL_POOL,
    Decoder,
    Norm,
    Pyramid,
    Spatial,
    conv_norm_act,
    enlarged_to,
    norm_act,
)

__all__ = ["ASPP", "DeepLabV3Decoder", "DeepLabV3PlusDecoder"]

CHANNELS = 256


def rates_at(spatial: Spatial, reduction: int) -> tuple[int, int, int]:
    """Pixels between the taps of the three atrous convolutions over a level of this reduction.

    Chen et al. 2017: 6, 12 and 18 at an output stride of 16, twice that at 8; so half of that at
    32. Blocks of volumes are a quarter as wide as slices.

    Examples
    --------
    >>> rates_at(2, 16), rates_at(2, 8)
    ((6, 12, 18), (12, 24, 36))
    """
    first = max(96 // reduction, 1) if spatial == 2 else 3
    return first, 2 * first, 3 * first


class ASPP(nn.Module):
    """One level seen at five widths at once: 256 channels of its size.

    Atrous spatial pyramid pooling (Chen et al. 2017, arXiv:1706.05587): a 1-wide convolution,
    three 3-wide ones with holes, and the mean of the whole level. On levels smaller than the
    paper's the holes shrink with the level (`layers.AtrousConv2d`).

    Parameters
    ----------
    spatial : 2 or 3.
    inputs : channels of the level.
    reduction : by how much the level is smaller than the input, which decides the rates.
    norm : of the convolutions.
    separable : each channel by itself, then all together (DeepLabV3+): fewer parameters.
    """

    def __init__(
        self,
        spatial: Spatial,
        inputs: int,
        reduction: int,
        norm: Norm = "batch",
        separable: bool = False,
    ):
        super().__init__()
        atrous = separable_norm_act if separable else atrous_norm_act
        rates = rates_at(spatial, reduction)
        self.convs = nn.ModuleList(
            [
                conv_norm_act(spatial, inputs, CHANNELS, norm, kernel=1),
                *[atrous(spatial, inputs, CHANNELS, norm, (r, rates[-1])) for r in rates],
                WholeLevel(spatial, inputs, norm),
            ]
        )
        self.project = nn.Sequential(
            *conv_norm_act(spatial, 5 * CHANNELS, CHANNELS, norm, kernel=1), nn.Dropout(0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, 256, ...) of the level's size."""
        return self.project(torch.cat([conv(x) for conv in self.convs], dim=1))


class WholeLevel(nn.Sequential):
    """The mean of each channel, mixed by a convolution, at every place of the level.

    A single sample has no batch statistics: it is normed by the running ones. An instance norm of
    single values would give nothing, so there a bias stands for it.
    """

    def __init__(self, spatial: Spatial, inputs: int, norm: Norm):
        alone = norm == "instance"
        normed = nn.Identity() if alone else norm_act(spatial, CHANNELS, norm)[0]
        conv = CONV[spatial](inputs, CHANNELS, 1, bias=alone)
        super().__init__(GLOBAL_POOL[spatial](1), conv, normed, nn.ReLU(inplace=True))

    def forward(self, input: Tensor) -> Tensor:
        """Features (B, 256, ...) of the level's size, the same everywhere."""
        pool, conv, norm, act = self
        x = conv(pool(input))
        if len(x) == 1 and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
            x = batch_norm(
                x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
        else:
            x = norm(x)
        return act(x).expand(-1, -1, *input.shape[2:])


def atrous_norm_act(
    spatial: Spatial, inputs: int, outputs: int, norm: Norm, rates: tuple[int, int]
) -> nn.Sequential:
    """A 3-wide convolution with holes, a norm and a ReLU; its rate, and the widest beside it."""
    conv = ATROUS_CONV[spatial](inputs, outputs, *rates)
    return nn.Sequential(conv, *norm_act(spatial, outputs, norm))


def separable_norm_act(
    spatial: Spatial, inputs: int, outputs: int, norm: Norm, rates: tuple[int, int] | None = None
) -> nn.Sequential:
    """A 3-wide convolution of each channel, a 1-wide one of all, a norm and a ReLU."""
    if rates:
        alone = ATROUS_CONV[spatial](inputs, inputs, *rates, groups=inputs)
    else:
        alone = CONV[spatial](inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    together = CONV[spatial](inputs, outputs, 1, bias=False)
    return nn.Sequential(nn.Sequential(alone, together), *norm_act(spatial, outputs, norm))


class DeepLabV3Decoder(Decoder):
    """ASPP over the coarsest level, and one convolution: torchvision's head (arXiv:1706.05587)."""

    def __init__(self, pyramid: Pyramid):
        super().__init__()
        spatial, channels, norm = pyramid.spatial, pyramid.channels, pyramid.norm
        self.out_channels = CHANNELS
        self.aspp = ASPP(spatial, channels[-1], pyramid.reductions[-1], norm)
        self.conv = CONV[spatial](CHANNELS, CHANNELS, 3, padding=1, bias=False)
        self.bn, self.relu = norm_act(spatial, CHANNELS, norm)

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, 256, ...) of the coarsest level's size."""
        return self.relu(self.bn(self.conv(self.aspp(levels[-1]))))


class DeepLabV3PlusDecoder(Decoder):
    """Separable ASPP over the coarsest level, joined with the level of reduction 4.

    Chen et al. 2018, arXiv:1802.02611.
    """

    def __init__(self, pyramid: Pyramid):
        super().__init__()
        spatial, norm = pyramid.spatial, pyramid.norm
        channels, reductions = pyramid.channels, pyramid.reductions
        self.out_channels, fine = CHANNELS, 48
        self.fine = next(at for at, reduction in enumerate(reductions) if reduction >= 4)
        self.aspp = nn.Sequential(
            ASPP(spatial, channels[-1], reductions[-1], norm, separable=True),
            *separable_norm_act(spatial, CHANNELS, CHANNELS, norm),
        )
        self.block1 = conv_norm_act(spatial, channels[self.fine], fine, norm, kernel=1)
        self.block2 = separable_norm_act(spatial, fine + CHANNELS, CHANNELS, norm)

    def forward(self, levels: Sequence[Tensor], sides: torch.Size) -> Tensor:
        """Features (B, 256, ...) of the size of the level of reduction 4."""
        fine = self.block1(levels[self.fine])
        coarse = enlarged_to(self.aspp(levels[-1]), fine.shape[2:])
        return self.block2(torch.cat([coarse, fine], dim=1))
