"""Where a segmenter comes from."""

from __future__ import annotations

import numpy as np

from condyle.config import Section
from condyle.predict.views import Mirroring
from condyle.prepare.fingerprint import Fingerprint

__all__ = ["Three", "TrainingRecord", "modality_of"]

CHANNELS = {"CT": "CT", "MR": "MR", "MRI": "MR", "PT": "PT", "PET": "PT", "US": "US"}
"""What data sets call a channel -> the modality as DICOM writes it."""


Three = tuple[float, float, float]


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
    modality: str = ""
    """Of its scans, as DICOM writes it: CT, MR, PT, ...; '' where that is not known."""
    hounsfield: bool | None = None
    """Whether its scans were CT in Hounsfield units; None: not known."""
    lowest: tuple[float, float] | None = None
    """From where to where the percentile 0.5 of its scans' intensities reached; None: not known."""
    highest: tuple[float, float] | None = None
    """The same of their percentile 99.5."""
    spacing: tuple[Three, Three] | None = None
    """The smallest and the largest spacing of its scans, in mm along the RAS axes; None: not
    known."""
    extent: tuple[Three, Three] | None = None
    """The smallest and the largest length of its scans, in mm along the RAS axes; None: not
    known."""
    pictures: bool | None = None
    """Whether it was trained on pictures, whose spacing is in pixels; None: not known."""
    best_epoch: int | None = None
    validation_dice: float | None = None
    stopped: str = ""
    """Why the training ended."""
    trainer: str = ""
    """Of nnU-Net: the name of its trainer."""
    dataset: str = ""
    """Of nnU-Net: the name of its data set."""

    def with_scans(self, seen: Fingerprint, channel: str) -> TrainingRecord:
        """The same record, with what the training scans were like.

        Parameters
        ----------
        seen : of the training cases.
        channel : what the data set calls the scans' first channel; it may say the modality.
        """
        said = {case.modality for case in seen.cases}
        low, _, high = zip(*(case.intensities for case in seen.cases), strict=True)
        spacings = np.array([case.spacing for case in seen.cases])
        lengths = spacings * [case.shape for case in seen.cases]
        return self.changed(
            modality=said.pop() if len(said) == 1 and all(said) else modality_of(channel),
            hounsfield=seen.is_ct,
            pictures=all(case.is_picture for case in seen.cases),
            lowest=(min(low), max(low)),
            highest=(min(high), max(high)),
            spacing=tuple(np.round((spacings.min(axis=0), spacings.max(axis=0)), 4).tolist()),
            extent=tuple(np.round((lengths.min(axis=0), lengths.max(axis=0)), 2).tolist()),
        )


def modality_of(channel: str) -> str:
    """The modality that a data set's name of a channel says: 'CT', 'MR', ...; '' where none.

    Examples
    --------
    >>> modality_of("MRI"), modality_of("image")
    ('MR', '')
    """
    return CHANNELS.get(channel.strip().upper(), "")
