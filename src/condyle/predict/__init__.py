"""A scan and weights in, labels out."""

from condyle.predict.ensemble import Ensemble, Member
from condyle.predict.inference import Prediction, Predictor
from condyle.predict.nnunet import NnunetPreprocessing
from condyle.predict.options import InferenceOptions
from condyle.predict.recipe import RecipePreprocessing
from condyle.predict.segmenter import Segmenter
from condyle.predict.training_record import TrainingRecord

__all__ = [
    "Ensemble",
    "InferenceOptions",
    "Member",
    "NnunetPreprocessing",
    "Prediction",
    "Predictor",
    "RecipePreprocessing",
    "Segmenter",
    "TrainingRecord",
]
