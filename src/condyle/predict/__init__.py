"""A scan and weights in, labels out."""

from condyle.predict.segmenter import Segmenter

__all__ = ["Segmenter"]
