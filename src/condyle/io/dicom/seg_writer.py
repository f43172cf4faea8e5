"""DICOM-SEG: label maps that a PACS files with the scan they were found in."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelMap
from condyle.core.labels import Label
from condyle.errors import CondyleError, LabelError, OutputError
from condyle.io.dicom.filing import (
    CORNER_MM,
    STUDY,
    filed,
    images_of,
    require_name,
    slices_of,
)
from condyle.io.dicom.frames import Header
from condyle.io.dicom.seg_reader import PRIVATE, load
from condyle.io.dicom.snomed import ANATOMY, LATERALITY, STRUCTURES, TISSUE, Code, sided
from condyle.io.safety import LPS_TO_RAS
from condyle.jobs.outputs import atomic_write
from condyle.jobs.process import without_python_warnings

__all__ = ["load", "save"]

SERIES_NUMBER = 300


def save(path: Path, labels: LabelMap, source: Sequence[Header]) -> Path:
    """Write a label map as DICOM-SEG, whole or not at all; gives back its path.

    A structure is a binary segment with its name, colour and code; its label number stands in the
    segment's description. Structures that are absent are left out, for want of frames. The file
    is filed with the scan, so it carries the patient's and the study's identification: the one
    thing that Condyle writes which does.

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
    found = set(np.unique(labels.array).tolist())
    present = sorted((x for x in labels.scheme.entries if x.id in found), key=lambda x: x.id)
    if not labels.present():
        raise LabelError(
            "no structure was found, and DICOM-SEG cannot hold an empty label map: choose another "
            "format for this scan"
        )
    with without_python_warnings():  # the headers of others
        pixels = _pixels(labels, present, source)
        try:
            data = _built(pixels, present, labels.grid, source)
        except CondyleError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise OutputError(
                f"{path.name} could not be written as DICOM-SEG from the headers of its scan "
                f"({reason})"
            ) from error
        with atomic_write(path, lambda written: _require_equal(written, labels)) as temporary:
            data.save_as(temporary)
    return path


def _pixels(
    labels: LabelMap, present: Sequence[Label], source: Sequence[Header]
) -> NDArray[np.uint8 | np.uint16]:
    """The numbers of segments, (frame, row, column), in the order of the source's images."""
    slices = slices_of(labels.grid, source, "DICOM-SEG")
    table = np.zeros(present[-1].id + 1, np.uint8 if len(present) < 256 else np.uint16)
    table[[label.id for label in present]] = np.arange(1, len(present) + 1)
    pixels = np.empty((len(slices), *slices[0][1].shape), table.dtype)
    for k, (place, _) in enumerate(slices):
        pixels[place] = np.take(table, labels.array[:, :, k]).T
    return pixels


def _built(
    pixels: NDArray[np.uint8 | np.uint16],
    present: Sequence[Label],
    grid: Grid,
    source: Sequence[Header],
) -> Header:
    """The data set, ready to be written."""
    import highdicom as hd

    data: Any = hd.seg.Segmentation(
        source_images=_plain(source, grid),
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=[_described(n, label) for n, label in enumerate(present, 1)],
        series_instance_uid=hd.UID(),
        series_number=SERIES_NUMBER + (source[0].get("SeriesNumber") == SERIES_NUMBER),
        series_description="Condyle segmentation",
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="Condyle",
        manufacturer_model_name="Condyle",
        software_versions=version("condyle"),
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description="Condyle segmentation",
        specific_character_set="ISO_IR 192",
    )
    filed(data, source[0])
    block = data.private_block(*PRIVATE, create=True)
    block.add_new(0x01, "FD", (LPS_TO_RAS @ grid.affine).ravel().tolist())
    block.add_new(0x02, "UL", list(grid.shape))
    return data


def _plain(source: Sequence[Header], grid: Grid) -> list[Header]:
    """Copies of the source's headers as highdicom needs them, which scanners do not always write.

    The study's elements are left blank, since it refuses odd ones. Directions and distances are
    those of all slices, as `grid` has them. A series whose frame of reference was taken out, as
    some do to hide the patient, gets one of its own.
    """
    import highdicom as hd
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    directions = images_of(source[0])[0].get("ImageOrientationPatient")
    column, row, step = grid.spacing
    measures = hd.PixelMeasuresSequence((row, column), step, step)
    place = generate_uid(entropy_srcs=[str(source[0].SeriesInstanceUID)])
    images: list[Header] = []
    for header in source:
        frames = images_of(header)
        instead = Dataset()
        for name in STUDY:
            setattr(instead, name, "")
        instead.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or place
        if len(frames) > 1:
            groups = Dataset()
            groups.PixelMeasuresSequence = measures
            groups.PlaneOrientationSequence = hd.PlaneOrientationSequence("PATIENT", directions)
            shared = header.SharedFunctionalGroupsSequence[0]
            instead.SharedFunctionalGroupsSequence = [_replaced(shared, groups)]
        else:
            instead.update(measures[0])
            instead.ImageOrientationPatient = directions
            instead.ImagePositionPatient = frames[0].get("ImagePositionPatient")
        images.append(_replaced(header, instead))
    return images


def _replaced(header: Header, instead: Header) -> Header:
    """A data set with other elements in place of its own (pydicom's copies would share them)."""
    from pydicom import Dataset

    copy = Dataset()
    implicit, little = header.original_encoding
    copy.set_original_encoding(implicit, little, header.original_character_set)
    copy.update(header)
    copy.update(instead)
    return copy


def _described(number: int, label: Label) -> Any:
    """One structure's entry in the SegmentSequence."""
    import highdicom as hd

    require_name(label.name)
    name, side = sided(label.name)
    kind = _concept(STRUCTURES.get(name, TISSUE))
    if side is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(LATERALITY[side])]
    entry = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name,
        segmented_property_category=_concept(ANATOMY if name in STRUCTURES else TISSUE),
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="Condyle",
            version=version("condyle"),
            family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        ),
        display_color=hd.color.CIELabColor.from_rgb(*label.colour),
    )
    entry.SegmentDescription = f"label {label.id}"
    return entry


def _concept(code: Code) -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(code[0], "SCT", code[1])


def _require_equal(written: Path, labels: LabelMap) -> None:
    """Raise unless a file just written holds the same structures at the same places."""
    numbers, grid, scheme = load(written)
    names = scheme.to_dict()
    if (
        names != {name: n for name, n in labels.scheme.to_dict().items() if name in names}
        or not np.array_equal(numbers, labels.array)
        or not grid.same_as(labels.grid, CORNER_MM)
    ):
        raise OutputError(f"{written.name} did not read back as it was written")
