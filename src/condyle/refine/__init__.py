"""Cleaner labels: connected parts, holes, slices, rounding."""

from condyle.refine.components import drop_small, keep_largest
from condyle.refine.holes import fill_holes
from condyle.refine.refinement import Refinement, refine, refined
from condyle.refine.slicewise import clean_slices
from condyle.refine.smooth import smoothed

__all__ = [
    "Refinement",
    "clean_slices",
    "drop_small",
    "fill_holes",
    "keep_largest",
    "refine",
    "refined",
    "smoothed",
]
