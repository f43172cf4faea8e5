"""Encoders: from an image to a pyramid of features, from fine to coarse.

Every encoder is a module with

- ``channels``: the number of features of each level, fine to coarse,
- ``reductions``: by how much each level is smaller than the input, (2, 4, 8, 16, 32) say,
- ``forward(x)``: the list of these levels for an input (B, C, i, j[, k]) whose sides divide by
  the last reduction. For (1, 1, 256, 256) and efficientnet_lite0: (1, 16, 128, 128),
  (1, 24, 64, 64), (1, 40, 32, 32), (1, 112, 16, 16) and (1, 320, 8, 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import timm
from timm.models._features import FeatureInfo
from torch import Tensor, nn

from condyle.errors import UnknownName
from condyle.networks.layers import POOL, Norm, Spatial, conv_norm_act

__all__ = ["ENCODERS", "PLAIN", "PlainEncoder", "TimmEncoder", "adapted_to_channels", "timm_name"]

ENCODERS = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "efficientnet_lite1": "tf_efficientnet_lite1",
    "efficientnet_lite2": "tf_efficientnet_lite2",
    "efficientnet_b0": "efficientnet_b0",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "seresnet50": "seresnet50",
    "densenet121": "densenet121",
    "mobilenetv3": "mobilenetv3_large_100",
    "vgg16": "vgg16",
    "vgg16_bn": "vgg16_bn",
    "regnety": "regnety_008",
}
"""Our name -> timm's, for the encoders that the tests build. Any other timm name with a feature
pyramid works too."""


def timm_name(encoder: str) -> str:
    """The name that timm knows an encoder by; `UnknownName` if it knows none such."""
    name = ENCODERS.get(encoder, encoder)
    if not timm.is_model(name):
        raise UnknownName("encoder", encoder, [*ENCODERS, "plain", "or any timm model"])
    return name


class TimmEncoder(nn.Module):
    """A timm model cut down to its feature pyramid; its weights come from `networks.weights`."""

    def __init__(self, encoder: str):
        super().__init__()
        self.architecture = timm_name(encoder)
        self.model = timm.create_model(self.architecture, features_only=True, pretrained=False)
        info = cast(FeatureInfo, self.model.feature_info)
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.reductions: tuple[int, ...] = tuple(info.reduction())

    def forward(self, x: Tensor) -> list[Tensor]:
        """The levels of the pyramid, fine to coarse."""
        return self.model(x)


@dataclass(frozen=True)
class PlainSpec:
    """The widths of the stages of a plain encoder, and its norm."""

    channels: tuple[int, ...]
    norm: Norm


PLAIN: dict[Spatial, PlainSpec] = {
    2: PlainSpec((32, 64, 128, 256, 480), "batch"),
    3: PlainSpec((16, 32, 64, 128), "instance"),
}
"""The plain U-Net of the lower-limb study in 2D; in 3D one that trains in minutes on a CPU."""


class PlainEncoder(nn.Module):
    """Stages of two convolutions with a halving of every side between them; no pretraining."""

    def __init__(self, spatial: Spatial, in_channels: int, spec: PlainSpec | None = None):
        super().__init__()
        spec = spec or PLAIN[spatial]
        self.channels = spec.channels
        self.reductions = tuple(2**i for i in range(len(spec.channels)))
        widths = (in_channels, *spec.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv_norm_act(spatial, inputs, outputs, spec.norm),
                conv_norm_act(spatial, outputs, outputs, spec.norm),
            )
            for inputs, outputs in pairwise(widths)
        )
        self.pool = POOL[spatial](2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The levels of the pyramid, fine to coarse."""
        levels: list[Tensor] = []
        for stage in self.stages:
            x = stage(self.pool(x) if levels else x)
            levels.append(x)
        return levels


def adapted_to_channels(weight: Tensor, channels: int) -> Tensor:
    """First-layer weights for photographs, (out, 3, ...), for scans of 1 or n channels.

    One channel takes the sum over the three colours: it answers to a grey picture just as the
    original does. n channels take the colours in turn, scaled by 3/n.
    """
    if weight.shape[1] == channels:
        return weight
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    turns = [c % weight.shape[1] for c in range(channels)]
    return weight[:, turns] * (weight.shape[1] / channels)


def replace_first_convolution(encoder: nn.Module, channels: int) -> None:
    """Adapt an encoder's first convolution, weights included, to the number of channels."""
    first = next(m for m in encoder.modules() if isinstance(m, nn.Conv2d))
    first.weight = nn.Parameter(adapted_to_channels(first.weight.data, channels))
    first.in_channels = channels
