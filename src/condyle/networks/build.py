"""Networks by name: `decoder-encoder`, such as unet-resnet34; `3d:` before it for volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from condyle.config import Inflation
from condyle.errors import ConfigError, UnknownName
from condyle.networks.decoders import DECODERS, OUTPUT_STRIDE, UNetPlusPlusDecoder
from condyle.networks.encoders import (
    ATROUS,
    ENCODERS,
    SCRATCH,
    pretrained_encoder,
    replace_first_convolution,
    timm_name,
    weights_of,
)
from condyle.networks.inflate import inflate
from condyle.networks.layers import CONV, Decoder, Spatial, enlarged_to, padded_to
from condyle.networks.weights import Found, load_into, locate, read_state

__all__ = ["NetworkName", "SegmentationNetwork", "build", "inflated", "names"]


BY_AVERAGE = Inflation()


@dataclass(frozen=True)
class NetworkName:
    """The parts of a network's name.

    Examples
    --------
    >>> NetworkName.parse("3d:unet-plain")
    NetworkName(spatial=3, decoder='unet', encoder='plain')
    """

    spatial: Spatial
    decoder: str
    encoder: str

    @classmethod
    def parse(cls, name: str) -> NetworkName:
        """The parts of 'unet-resnet34' or '3d:unet-plain'; what is unknown is named."""
        spatial: Spatial = 3 if name.startswith("3d:") else 2
        decoder, dash, encoder = name.removeprefix("3d:").partition("-")
        if not dash or decoder not in DECODERS:
            raise UnknownName("network", name, names())
        if encoder not in SCRATCH:
            timm_name(weights_of(encoder))
        return cls(spatial, decoder, encoder)

    def __str__(self) -> str:
        return f"{'3d:' if self.spatial == 3 else ''}{self.decoder}-{self.encoder}"


USUAL = ["resnet34", "resnet50", "mobilenetv3", "efficientnet_lite0"]
LISTED: dict[str, list[str]] = {
    "unet": [*ENCODERS, *ATROUS, *SCRATCH],
    "unetplusplus": [*ENCODERS, *ATROUS, *SCRATCH],
    "fpn": [*USUAL, "vgg16", "densenet121"],
    "deeplabv3": USUAL,
    "deeplabv3plus": USUAL,
    "fcn32s": ["vgg16", "resnet50"],
    "fcn16s": ["vgg16", "resnet50"],
    "fcn8s": ["vgg16", "resnet50"],
    "fcnvgg": ["vgg16", "vgg16_bn"],
}
"""Decoder -> the encoders that the tests build it over; it goes over any other as well."""


def names() -> list[str]:
    """The names of the networks that the tests build."""
    flat = [f"{decoder}-{encoder}" for decoder, over in LISTED.items() for encoder in over]
    return [*flat, *[f"3d:{name}" for name in flat]]


class SegmentationNetwork(nn.Module):
    """An encoder, a decoder and a last convolution; any input size.

    Parameters
    ----------
    encoder, decoder : of `networks.encoders` and `networks.decoders`.
    classes : background and structures together.
    deep_supervision : give the scores of a U-Net++'s inner nodes too, while it is in training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Decoder,
        classes: int,
        spatial: Spatial,
        deep_supervision: bool = False,
    ):
        super().__init__()
        self.spatial: Spatial = spatial
        self.encoder = encoder
        self.decoder = decoder
        conv, kernel = CONV[spatial], decoder.head_kernel
        self.segmentation_head = nn.Sequential(
            conv(decoder.out_channels, classes, kernel, padding=kernel // 2)
        )
        self.supervision = None
        if deep_supervision:
            if not isinstance(decoder, UNetPlusPlusDecoder):
                raise ConfigError("deep_supervision is for networks with the decoder unetplusplus")
            self.supervision = nn.ModuleList(conv(c, classes, 1) for c in decoder.node_channels)
        self.multiple: int | tuple[int, ...] = int(cast(tuple[int, ...], encoder.reductions)[-1])
        norms = (nn.InstanceNorm2d, nn.InstanceNorm3d)  # they fail on a level of a single place
        self.single = not any(isinstance(layer, norms) for layer in self.modules())

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Scores (B, classes, i, j[, k]), before softmax, of an input (B, channels, i, j[, k]).

        Under deep supervision and in training: the last scores, and those of the inner nodes.
        """
        padded = padded_to(x, self.multiple, self.single)
        sides, levels = padded.shape[2:], self.encoder(padded)

        def scored(head: nn.Module, features: Tensor) -> Tensor:
            scores = enlarged_to(head(features), sides)
            return scores[(..., *[slice(0, side) for side in x.shape[2:]])]

        if self.supervision is None or not self.training:
            return scored(self.segmentation_head, self.decoder(levels, sides))
        *nodes, last = cast(UNetPlusPlusDecoder, self.decoder).nodes(levels, sides)
        inner = [scored(head, node) for head, node in zip(self.supervision, nodes, strict=True)]
        return (scored(self.segmentation_head, last), *inner)

    def drop_supervision(self) -> None:
        """Drop the inner scores, which only training needs."""
        self.supervision = None

    @property
    def memory_format(self) -> torch.memory_format:
        """The order of values in memory that convolutions are fastest with."""
        return torch.channels_last if self.spatial == 2 else torch.channels_last_3d


def build(
    name: str,
    in_channels: int,
    classes: int,
    weights: str = "imagenet",
    deep_supervision: bool = False,
    inflation: Inflation = BY_AVERAGE,
) -> tuple[SegmentationNetwork, Found | None]:
    """A network and where its encoder's weights came from (None: random numbers).

    A 3D network over a pretrained encoder is the 2D network of the same name, inflated.

    Parameters
    ----------
    name : 'unet-efficientnet_lite0', '3d:unet-plain', ...
    in_channels : channels of the scan.
    classes : background and structures together.
    weights : 'imagenet', 'none', or a file; an encoder made from scratch has none to load.
    deep_supervision : also score the inner nodes of a U-Net++ in training.
    inflation : how a pretrained encoder becomes 3D.

    Raises
    ------
    UnknownName, ConfigError, WeightsError
        For a name that is in no table, and for weights that are missing or do not fit.
    """
    parts = NetworkName.parse(name)
    make, found = DECODERS[parts.decoder], None
    if parts.encoder in SCRATCH:
        if weights not in ("imagenet", "none"):
            raise ConfigError(f"network {name} has no pretrained part to load {weights} into")
        encoder = SCRATCH[parts.encoder](parts.spatial, in_channels)
        rules = {"norm": encoder.norm, "transposed": True}
    else:
        encoder = pretrained_encoder(parts.encoder, OUTPUT_STRIDE.get(parts.decoder, 32))
        if weights != "none":
            found = locate(weights_of(parts.encoder), weights)
            load_into(encoder, read_state(Path(found.path)), found.path)
        replace_first_convolution(encoder, in_channels)
        rules = {"norm": "batch", "transposed": False}
    flat = parts.encoder not in SCRATCH
    spatial: Spatial = 2 if flat else parts.spatial
    decoder = make(spatial, encoder.channels, encoder.reductions, **rules)
    network = SegmentationNetwork(encoder, decoder, classes, spatial, deep_supervision)
    if flat and parts.spatial == 3:
        network = inflated(network, inflation)
        _start_anew(network.decoder, network.segmentation_head, network.supervision)
    return network, found


def inflated(network: SegmentationNetwork, inflation: Inflation) -> SegmentationNetwork:
    """A 2D network in 3D with all its weights: what it learnt on slices it knows in volumes."""
    example = next(network.parameters()).new_zeros(1, _channels(network), 64, 64)
    deep = inflate(
        network,
        inflation.strategy,
        inflation.depth if isinstance(inflation.depth, int) else list(inflation.depth),
        inflation.axis,
        alphas=inflation.alphas,
        keep_depth=inflation.keep_depth,
        example=example,
    )
    assert isinstance(deep, SegmentationNetwork)
    plane = cast(int, network.multiple)
    kept = inflation.keep_depth
    sides = [plane, plane]
    sides.insert(inflation.axis - 2, 1 if kept == "all" else max(plane >> kept, 1))
    deep.multiple = tuple(sides)
    return deep


def _channels(network: nn.Module) -> int:
    """Channels of the scans that a 2D network sees."""
    return next(m for m in network.modules() if isinstance(m, nn.Conv2d)).in_channels


def _start_anew(*parts: nn.Module | None) -> None:
    """Random numbers for convolutions that were inflated from random numbers, slice by slice."""
    for module in (m for part in parts if part is not None for m in part.modules()):
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.reset_parameters()
