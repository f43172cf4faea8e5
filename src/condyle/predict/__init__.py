"""A scan and weights in, labels out."""

from condyle.predict.ensemble import Ensemble, Looking
from condyle.predict.segmenter import Segmenter

__all__ = ["Ensemble", "Looking", "Segmenter"]
