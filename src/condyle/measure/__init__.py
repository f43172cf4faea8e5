"""Labels to numbers: overlap, volume, surface distance; cases scored and summed up."""

from condyle.measure.agreement import agreement, disputed, look_at
from condyle.measure.anatomy import Anatomy
from condyle.measure.evaluate import METRICS, Metric, failed_case, score_case, summarise
from condyle.measure.expected import Calibration, Expected, Observation, Signs
from condyle.measure.overlap import dice, iou, pixel_accuracy, precision, recall
from condyle.measure.surface import SurfaceDistances, surface_distances
from condyle.measure.volume import (
    absolute_volume_similarity,
    volume_error_cm3,
    volume_similarity,
)

__all__ = [
    "METRICS",
    "Anatomy",
    "Calibration",
    "Expected",
    "Metric",
    "Observation",
    "Signs",
    "SurfaceDistances",
    "absolute_volume_similarity",
    "agreement",
    "dice",
    "disputed",
    "failed_case",
    "iou",
    "look_at",
    "pixel_accuracy",
    "precision",
    "recall",
    "score_case",
    "summarise",
    "surface_distances",
    "volume_error_cm3",
    "volume_similarity",
]
