"""What a path is, by its name: which format, which scan, and where scans lie in a folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from condyle.errors import MissingFile

__all__ = [
    "ENDINGS",
    "case_of",
    "channel_of",
    "ending_of",
    "find_scans",
    "has_dicom_mark",
    "is_hidden",
    "scan_name",
    "spelled",
]

ENDINGS = {
    ".seg.nrrd": "itk",
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".nrrd": "itk",
    ".nhdr": "itk",
    ".mha": "itk",
    ".mhd": "itk",
    ".dcm": "dicom",
    ".ima": "dicom",
    ".zip": "zip",
}
"""A file name's ending -> the format; the longer ending is asked for first."""


SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""The classes of DICOM-SEG objects: segmentation, and label map segmentation."""


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
    return path.name.startswith(".") or path.name == "__MACOSX"


def has_dicom_mark(path: Path) -> bool:
    """Whether a file has DICOM's mark, 'DICM' after 128 bytes."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _is_segmentation(file: Path) -> bool:
    """Whether a DICOM file is a DICOM-SEG object."""
    from pydicom.filereader import read_file_meta_info

    try:
        kind = read_file_meta_info(file).get("MediaStorageSOPClassUID")
    except Exception:  # damaged: the reader says how
        return False
    return kind in SEGMENTATIONS


def find_scans(path: Path) -> list[Path]:
    """The scans at a path, sorted: a file itself; a folder's scan files and DICOM folders.

    A folder that directly holds DICOM files is one scan, but DICOM-SEG objects alone are one each.
    Hidden files are ignored.

    Raises
    ------
    MissingFile
        If the path is not there.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFile(f"{path} is not there")
    if path.is_file():
        return [path]
    entries = sorted(entry for entry in path.iterdir() if not is_hidden(entry))
    files = [entry for entry in entries if entry.is_file()]
    formats = {file: ENDINGS.get(ending_of(file), "dicom") for file in files}
    dicom = [file for file in files if formats[file] == "dicom" and has_dicom_mark(file)]
    if dicom:
        return dicom if all(map(_is_segmentation, dicom)) else [path]
    scans = [file for file in files if formats[file] != "dicom"]
    for folder in (entry for entry in entries if entry.is_dir()):
        scans += [scan for scan in find_scans(folder) if scan.is_dir()]
    return sorted(scans)
