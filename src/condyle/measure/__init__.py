"""Labels to numbers: overlap, volume, surface distance; cases scored and summed up."""

from condyle.measure.evaluate import METRICS, Metric, failed_case, score_case, summarise
from condyle.measure.overlap import dice, iou, pixel_accuracy, precision, recall
from condyle.measure.surface import SurfaceDistances, surface_distances
from condyle.measure.volume import (
    absolute_volume_similarity,
    volume_error_cm3,
    volume_similarity,
)

__all__ = [
    "METRICS",
    "Metric",
    "SurfaceDistances",
    "absolute_volume_similarity",
    "dice",
    "failed_case",
    "iou",
    "pixel_accuracy",
    "precision",
    "recall",
    "score_case",
    "summarise",
    "surface_distances",
    "volume_error_cm3",
    "volume_similarity",
]
