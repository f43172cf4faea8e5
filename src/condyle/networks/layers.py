"""The layers that every network is made of, written once for 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

__all__ = ["CONV", "NORM", "UP_CONV", "Norm", "Spatial", "conv_norm_act", "padded_to"]

Spatial = Literal[2, 3]
Norm = Literal["batch", "instance"]

CONV: dict[Spatial, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
UP_CONV: dict[Spatial, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
POOL: dict[Spatial, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORM: dict[tuple[Norm, Spatial], type[nn.Module]] = {
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
}


def conv_norm_act(
    spatial: Spatial, inputs: int, outputs: int, norm: Norm = "batch", stride: int = 1
) -> nn.Sequential:
    """A 3-wide convolution without bias, a norm, and a (leaky, after instance norm) ReLU."""
    conv = CONV[spatial](inputs, outputs, 3, stride=stride, padding=1, bias=False)
    normed = NORM[norm, spatial](outputs, **({"affine": True} if norm == "instance" else {}))
    act = nn.LeakyReLU(0.01, inplace=True) if norm == "instance" else nn.ReLU(inplace=True)
    return nn.Sequential(conv, normed, act)


def padded_to(x: Tensor, multiple: int | Sequence[int]) -> Tensor:
    """The tensor (B, C, i, j[, k]) with its far borders repeated to multiples of a number."""
    sides = x.shape[2:]
    steps = [multiple] * len(sides) if isinstance(multiple, int) else multiple
    missing = [-side % step for side, step in zip(sides, steps, strict=True)]
    if not any(missing):
        return x
    pads = [n for side in reversed(missing) for n in (0, side)]
    return pad(x, pads, mode="replicate")


def resized_to(x: Tensor, sides: torch.Size) -> Tensor:
    """The tensor enlarged to these sides by repeating its nearest values."""
    return x if x.shape[2:] == sides else interpolate(x, size=sides, mode="nearest")
