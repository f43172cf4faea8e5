"""2D and 3D networks: encoders pretrained on photographs, and decoders. Knows no scan."""

from condyle.networks.factory import NetworkName, SegmentationNetwork, build, inflated, names
from condyle.networks.inflation.inflate import inflate

__all__ = ["NetworkName", "SegmentationNetwork", "build", "inflate", "inflated", "names"]
