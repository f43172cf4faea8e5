"""Encoders: from an image to a pyramid of features, from fine to coarse.

Every encoder is a module with

- ``channels``: the number of features of each level, fine to coarse,
- ``reductions``: by how much each level is smaller than the input, (2, 4, 8, 16, 32) say,
- ``forward(x)``: the list of these levels for an input (B, C, i, j[, k]) whose sides divide by
  the last reduction. For (1, 1, 256, 256) and efficientnet_lite0: (1, 16, 128, 128),
  (1, 24, 64, 64), (1, 40, 32, 32), (1, 112, 16, 16) and (1, 320, 8, 8).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

from torch import Tensor, nn

from condyle.errors import UnknownName
from condyle.networks.decoders.deeplab import ASPP
from condyle.networks.layers import CONV, NORM, POOL, Norm, Spatial, conv_norm_act

with warnings.catch_warnings():  # timm 1.0.22, nnU-Net's, has code that torch 2.15 calls old
    warnings.simplefilter("ignore", FutureWarning)
    import timm
    from timm.models._features import FeatureInfo

__all__ = [
    "ATROUS",
    "ENCODERS",
    "PLAIN",
    "SCRATCH",
    "AtrousEncoder",
    "DynamicEncoder",
    "PlainEncoder",
    "TimmEncoder",
    "adapted_to_channels",
    "pretrained_encoder",
    "timm_name",
    "weights_of",
]

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
    "mobilenetv2": "mobilenetv2_100",
    "mobilenetv3": "mobilenetv3_large_100",
    "vgg16": "vgg16",
    "vgg16_bn": "vgg16_bn",
    "regnety": "regnety_008",
}
"""Our name -> timm's, for the encoders that the tests build. Any other timm name with a feature
pyramid works too."""


ATROUS = {"deeplabv3": 16, "deeplabv3_stride8": 8}
"""Encoder -> the reduction of its coarsest level: a ResNet-50 that grows holes instead of getting
smaller, and ASPP on top (Chen et al. 2017, arXiv:1706.05587), as the femur study has it."""


def weights_of(encoder: str) -> str:
    """The encoder whose pretrained weights this one takes: itself, or what it is built on."""
    return "resnet50" if encoder in ATROUS else encoder


def timm_name(encoder: str) -> str:
    """The name that timm knows an encoder by; `UnknownName` if it knows none such."""
    name = ENCODERS.get(encoder, encoder)
    if not timm.is_model(name):
        known = [*ENCODERS, *ATROUS, *SCRATCH, "or any timm model"]
        raise UnknownName("encoder", encoder, known)
    return name


class TimmEncoder(nn.Module):
    """A timm model cut down to its feature pyramid; its weights come from `networks.weights`.

    Parameters
    ----------
    encoder : a name of `ENCODERS`, or of timm.
    output_stride : the reduction of the coarsest level, 8 or 16: later stages grow holes instead
        of getting smaller, where timm can do so (VGG and DenseNet keep their 32).
    """

    def __init__(self, encoder: str, output_stride: int = 32):
        super().__init__()
        self.architecture = timm_name(encoder)
        self.model = _features_only(self.architecture, output_stride)
        info = cast(FeatureInfo, self.model.feature_info)
        self.channels: tuple[int, ...] = tuple(info.channels())
        self.reductions: tuple[int, ...] = tuple(info.reduction())
        self.pooled = self.architecture.startswith("vgg")

    def forward(self, x: Tensor) -> list[Tensor]:
        """The levels of the pyramid, fine to coarse."""
        return self.model(x)


def _features_only(architecture: str, output_stride: int) -> nn.Module:
    """The timm model without weights, of this output stride if it can have it."""
    if output_stride < 32:
        try:
            return timm.create_model(
                architecture, features_only=True, pretrained=False, output_stride=output_stride
            )
        except (AssertionError, TypeError):  # timm's ways to say that it has no such argument
            pass
    return timm.create_model(architecture, features_only=True, pretrained=False)


class AtrousEncoder(TimmEncoder):
    """A ResNet-50 of a small output stride, and ASPP of its coarsest level in that level's place.

    For an output stride of 16 and an input (1, 3, 256, 256) the levels are (1, 64, 128, 128),
    (1, 256, 64, 64), (1, 512, 32, 32), (1, 1024, 16, 16) and (1, 256, 16, 16).
    """

    def __init__(self, output_stride: int):
        super().__init__("resnet50", output_stride)
        self.aspp = ASPP(2, self.channels[-1], output_stride)
        self.channels = (*self.channels[:-1], 256)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The levels of the pyramid, fine to coarse."""
        *levels, coarsest = self.model(x)
        return [*levels, self.aspp(coarsest)]


def pretrained_encoder(encoder: str, output_stride: int = 32) -> TimmEncoder:
    """A 2D encoder that there are pretrained weights for (of `weights_of`), not yet loaded."""
    if encoder in ATROUS:
        return AtrousEncoder(ATROUS[encoder])
    return TimmEncoder(encoder, output_stride)


