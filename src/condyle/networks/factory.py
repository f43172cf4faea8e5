"""Networks by name: `decoder-encoder`, such as unet-resnet34; `3d:` before it for volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from condyle.config import Inflation
from condyle.errors import ConfigError, UnknownName
from condyle.jobs.job import note
from condyle.networks.decoders import DECODERS, OUTPUT_STRIDE
from condyle.networks.decoders.fcn import Enlarging
from condyle.networks.decoders.unetplusplus import UNetPlusPlusDecoder
from condyle.networks.encoders import (
    ATROUS,
    ENCODERS,
    SCRATCH,
    TimmEncoder,
    pretrained_encoder,
    replace_first_convolution,
    timm_name,
    weights_of,
)
from condyle.networks.inflation.inflate import inflate
from condyle.networks.layers import (
    CONV,
    Decoder,
    Pyramid,
    Spatial,
    enlarged_to,
    padded_to,
    runs_on_one_place,
)
from condyle.networks.seeds import in_turn
from condyle.networks.weights.load import holds_network, load_into, load_network, read_state
from condyle.networks.weights.locate import Found, locate
from condyle.networks.weights.volumetric import holds_volumes, load_deep

__all__ = ["NetworkName", "PredictionNetwork", "SegmentationNetwork", "build", "inflated", "names"]


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

    @property
    def is_inflated(self) -> bool:
        """Whether it is a 2D network made 3D, and not one that was 3D from the start."""
        return self.spatial == 3 and self.encoder not in SCRATCH

    def __str__(self) -> str:
        return f"{'3d:' if self.spatial == 3 else ''}{self.decoder}-{self.encoder}"


USUAL = ["resnet34", "resnet50", "mobilenetv3", "efficientnet_lite0"]
LISTED: dict[str, list[str]] = {
    "unet": [*ENCODERS, *ATROUS, *SCRATCH],
    "unetplusplus": [*ENCODERS, *ATROUS, *SCRATCH],
    "fpn": [*USUAL, "vgg16", "densenet121"],
    "deeplabv3": USUAL,
    "deeplabv3plus": USUAL,
    "attention_unet": ["resnet34", "mobilenetv3", "deeplabv3", "plain"],
    "fcn32s": ["vgg16", "resnet50"],
    "fcn16s": ["vgg16", "resnet50"],
    "fcn8s": ["vgg16", "resnet50"],
    "fcn8s_bilinear": ["vgg16"],
    "fcnvgg": ["vgg16"],
    "fcnvgg_normed": ["vgg16", "vgg16_bn"],
}
"""Decoder -> the encoders that the tests build it over; it goes over any other as well."""


def names() -> list[str]:
    """The names of the networks that the tests build."""
    flat = [f"{decoder}-{encoder}" for decoder, over in LISTED.items() for encoder in over]
    return [*flat, *[f"3d:{name}" for name in flat]]


class PredictionNetwork(nn.Module):
    """What prediction needs of a network, whoever made it: scores of slices or of volumes.

    Attributes
    ----------
    spatial : 2 for slices, 3 for volumes.
    multiple : what the sides of an input are padded to multiples of, one for all or one a side.
    single : whether it runs on an input that its deepest layers see as one place.
    """

    spatial: Spatial
    multiple: int | tuple[int, ...]
    single: bool

    @property
    def channels(self) -> int:
        """Channels of the scans that it gets."""
        raise NotImplementedError

    @property
    def classes(self) -> int:
        """Background and structures together."""
        raise NotImplementedError

    @property
    def memory_format(self) -> torch.memory_format:
        """The order of values in memory that convolutions are fastest with."""
        return torch.channels_last if self.spatial == 2 else torch.channels_last_3d


class SegmentationNetwork(PredictionNetwork):
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
        self.spatial = spatial
        self.encoder = encoder
        self.decoder = decoder
        conv, kernel = CONV[spatial], decoder.head_kernel
        self.segmentation_head = nn.Sequential()
        if not decoder.gives_scores:
            head = conv(decoder.out_channels, classes, kernel, padding=kernel // 2)
            self.segmentation_head.append(head)
        self.supervision = None
        if deep_supervision:
            if not isinstance(decoder, UNetPlusPlusDecoder):
                raise ConfigError("deep_supervision is for networks with the decoder unetplusplus")
            self.supervision = nn.ModuleList(conv(c, classes, 1) for c in decoder.node_channels)
        self.multiple = int(cast(tuple[int, ...], encoder.reductions)[-1])
        self.single = runs_on_one_place(self)

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
    def channels(self) -> int:
        """Channels of the scans that it gets."""
        kinds = (nn.Conv2d, nn.Conv3d)
        return next(m for m in self.modules() if isinstance(m, kinds)).in_channels

    @property
    def classes(self) -> int:
        """Background and structures together."""
        if not len(self.segmentation_head):
            return self.decoder.out_channels
        return cast(nn.Conv3d, self.segmentation_head[0]).out_channels


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
    weights : 'imagenet', 'none', a file, or the folder of an earlier run, whose decoder is taken
        too where it fits: so a 3D network starts from the weights of the 2D one.
    deep_supervision : also score the inner nodes of a U-Net++ in training.
    inflation : how a pretrained encoder becomes 3D.

    Raises
    ------
    UnknownName, ConfigError, WeightsError
        For a name that is in no table, and for weights that are missing or do not fit.
    """
    parts = NetworkName.parse(name)
    found, state = None, dict[str, Tensor]()
    if weights != "none" and (parts.encoder not in SCRATCH or weights != "imagenet"):
        found = locate(parts.encoder, weights)
        state = read_state(found.path)
    volumes = holds_volumes(state)
    flat = parts.encoder not in SCRATCH
    if volumes and parts.spatial == 2:
        raise ConfigError(f"{weights} holds weights of a 3D network: take `network` 3d:{name}")
    spatial: Spatial = 2 if flat else parts.spatial
    with in_turn():
        network = _made(parts, spatial, in_channels, classes, deep_supervision)
        anew = True
        if found and not volumes:
            anew = _take(network, state, found)
        if flat and parts.spatial == 3:
            network = inflated(network, inflation)
            if anew:
                _start_anew(network.decoder, network.segmentation_head, network.supervision)
            if not found:
                _start_anew(network.encoder)
    if found and volumes:
        _take(network, state, found)
    return network, found


