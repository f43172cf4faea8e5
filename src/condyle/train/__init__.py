"""Cases and a network in, weights out."""

from condyle.train.batches import Batches
from condyle.train.devices import fabric_for
from condyle.train.history import History, Moment
from condyle.train.loop import fit, steps_per_epoch
from condyle.train.losses import build_loss, class_weights
from condyle.train.sampling import TrainingCase

__all__ = [
    "Batches",
    "History",
    "Moment",
    "TrainingCase",
    "build_loss",
    "class_weights",
    "fabric_for",
    "fit",
    "steps_per_epoch",
]
