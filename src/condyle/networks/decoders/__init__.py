"""Decoders: from a pyramid of features back towards the size of the input. A file a paper.

All are made in one way, `DECODERS[name](Pyramid(...))`, from what the encoder says of itself, and
called as `decoder(levels, sides)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from condyle.networks.decoders.deeplab import DeepLabV3Decoder, DeepLabV3PlusDecoder
from condyle.networks.decoders.fcn import FCNDecoder, FCNVGGDecoder, NormedFCNVGGDecoder
from condyle.networks.decoders.fpn import FPNDecoder
from condyle.networks.decoders.unet import UNetDecoder
from condyle.networks.decoders.unetplusplus import UNetPlusPlusDecoder
from condyle.networks.layers import Decoder

__all__ = ["DECODERS", "OUTPUT_STRIDE"]

DECODERS: dict[str, Callable[..., Decoder]] = {
    "unet": UNetDecoder,
    "attention_unet": partial(UNetDecoder, gated=True),
    "unetplusplus": UNetPlusPlusDecoder,
    "fpn": FPNDecoder,
    "deeplabv3": DeepLabV3Decoder,
    "deeplabv3plus": DeepLabV3PlusDecoder,
    "fcn32s": FCNDecoder,
    "fcn16s": partial(FCNDecoder, finer=1),
    "fcn8s": partial(FCNDecoder, finer=2),
    "fcn8s_bilinear": partial(FCNDecoder, finer=2, learned=False),
    "fcnvgg": FCNVGGDecoder,
    "fcnvgg_normed": NormedFCNVGGDecoder,
}
"""Name -> decoder of a `Pyramid`."""

OUTPUT_STRIDE = {"deeplabv3": 8, "deeplabv3plus": 16}
"""Decoder -> the reduction of the coarsest level it wants, of encoders that can hold it."""