def _made(
    parts: NetworkName, spatial: Spatial, in_channels: int, classes: int, deep_supervision: bool
) -> SegmentationNetwork:
    """The network with random weights."""
    if parts.encoder in SCRATCH:
        encoder = SCRATCH[parts.encoder](spatial, in_channels)
        pyramid = Pyramid(
            spatial, encoder.channels, encoder.reductions, encoder.norm, True, classes,
            up_kernel=encoder.up_kernel,
        )  # fmt: skip
    else:
        encoder = pretrained_encoder(parts.encoder, OUTPUT_STRIDE.get(parts.decoder, 32))
        replace_first_convolution(encoder, in_channels)
        pyramid = Pyramid(
            spatial, encoder.channels, encoder.reductions, classes=classes, pooled=encoder.pooled
        )
    decoder = DECODERS[parts.decoder](pyramid)
    return SegmentationNetwork(encoder, decoder, classes, spatial, deep_supervision)


def _take(network: SegmentationNetwork, state: Mapping[str, Tensor], found: Found) -> bool:
    """Put weights into a network; whether its decoder starts from random numbers all the same."""
    encoder = network.encoder
    if holds_network(state):
        report = load_network(network, state, found.path)
        note(f"{found.path}: {report}")
        return any(f.outcome == "left" and f.tensor.startswith("decoder.") for f in report.tensors)
    if not isinstance(encoder, TimmEncoder):
        raise ConfigError(f"{found.path} holds an encoder that was pretrained; this one is not")
    if network.spatial == 2:
        load_into(encoder, state, found.path)
    else:
        note(f"{found.path}: {load_deep(encoder, state, found.path)}")
    return True


def inflated(network: SegmentationNetwork, inflation: Inflation) -> SegmentationNetwork:
    """A 2D network in 3D with all its weights."""
    example = next(network.parameters()).new_zeros(1, network.channels, 64, 64)
    deep = inflate(
        network,
        inflation.strategy,
        inflation.depth if isinstance(inflation.depth, int) else list(inflation.depth),
        inflation.axis,
        alphas=inflation.alphas,
        keep_depth=inflation.keep_depth or 0,
        example=example,
    )
    assert isinstance(deep, SegmentationNetwork)
    plane = cast(int, network.multiple)
    kept = inflation.keep_depth or 0
    sides = [plane, plane]
    sides.insert(inflation.axis - 2, 1 if kept == "all" else max(plane >> kept, 1))
    deep.multiple = tuple(sides)
    return deep


def _start_anew(*parts: nn.Module | None) -> None:
    """Random numbers for convolutions that were inflated from random numbers, slice by slice.

    What starts as linear interpolation is none of them.
    """
    every = [m for part in parts if part is not None for m in part.modules()]
    linear = {id(m) for module in every if isinstance(module, Enlarging) for m in module}
    for module in every:
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and id(module) not in linear:
            module.reset_parameters()
