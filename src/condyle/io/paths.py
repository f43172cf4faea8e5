"""What a path is, by its name and its first bytes: which format, which scan, which case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

__all__ = [
    "ENDINGS",
    "case_of",
    "channel_of",
    "ending_of",
    "has_dicom_mark",
    "is_dicom",
    "is_hidden",
    "scan_name",
    "spelled",
]

ENDINGS = {
    ".seg.nrrd": "itk",
    ".nii.gz": "nifti",
    ".nii.bz2": "nifti",
    ".nii": "nifti",
    ".hdr": "nifti",
    ".img": "nifti",
    ".mgz": "mgh",
    ".mgh": "mgh",
    ".nrrd": "itk",
    ".nhdr": "itk",
    ".mha": "itk",
    ".mhd": "itk",
    ".dcm": "dicom",
    ".ima": "dicom",
    ".zip": "zip",
}
"""A file name's ending -> the format; the longer ending is asked for first."""


HIDDEN = ("__MACOSX", "Thumbs.db", "desktop.ini")


def ending_of(path: Path) -> str:
    """The ending of a file's name that tells its format, in lower case; '' if none is known."""
    name = Path(path).name.lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def scan_name(path: Path) -> str:
    """The base name of a scan: a file's name without its endings, or a folder's name.

    Letters with marks are spelled in one way (Unicode NFC), since macOS writes file names in
    another than tables have.

    Examples
    --------
    >>> scan_name(Path("scans/R_tibia.seg.nrrd")), scan_name(Path("knee.v2.nii.gz"))
    ('R_tibia', 'knee.v2')
    """
    path = Path(path)
    if path.is_dir():
        return spelled(path.resolve().name)
    return spelled(path.name[: len(path.name) - len(ending_of(path))])


def spelled(name: str) -> str:
    """A name in the one spelling (Unicode NFC) in which names are compared."""
    return unicodedata.normalize("NFC", name)


def channel_of(name: str) -> tuple[str, int | None]:
    """The case and the channel of a base name as nnU-Net writes it; None where it has no number.

    Whether four digits are a channel or part of the case's name, only its data set knows.

    Examples
    --------
    >>> channel_of("knee_0001"), channel_of("knee")
    (('knee', 1), ('knee', None))
    """
    found = re.fullmatch(r"(.+)_(\d{4})", name)
    return (found[1], int(found[2])) if found else (name, None)


def case_of(name: str, cases: Collection[str]) -> str:
    """The one of these cases that a base name is of: its own, or that without its _0000.

    A name that is of none of them is given back as it is.

    Examples
    --------
    >>> case_of("knee_0000", ["knee"]), case_of("knee_0000", ["knee", "knee_0000"])
    ('knee', 'knee_0000')
    """
    case, channel = channel_of(name)
    return case if channel == 0 and name not in cases and case in cases else name


def is_hidden(path: Path) -> bool:
    """Whether a name is one that people do not see: .DS_Store, ._scan.nii.gz, __MACOSX."""
    return path.name.startswith(".") or path.name in HIDDEN


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: it has the mark 'DICM' after 128 bytes, or it begins with elements.

    Old archives and planning systems write no mark.
    """
    with path.open("rb") as stream:
        start = stream.read(132)
    return start[128:] == b"DICM" or (_begins_with_elements(start) and _has_class(path))


def has_dicom_mark(path: Path) -> bool:
    """Whether a file has DICOM's mark, 'DICM' after 128 bytes."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _begins_with_elements(start: bytes) -> bool:
    """Whether bytes begin with an element of group 2 or 8, little or big endian."""
    return len(start) > 8 and start[:2] in (b"\x02\0", b"\x08\0", b"\0\x02", b"\0\x08")


def _has_class(path: Path) -> bool:
    """Whether a file without a mark names the class of object that it is, as all DICOM does."""
    import pydicom

    from condyle.jobs.process import without_python_warnings

    tags = ["SOPClassUID"]
    try:
        with without_python_warnings():
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=tags)
        return str(header.get("SOPClassUID") or "").startswith("1.2.")
    except Exception:
        return False
