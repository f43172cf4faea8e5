"""2D and 3D networks: encoders pretrained on photographs, and decoders. Knows no scan."""

from condyle.networks.build import NetworkName, SegmentationNetwork, build, names

__all__ = ["NetworkName", "SegmentationNetwork", "build", "names"]
