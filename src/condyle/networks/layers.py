"""The layers that every network is made of, written once for 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, conv3d, interpolate, pad

__all__ = [
    "ATROUS_CONV",
    "CONV",
    "DROP",
    "GLOBAL_POOL",
    "NORM",
    "POOL",
    "UP_CONV",
    "AtrousConv2d",
    "AtrousConv3d",
    "Decoder",
    "InstanceNorm3d",
    "Norm",
    "Pyramid",
    "Spatial",
    "conv_norm_act",
    "enlarged_to",
    "fitting_rate",
    "padded_to",
    "repeated_to",
    "runs_on_one_place",
]

Spatial = Literal[2, 3]
Norm = Literal["batch", "instance"]

CONV: dict[Spatial, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
UP_CONV: dict[Spatial, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
POOL: dict[Spatial, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
GLOBAL_POOL: dict[Spatial, type[nn.AdaptiveAvgPool2d] | type[nn.AdaptiveAvgPool3d]] = {
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}
DROP: dict[Spatial, type[nn.Dropout2d] | type[nn.Dropout3d]] = {2: nn.Dropout2d, 3: nn.Dropout3d}


class InstanceNorm3d(nn.InstanceNorm3d):
    """torch's instance norm, three times as fast on a CPU where channels lie last in memory.

    torch turns such tensors round and back; its batch norm does not, and over one sample in
    training the two are the same.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The tensor (B, C, i, j, k) with mean 0 and deviation 1 in each sample and channel."""
        last = input.is_contiguous(memory_format=torch.channels_last_3d)
        if input.device.type != "cpu" or not last:
            return super().forward(input)
        scale, shift, eps = self.weight, self.bias, self.eps
        samples = [batch_norm(x, None, None, scale, shift, True, eps=eps) for x in input.split(1)]
        return samples[0] if len(samples) == 1 else torch.cat(samples)


NORM: dict[tuple[Norm, Spatial], type[nn.Module]] = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): InstanceNorm3d,
}


def fitting_rate(rate: int, widest: int, sides: Sequence[int]) -> int:
    """The rate of an atrous convolution over a level of these sides.

    A tap that lies outside the level at every place learns nothing: a rate of 18 makes of 16 x 16
    pixels a 1-wide convolution. So where the widest of the rates side by side is more than five
    ninths of the shorter side, which it is in no level of the paper (18 of 33, 36 of 65 pixels),
    all shrink in proportion.

    Examples
    --------
    >>> [fitting_rate(rate, 18, (33, 33)) for rate in (6, 12, 18)]
    [6, 12, 18]
    >>> [fitting_rate(rate, 18, (16, 16)) for rate in (6, 12, 18)]
    [3, 6, 9]
    """
    return max(round(rate * min(5 * min(sides) / (9 * widest), 1)), 1)


class AtrousConv2d(nn.Conv2d):
    """A 3-wide convolution with holes that keeps the size; the holes shrink on small levels.

    Parameters
    ----------
    inputs, outputs, groups : channels, and in how many groups they are mixed.
    rate : pixels from tap to tap; `fitting_rate` says where it is less.
    widest : the largest of the rates side by side.
    """

    def __init__(self, inputs: int, outputs: int, rate: int, widest: int, groups: int = 1):
        super().__init__(inputs, outputs, 3, padding=rate, dilation=rate, groups=groups, bias=False)
        self.widest = widest

    def forward(self, input: Tensor) -> Tensor:
        """Features (B, outputs, i, j) of the input's size."""
        rate = fitting_rate(self.dilation[0], self.widest, input.shape[2:])
        return conv2d(input, self.weight, self.bias, self.stride, rate, rate, self.groups)


class AtrousConv3d(nn.Conv3d):
    """The same over volumes (B, C, i, j, k)."""

    def __init__(self, inputs: int, outputs: int, rate: int, widest: int, groups: int = 1):
        super().__init__(inputs, outputs, 3, padding=rate, dilation=rate, groups=groups, bias=False)
        self.widest = widest

    def forward(self, input: Tensor) -> Tensor:
        """Features (B, outputs, i, j, k) of the input's size."""
        rate = fitting_rate(self.dilation[0], self.widest, input.shape[2:])
        return conv3d(input, self.weight, self.bias, self.stride, rate, rate, self.groups)


