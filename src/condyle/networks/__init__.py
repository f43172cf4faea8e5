"""2D and 3D networks: encoders pretrained on photographs, and decoders. Knows no scan."""

from condyle.networks.factory import (
    NetworkName,
    PredictionNetwork,
    SegmentationNetwork,
    build,
    inflated,
    names,
)
from condyle.networks.inflation.inflate import inflate

__all__ = [
    "NetworkName",
    "PredictionNetwork",
    "SegmentationNetwork",
    "build",
    "inflate",
    "inflated",
    "names",
]
