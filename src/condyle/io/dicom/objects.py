"""What a DICOM file holds: an image of a scan, a segmentation, or something that is neither."""

from __future__ import annotations

from pathlib import Path

from condyle.io.dicom.series import NO_SCANS, elements

__all__ = ["CONTOURS", "IMAGE", "INDEX", "SEGMENTATION", "object_in"]

IMAGE = "an image of a scan"
SEGMENTATION = "a segmentation"
CONTOURS = "RTSTRUCT"
INDEX = "an index of DICOM files"

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""The classes of DICOM-SEG objects: segmentation, and label map segmentation."""

DIRECTORY = "1.2.840.10008.1.3.10"
"""The class of a DICOMDIR."""

TAGS = [
    "SOPClassUID", "Modality", "Rows", "ImageType", "ImagePositionPatient", "NumberOfFrames",
]  # fmt: skip


def object_in(file: Path) -> str:
    """What a DICOM file holds, in words: `IMAGE`, `SEGMENTATION`, `INDEX`, or what else it is.

    A damaged file counts as an image: whoever reads it says what is wrong with it.
    """
    try:
        header = elements(file, stop_before_pixels=True, specific_tags=TAGS)
        kind = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
        modality = str(header.get("Modality") or "")
        if kind in SEGMENTATIONS:
            return SEGMENTATION
        if kind == DIRECTORY:
            return INDEX
        if modality in NO_SCANS:
            return modality
        if "Rows" not in header:
            if kind is None or kind.name.endswith("Image Storage"):
                return IMAGE
            return modality or str(kind.name)
        if "LOCALIZER" in (header.get("ImageType") or ()):
            return "a scout"
        placed = "ImagePositionPatient" in header or int(header.get("NumberOfFrames") or 1) > 1
        return IMAGE if placed else "an image without a place in the body"
    except Exception:
        return IMAGE
