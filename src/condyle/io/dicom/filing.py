"""What is made from a series and filed with it: its slices in order, and whose study it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from condyle.core import Grid
from condyle.errors import GeometryError, LabelError
from condyle.io.dicom.frames import Frame, Header, frames_of
from condyle.io.dicom.geometry import stacked
from condyle.io.safety import LPS_TO_RAS

__all__ = ["CORNER_MM", "NAME_LENGTH", "STUDY", "filed", "images_of", "require_name", "slices_of"]

STUDY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
    "StudyTime", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Elements that a segmentation has from its scan just as they are, so that it is filed with it."""

CORNER_MM = 0.01
"""Corners of a label map and of its series lie as near."""

NAME_LENGTH = 64
"""The letters of the longest name of a structure."""


def require_name(name: str) -> None:
    """Raise `LabelError` if DICOM cannot hold a structure's name."""
    if len(name) > NAME_LENGTH or "\\" in name:
        raise LabelError(
            f"DICOM holds names of {NAME_LENGTH} letters without backslash, not {name!r}"
        )


def filed(data: Header, source: Header) -> None:
    """Give a data set its scan's patient and study."""
    for name in STUDY:
        if name in source:
            data[name] = source[name]


def images_of(header: Header) -> list[Frame]:
    """The images of a file, one of a series or all of a multi-frame one."""
    return frames_of(Path(getattr(header, "filename", None) or "the series"), header)


def slices_of(grid: Grid, source: Sequence[Header], what: str) -> list[tuple[int, Frame]]:
    """The slices of a series in the order of axis k of a label map that lies on it.

    Each is its image, and the place of that among all images of the series, from 0.

    Parameters
    ----------
    grid : of the label map.
    what : is to be written, for the sentence.

    Raises
    ------
    GridMismatch, GeometryError
        If the grid is not that of the series, or that is not a plain stack of slices.
    """
    images = [image for header in source for image in images_of(header)]
    where = images[0].file.parent if len(source) > 1 else images[0].file
    stack = stacked(where, images)
    order, *others = stack.volumes
    if others or stack.shifts is not None:
        raise GeometryError(f"{where} is not a plain stack of parallel slices, which {what} needs")
    rows, columns = images[0].shape
    own = Grid((columns, rows, len(images)), LPS_TO_RAS @ stack.affine)
    own.require_same(grid, f"the label map and {where}", CORNER_MM)
    return [(n, images[n]) for n in order]
