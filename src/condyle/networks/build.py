"""Networks by name: `decoder-encoder`, such as unet-resnet34; `3d:` before it for volumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from condyle.errors import ConfigError, UnknownName
from condyle.networks.decoders import DECODERS, UNetDecoder
from condyle.networks.encoders import (
    ENCODERS,
    PLAIN,
    PlainEncoder,
    TimmEncoder,
    replace_first_convolution,
    timm_name,
)
from condyle.networks.layers import CONV, Spatial, padded_to
from condyle.networks.weights import Found, load_into, locate, read_state

__all__ = ["NetworkName", "SegmentationNetwork", "build", "names"]


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
        if encoder != "plain":
            timm_name(encoder)
            if spatial == 3:
                raise ConfigError(
                    f"network {name}: in 3D there is 3d:unet-plain; {encoder} works on slices, "
                    f"as {name.removeprefix('3d:')}"
                )
        return cls(spatial, decoder, encoder)

    def __str__(self) -> str:
        return f"{'3d:' if self.spatial == 3 else ''}{self.decoder}-{self.encoder}"


def names() -> list[str]:
    """The names of the networks that the tests build."""
    return [
        *[f"{d}-{e}" for d in DECODERS for e in [*ENCODERS, "plain"]],
        *[f"3d:{d}-plain" for d in DECODERS],
    ]


class SegmentationNetwork(nn.Module):
    """An encoder, a decoder and a last convolution; any input size.

    Parameters
    ----------
    encoder, decoder : of `networks.encoders` and `networks.decoders`.
    classes : background and structures together.
    """

    def __init__(self, encoder: nn.Module, decoder: UNetDecoder, classes: int, spatial: Spatial):
        super().__init__()
        self.spatial: Spatial = spatial
        self.encoder = encoder
        self.decoder = decoder
        self.segmentation_head = nn.Sequential(
            CONV[spatial](decoder.out_channels, classes, 3, padding=1)
        )
        self.multiple = int(cast(tuple[int, ...], encoder.reductions)[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, classes, i, j[, k]), before softmax, of an input (B, channels, i, j[, k])."""
        padded = padded_to(x, self.multiple)
        features = self.decoder(self.encoder(padded), padded.shape[2:])
        scores: Tensor = self.segmentation_head(features)
        return scores[(..., *[slice(0, side) for side in x.shape[2:]])]

    @property
    def memory_format(self) -> torch.memory_format:
        """The order of values in memory that convolutions are fastest with."""
        return torch.channels_last if self.spatial == 2 else torch.channels_last_3d


def build(
    name: str, in_channels: int, classes: int, weights: str = "imagenet"
) -> tuple[SegmentationNetwork, Found | None]:
    """A network and where its encoder's weights came from (None: random numbers).

    Parameters
    ----------
    name : 'unet-efficientnet_lite0', '3d:unet-plain', ...
    in_channels : channels of the scan.
    classes : background and structures together.
    weights : 'imagenet', 'none', or a file; a plain encoder has none to load.

    Raises
    ------
    UnknownName, ConfigError, WeightsError
        For a name that is in no table, and for weights that are missing or do not fit.
    """
    parts = NetworkName.parse(name)
    found: Found | None = None
    if parts.encoder == "plain":
        if weights not in ("imagenet", "none"):
            raise ConfigError(f"network {name} has no pretrained part to load {weights} into")
        spec = PLAIN[parts.spatial]
        encoder = PlainEncoder(parts.spatial, in_channels, spec)
        norm, transposed = spec.norm, True
    else:
        encoder = TimmEncoder(parts.encoder)
        if weights != "none":
            found = locate(parts.encoder, weights)
            load_into(encoder, read_state(Path(found.path)), found.path)
        replace_first_convolution(encoder, in_channels)
        norm, transposed = "batch", False
    decoder = DECODERS[parts.decoder](
        parts.spatial, encoder.channels, encoder.reductions, norm, transposed
    )
    return SegmentationNetwork(encoder, decoder, classes, parts.spatial), found
