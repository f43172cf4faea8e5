"""What a path is, by its name and its first bytes: which format, which scan, which case.

And the bytes of a file that may be packed, whatever its name says.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Collection, Generator
from pathlib import Path
from typing import BinaryIO, cast

from condyle.errors import UnreadableFile

__all__ = [
    "ENDINGS",
    "GZIP_RATIO",
    "case_of",
    "channel_of",
    "ending_of",
    "has_dicom_mark",
    "is_dicom",
    "is_hidden",
    "kind_of",
    "not_a",
    "scan_name",
    "spelled",
    "unpacked",
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
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".tif": "picture",
    ".tiff": "picture",
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


GZIP_RATIO = 1032
"""Deflate packs no byte stream more tightly than this: a header that promises more lies."""
BZIP2_RATIO = 1 << 21
"""Bzip2 packs 45 MB of one value into 45 bytes."""

LAYERS = 3
"""A file that is packed in itself more often is no scan."""

START = 1024

SIGNS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ", "an xz file"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a rar archive"),
    (257, b"ustar", "a tar archive"),
    (128, b"DICM", "a DICOM file"),
    (344, b"n+1\0", "a NIfTI file"),
    (4, b"n+2\0", "a NIfTI file"),
    (344, b"ni1\0", "the header of a NIfTI pair"),
    (4, b"ni2\0", "the header of a NIfTI pair"),
    (0, b"NRRD000", "an NRRD file"),
    (0, b"ObjectType", "a MetaImage header"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"CDF\x01", "a netCDF (MINC) file"),
    (0, b"MATLAB", "a MATLAB file"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"%PDF", "a PDF file"),
    (0, b"version https://git-lfs", "a pointer of Git LFS (git lfs pull gets the file itself)"),
)
"""Where a format has its mark, the mark, and what such a file is."""


def kind_of(path: Path) -> str:
    """What a file is, in words; '' where its first bytes do not tell."""
    with path.open("rb") as stream:
        start = stream.read(START)
    if not start:
        return "an empty file"
    if not any(start):
        return "a file of zeros"
    if re.match(rb"\s*<(!doctype|html)", start, re.IGNORECASE):
        return "a web page"
    return next((kind for at, sign, kind in SIGNS if start[at:].startswith(sign)), "")


def not_a(path: Path, what: str) -> UnreadableFile:
    """What to raise of a file that is not `what` (with its article), as its name says it is."""
    kind = kind_of(path)
    if kind == what:
        return UnreadableFile(f"{path} is damaged or cut short")
    it_is = f": it is {kind}" if kind else ""
    return UnreadableFile(f"{path} is not {what}, whatever its name says{it_is}")


@contextlib.contextmanager
def unpacked(path: Path) -> Generator[tuple[BinaryIO, int]]:
    """A file's bytes, inflated as they are asked for, and how many there can be at most.

    Its first bytes say whether it is packed (gzip, bzip2, or one in the other), not its name.
    """
    import bz2

    from isal import igzip

    possible = path.stat().st_size
    with contextlib.ExitStack() as stack:
        stream: BinaryIO = stack.enter_context(path.open("rb"))
        for _ in range(LAYERS):
            mark = stream.read(3)
            stream.seek(0)
            if mark[:2] == b"\x1f\x8b":
                inflated = igzip.IGzipFile(fileobj=stream, mode="rb")
                possible *= GZIP_RATIO
            elif mark == b"BZh":
                inflated = bz2.BZ2File(stream)
                possible *= BZIP2_RATIO
            else:
                break
            stream = stack.enter_context(contextlib.closing(cast(BinaryIO, inflated)))
        yield stream, possible