ATROUS_CONV: dict[Spatial, type[AtrousConv2d] | type[AtrousConv3d]] = {
    2: AtrousConv2d,
    3: AtrousConv3d,
}


@dataclass(frozen=True)
class Pyramid:
    """What an encoder hands to a decoder, and how the decoder is to be built over it.

    Parameters
    ----------
    channels, reductions : of each level, fine to coarse.
    norm : of the decoder's convolutions.
    transposed : enlarge by transposed convolutions (plain U-Net) or by repeating values.
    classes : background and structures together, for decoders that give scores.
    pooled : whether each level lies before a pool that leads to the next, as in VGG.
    up_kernel : width of the transposed convolutions, 2 or 3.
    """

    spatial: Spatial
    channels: Sequence[int]
    reductions: Sequence[int]
    norm: Norm = "batch"
    transposed: bool = False
    classes: int = 2
    pooled: bool = False
    up_kernel: int = 2


class Decoder(nn.Module):
    """What every decoder says of itself; `forward(levels, sides)` gives the features.

    The features may be smaller than `sides`, the size of the input: scores are enlarged linearly.
    """

    out_channels: int
    """Channels of the features."""
    head_kernel: int = 1
    """Width of the last convolution, which turns features into scores."""
    gives_scores: bool = False
    """Whether the features are scores already."""


def conv_norm_act(
    spatial: Spatial,
    inputs: int,
    outputs: int,
    norm: Norm = "batch",
    *,
    kernel: int = 3,
) -> nn.Sequential:
    """A convolution without bias, a norm, and a (leaky, after instance norm) ReLU."""
    conv = CONV[spatial](inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, *norm_act(spatial, outputs, norm))


def norm_act(spatial: Spatial, channels: int, norm: Norm) -> tuple[nn.Module, nn.Module]:
    """The norm, and the ReLU that goes with it: leaky after an instance norm."""
    if norm == "instance":
        return NORM[norm, spatial](channels, affine=True), nn.LeakyReLU(0.01, inplace=True)
    return NORM[norm, spatial](channels), nn.ReLU(inplace=True)


def runs_on_one_place(network: nn.Module) -> bool:
    """Whether a network takes what is a single place at its deepest level: instance norms fail."""
    norms = (nn.InstanceNorm2d, nn.InstanceNorm3d)
    return not any(isinstance(layer, norms) for layer in network.modules())


def padded_to(x: Tensor, multiple: int | Sequence[int], single: bool = True) -> Tensor:
    """The tensor (B, C, i, j[, k]) with its far borders repeated to multiples of a number.

    Parameters
    ----------
    x : the tensor.
    multiple : the number, or one an axis.
    single : whether one multiple along every axis will do; else the first gets two.
    """
    sides = x.shape[2:]
    steps = [multiple] * len(sides) if isinstance(multiple, int) else list(multiple)
    if not single and all(side <= step for side, step in zip(sides, steps, strict=True)):
        steps[0] *= 2
    missing = [-side % step for side, step in zip(sides, steps, strict=True)]
    if not any(missing):
        return x
    pads = [n for side in reversed(missing) for n in (0, side)]
    return pad(x, pads, mode="replicate")


def repeated_to(x: Tensor, sides: Sequence[int]) -> Tensor:
    """The tensor enlarged to these sides by repeating its nearest values."""
    return (
        x
        if tuple(x.shape[2:]) == tuple(sides)
        else interpolate(x, size=tuple(sides), mode="nearest")
    )


def enlarged_to(x: Tensor, sides: Sequence[int]) -> Tensor:
    """The tensor enlarged to these sides linearly, corners on corners."""
    if tuple(x.shape[2:]) == tuple(sides):
        return x
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    return interpolate(x, size=tuple(sides), mode=mode, align_corners=True)