@dataclass(frozen=True)
class PlainSpec:
    """The widths of the stages of a plain encoder, and its norm.

    Parameters
    ----------
    channels, norm : of the stages.
    bottleneck : two more convolutions in the last stage, before the way up.
    up_kernel : width of the transposed convolutions on the way up.
    """

    channels: tuple[int, ...]
    norm: Norm
    bottleneck: bool = False
    up_kernel: int = 2


PLAIN: dict[Spatial, PlainSpec] = {
    2: PlainSpec((32, 64, 128, 256, 480), "batch"),
    3: PlainSpec((16, 32, 64, 128), "instance"),
}
"""Widths of the lower-limb study's plain U-Net in 2D; in 3D one that trains in minutes on a CPU."""
AS_DRAWN = PlainSpec((32, 64, 128, 256, 480), "batch", bottleneck=True, up_kernel=3)
"""The lower-limb study's plain U-Net to the letter: a bottleneck of two convolutions more, and
transposed convolutions 3 wide, which give twice the size (Keras' padding 'same')."""


class PlainEncoder(nn.Module):
    """Stages of two convolutions with a halving of every side between them; no pretraining."""

    def __init__(self, spatial: Spatial, in_channels: int, spec: PlainSpec | None = None):
        super().__init__()
        spec = spec or PLAIN[spatial]
        self.channels = spec.channels
        self.reductions = tuple(2**i for i in range(len(spec.channels)))
        self.norm: Norm = spec.norm
        self.up_kernel = spec.up_kernel
        widths = (in_channels, *spec.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                conv_norm_act(spatial, inputs, outputs, spec.norm),
                conv_norm_act(spatial, outputs, outputs, spec.norm),
            )
            for inputs, outputs in pairwise(widths)
        )
        if spec.bottleneck:
            deepest = spec.channels[-1]
            for _ in range(2):
                cast(nn.Sequential, self.stages[-1]).append(
                    conv_norm_act(spatial, deepest, deepest, spec.norm)
                )
        self.pool = POOL[spatial](2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """The levels of the pyramid, fine to coarse."""
        levels: list[Tensor] = []
        for stage in self.stages:
            x = stage(self.pool(x) if levels else x)
            levels.append(x)
        return levels


DYNAMIC: dict[Spatial, tuple[int, ...]] = {
    2: (32, 64, 128, 256, 320, 320),
    3: (32, 64, 128, 256, 320),
}
"""The widths of nnU-Net's stages (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z)."""
BLOCKS = (1, 3, 4, 6, 6, 6)
"""Residual blocks of its stages (Isensee et al. 2024, arXiv:2404.09556)."""


class DynamicEncoder(nn.Module):
    """nnU-Net's encoder, of dynamic-network-architectures; no pretraining.

    With the U-Net decoder it is its PlainConvUNet or ResidualEncoderUNet, two convolutions a
    stage on the way up.
    """

    def __init__(self, spatial: Spatial, in_channels: int, residual: bool):
        super().__init__()
        from dynamic_network_architectures.building_blocks.plain_conv_encoder import (
            PlainConvEncoder,
        )
        from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
        from dynamic_network_architectures.building_blocks.simple_conv_blocks import (
            ConvDropoutNormReLU,
        )

        self.channels = DYNAMIC[spatial]
        self.reductions = tuple(2**i for i in range(len(self.channels)))
        self.norm: Norm = "instance"
        self.up_kernel = 2
        stages = len(self.channels)
        rules: dict[str, Any] = {
            "conv_op": CONV[spatial],
            "kernel_sizes": 3,
            "strides": [1, *[2] * (stages - 1)],
            "norm_op": NORM["instance", spatial],
            "norm_op_kwargs": {"affine": True},
            "nonlin": nn.LeakyReLU,
            "nonlin_kwargs": {"inplace": True},
            "return_skips": True,
        }
        if residual:
            rules |= {"n_blocks_per_stage": BLOCKS[:stages]}
        else:
            rules |= {"n_conv_per_stage": 2}
        make = ResidualEncoder if residual else PlainConvEncoder
        self.model = make(in_channels, stages, self.channels, **rules)
        for block in self.model.modules():
            if isinstance(block, ConvDropoutNormReLU):
                for name in {part for part, _ in block.named_children()} - {"all_modules"}:
                    delattr(block, name)  # a second name of one of all_modules

    def forward(self, x: Tensor) -> list[Tensor]:
        """The levels of the pyramid, fine to coarse."""
        return self.model(x)


SCRATCH: dict[str, Callable[[Spatial, int], PlainEncoder | DynamicEncoder]] = {
    "plain": PlainEncoder,
    "plain_bottleneck": lambda spatial, in_channels: PlainEncoder(spatial, in_channels, AS_DRAWN),
    "nnunet": lambda spatial, in_channels: DynamicEncoder(spatial, in_channels, residual=False),
    "residual": lambda spatial, in_channels: DynamicEncoder(spatial, in_channels, residual=True),
}
"""Name -> encoder of spatial and channels of the input, for those without pretrained weights."""


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
