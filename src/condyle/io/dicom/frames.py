"""What a DICOM file says of its images: where each lies, and how its numbers are to be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.errors import UnreadableFile

__all__ = ["TURN", "Frame", "Header", "frames_of", "require_readable"]

Header = Any
"""A pydicom Dataset, which has no type of its own for each element."""

TURN = 1e-4
"""Direction cosines of two images may differ by this much: rounding."""

GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "TemporalPositionIndex": "FrameContentSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "EffectiveEchoTime": "MREchoSequence",
    "DiffusionBValue": "MRDiffusionSequence",
    "NominalCardiacTriggerDelayTime": "CardiacSynchronizationSequence",
}
"""Element -> the functional group that holds it in multi-frame files."""

MOMENTS = (
    "TemporalPositionIndex", "TemporalPositionIdentifier", "FrameAcquisitionNumber",
    "AcquisitionNumber", "EffectiveEchoTime", "EchoTime", "EchoNumbers", "DiffusionBValue",
    "InversionTime", "NominalCardiacTriggerDelayTime", "TriggerTime",
    "NominalPercentageOfCardiacPhase", "AcquisitionTime", "ContentTime",
)  # fmt: skip
"""What may part the volumes of a series that shows one place several times, in this order."""

NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")

REFUSED: tuple[tuple[Callable[[Header], bool], str], ...] = (
    (lambda h: "MOSAIC" in (h.get("ImageType") or ()), "is a mosaic: convert it with dcm2niix"),
    (
        lambda h: (
            int(h.get("SamplesPerPixel", 1)) != 1
            or h.get("PhotometricInterpretation") == "PALETTE COLOR"
        ),
        "is in colour: a scan is grey",
    ),
    (
        lambda h: h.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"),
        "does not say whether high numbers are bright (PhotometricInterpretation): export it again",
    ),
    (
        lambda h: "ModalityLUTSequence" in h,
        "maps its voxels through a table (Modality LUT): export it with a rescale slope",
    ),
    (
        lambda h: int(h.HighBit) != int(h.BitsStored) - 1 or int(h.BitsStored) > h.BitsAllocated,
        "keeps its numbers in odd bits (HighBit, BitsStored): export it again",
    ),
)
"""What is not read, and why; asked in this order."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: a file's only one, or one of a multi-frame file's.

    Parameters
    ----------
    file, index : where its pixels are.
    header : the elements of its file.
    group : its own functional groups, then those of all frames of its file.
    """

    file: Path
    index: int
    header: Header
    group: tuple[Header, ...] = ()

    def get(self, name: str) -> Any:
        """The value of an element, from wherever this file keeps it; None if it has none."""
        for groups in self.group:
            sequence = groups.get(GROUPS.get(name, ""))
            if sequence and sequence[0].get(name) is not None:
                return sequence[0].get(name)
        return self.header.get(name)

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """The elements that it takes to know where it lies, and that are not there."""
        return tuple(name for name in NEEDED if self.get(name) is None)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.header.Rows), int(self.header.Columns)

    @cached_property
    def position(self) -> NDArray[np.float64]:
        """LPS mm, (3,), of the centre of the first pixel."""
        return self._numbers("ImagePositionPatient", 3)

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """Where a row runs, then where a column runs: cosines, (6,)."""
        return self._numbers("ImageOrientationPatient", 6)

    @cached_property
    def normal(self) -> NDArray[np.float64]:
        """The direction, (3,), at right angles to the image."""
        return np.cross(self.directions[:3], self.directions[3:])

    @cached_property
    def pixel(self) -> NDArray[np.float64]:
        """Millimetres, (2,): between rows, then between columns."""
        return self._numbers("PixelSpacing", 2)

    @cached_property
    def thickness(self) -> float:
        """Millimetres from slice to slice, as the header has it; 0 if it does not say."""
        return float(self.get("SpacingBetweenSlices") or self.get("SliceThickness") or 0)

    @cached_property
    def rescale(self) -> tuple[float, float]:
        """Slope and intercept from stored numbers to values; they turn MONOCHROME1 round."""
        slope = self.get("RescaleSlope")
        inter = self.get("RescaleIntercept")
        a = 1.0 if slope is None else float(slope)
        b = 0.0 if inter is None else float(inter)
        if self.is_inverted:
            top = (
                -1.0 if self.header.PixelRepresentation else 2.0 ** int(self.header.BitsStored) - 1
            )
            a, b = -a, a * top + b
        return a, b

    @property
    def is_inverted(self) -> bool:
        """Whether its low numbers are bright."""
        return self.header.get("PhotometricInterpretation") == "MONOCHROME1"

    def _numbers(self, name: str, count: int) -> NDArray[np.float64]:
        values = np.atleast_1d(np.asarray(self.get(name), dtype=np.float64))
        if values.shape != (count,) or not np.isfinite(values).all():
            raise UnreadableFile(f"{self.file} has a {name} that is not {count} numbers")
        return values


def frames_of(file: Path, header: Header) -> list[Frame]:
    """The images of a file, in its order."""
    count = int(header.get("NumberOfFrames") or 1)
    own = header.get("PerFrameFunctionalGroupsSequence")
    shared = tuple(header.get("SharedFunctionalGroupsSequence") or ())[:1]
    if own is not None and len(own) == count:
        return [Frame(file, n, header, (own[n], *shared)) for n in range(count)]
    if count > 1 and "ImagePositionPatient" in header:
        raise UnreadableFile(_unplaced(file, count))
    return [Frame(file, 0, header, shared)]


def require_readable(frame: Frame) -> None:
    """Raise unless the numbers of an image can be read rightly, and its place is known."""
    for wrong, why in REFUSED:
        if wrong(frame.header):
            raise UnreadableFile(f"{frame.file} {why}")
    if frame.header.get("Modality") == "CT" and frame.get("RescaleSlope") is None:
        raise UnreadableFile(
            f"{frame.file} is CT without a rescale slope, so its Hounsfield units are unknown: "
            "export it again"
        )
    if not np.isfinite(frame.rescale).all() or frame.rescale[0] == 0:
        raise UnreadableFile(f"{frame.file} scales its voxels by {frame.rescale}: export it again")
    count = int(frame.header.get("NumberOfFrames") or 1)
    if frame.missing and count > 1 and not frame.group:
        raise UnreadableFile(_unplaced(frame.file, count))
    if frame.missing:
        raise UnreadableFile(
            f"{frame.file} does not say where it lies (no {', '.join(frame.missing)})"
        )


def _unplaced(file: Path, count: int) -> str:
    return (
        f"{file} holds {count} frames and does not say where each lies: export its slices as "
        "single files, or as enhanced DICOM"
    )
