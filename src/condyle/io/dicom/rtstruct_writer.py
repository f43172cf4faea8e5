"""Label maps as RTSTRUCT: contours on the slices of their scan, for planning systems."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from condyle.core import LabelMap
from condyle.core.labels import Label
from condyle.errors import LabelError, OutputError
from condyle.io.dicom.contours import outlines
from condyle.io.dicom.filing import CORNER_MM, filed, require_name, slices_of
from condyle.io.dicom.frames import Frame, Header
from condyle.io.dicom.rtstruct import MODALITY, load
from condyle.io.safety import LPS_TO_RAS
from condyle.jobs.outputs import atomic_write
from condyle.jobs.process import without_python_warnings

__all__ = ["save"]

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
SERIES_NUMBER = 301


def save(path: Path, labels: LabelMap, source: Sequence[Header]) -> Path:
    """Write a label map as RTSTRUCT, whole or not at all; gives back its path.

    A structure is a region (ROI) with its name and colour; its label number is the ROI's. Holes
    are joined to the outlines around them. The file is filed with the scan, so it carries the
    patient's and the study's identification, as DICOM-SEG does.

    Parameters
    ----------
    labels : on the grid of the source series.
    source : the headers of the images of that series; `condyle.io.scans.sources` gives them.

    Raises
    ------
    GridMismatch, GeometryError
        If the label map is not on the grid of the source, or that is not a plain series.
    LabelError
        If the label map is empty, or has a name that DICOM cannot hold.
    OutputError
        If it cannot be written.
    """
    labels.require_known("the label map")
    present = [label for label in labels.scheme.entries if label.id in labels.present()]
    if not present:
        raise LabelError(
            "no structure was found, and an RTSTRUCT needs contours: choose another format for "
            "this scan"
        )
    with without_python_warnings():  # the headers of others
        data = _built(labels, present, source)
        with atomic_write(path, lambda written: _require_equal(written, labels)) as temporary:
            data.save_as(temporary, enforce_file_format=True)
    return path


def _built(labels: LabelMap, present: Sequence[Label], source: Sequence[Header]) -> Header:
    """The data set, ready to be written."""
    from pydicom.uid import generate_uid

    first, slices = source[0], [image for _, image in slices_of(labels.grid, source, "RTSTRUCT")]
    place = first.get("FrameOfReferenceUID") or generate_uid(
        entropy_srcs=[str(first.SeriesInstanceUID)]
    )
    now = datetime.now().astimezone()
    data = _item(
        SpecificCharacterSet="ISO_IR 192", SOPClassUID=RTSTRUCT, SOPInstanceUID=generate_uid(),
        Modality=MODALITY, Manufacturer="Condyle", ManufacturerModelName="Condyle",
        SoftwareVersions=version("condyle"), SeriesDescription="Condyle segmentation",
        StudyInstanceUID=first.StudyInstanceUID, SeriesInstanceUID=generate_uid(),
        SeriesNumber=SERIES_NUMBER + (first.get("SeriesNumber") == SERIES_NUMBER),
        InstanceNumber=1, StructureSetLabel="SEGMENTATION", OperatorsName="",
        StructureSetDate=now.strftime("%Y%m%d"), StructureSetTime=now.strftime("%H%M%S"),
        FrameOfReferenceUID=place, PositionReferenceIndicator="",
        ReferencedFrameOfReferenceSequence=[_drawn_on(place, first, slices)],
        StructureSetROISequence=[
            _item(ROINumber=label.id, ReferencedFrameOfReferenceUID=place, ROIName=_named(label),
                  ROIGenerationAlgorithm="AUTOMATIC") for label in present
        ],
        ROIContourSequence=[
            _item(ROIDisplayColor=list(label.colour), ReferencedROINumber=label.id,
                  ContourSequence=_contours(labels, label, slices)) for label in present
        ],
        RTROIObservationsSequence=[
            _item(ObservationNumber=n, ReferencedROINumber=label.id, RTROIInterpretedType="",
                  ROIInterpreter="") for n, label in enumerate(present, 1)
        ],
        ApprovalStatus="UNAPPROVED",
    )  # fmt: skip
    filed(data, first)
    data.file_meta = _meta(data)
    return data


def _meta(data: Header) -> Header:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian  # explicit VR has no room for long contours

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = data.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return meta


def _item(**elements: object) -> Header:
    """A data set of these elements."""
    from pydicom import Dataset

    data = Dataset()
    for name, value in elements.items():
        setattr(data, name, value)
    return data


def _named(label: Label) -> str:
    require_name(label.name)
    return label.name


def _image(frame: Frame) -> Header:
    """The reference to one image."""
    header = frame.header
    found = _item(
        ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID
    )
    if frame.group:
        found.ReferencedFrameNumber = frame.index + 1
    return found


def _drawn_on(place: str, first: Header, slices: Sequence[Frame]) -> Header:
    """The reference to the series and its images."""
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID,
                   ContourImageSequence=[_image(frame) for frame in slices])  # fmt: skip
    study = _item(ReferencedSOPClassUID=DETACHED_STUDY,
                  ReferencedSOPInstanceUID=first.StudyInstanceUID,
                  RTReferencedSeriesSequence=[series])  # fmt: skip
    return _item(FrameOfReferenceUID=place, RTReferencedStudySequence=[study])


def _contours(labels: LabelMap, label: Label, slices: Sequence[Frame]) -> list[Header]:
    """A structure's contours, slice by slice."""
    found: list[Header] = []
    for k, frame in enumerate(slices):
        mask = labels.array[:, :, k] == label.id
        for line in outlines(mask) if mask.any() else ():
            found.append(
                _item(
                    ContourImageSequence=[_image(frame)], ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(line), ContourNumber=len(found) + 1,
                    ContourData=_millimetres(labels, line, k),
                )
            )  # fmt: skip
    return found


def _millimetres(labels: LabelMap, line: NDArray[np.float64], k: int) -> list[str]:
    """The corners of a contour, x, y, z in LPS mm, one after the other, of at most 16 letters."""
    points = labels.grid.index_to_world(np.column_stack([line, np.full(len(line), k)]))
    return [f"{value:.4f}" for value in (points @ LPS_TO_RAS[:3, :3]).ravel()]


def _require_equal(written: Path, labels: LabelMap) -> None:
    """Raise unless a file just written gives the same structures at the same places."""
    numbers, grid, scheme = load(written, written, None, labels.grid)
    names = scheme.to_dict()
    if (
        names != {name: n for name, n in labels.scheme.to_dict().items() if name in names}
        or not np.array_equal(numbers, labels.array)
        or not grid.same_as(labels.grid, CORNER_MM)
    ):
        raise OutputError(f"{written.name} did not read back as it was written")
