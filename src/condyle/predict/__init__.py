"""A scan and weights in, labels out."""

from condyle.predict.inference import Ensemble, Looking
from condyle.predict.segmenter import Segmenter

__all__ = ["Ensemble", "Looking", "Segmenter"]
