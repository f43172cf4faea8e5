"""Where a segmenter comes from."""

from __future__ import annotations

from condyle.config import Section
from condyle.predict.views import Mirroring

__all__ = ["TrainingRecord"]


class TrainingRecord(Section):
    """What a segmenter was trained on, and how well it went."""

    weights: str = ""
    """Where the first weights came from."""
    train: tuple[str, ...] = ()
    """Cases that it was fitted to."""
    validation: tuple[str, ...] = ()
    """Cases that its best weights were chosen by."""
    test: tuple[str, ...] = ()
    """Cases that were held out."""
    reach_mm: float = 0.0
    """How far the labels of a training scan reached at the most along the body; 0: not known."""
    ends_mm: float = 0.0
    """How much of each end of a bone it was trained on; 0: all slices alike."""
    mirroring: Mirroring = "all"
    """The mirror images that it was trained on; others would only mislead it."""
    best_epoch: int | None = None
    validation_dice: float | None = None
    stopped: str = ""
    """Why the training ended."""
    trainer: str = ""
    """Of nnU-Net: the name of its trainer."""
    dataset: str = ""
    """Of nnU-Net: the name of its data set."""
