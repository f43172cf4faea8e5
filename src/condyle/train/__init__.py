"""Cases and a network in, weights out."""

from condyle.train.batches import Batches
from condyle.train.history import History, Moment
from condyle.train.loop import fit, steps_per_epoch
from condyle.train.sampling import TrainingCase

__all__ = ["Batches", "History", "Moment", "TrainingCase", "fit", "steps_per_epoch"]
