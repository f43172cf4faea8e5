"""What a file is by its first bytes, whatever its name says; and its bytes, unpacked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO, cast

from condyle.errors import UnreadableFile

__all__ = ["GZIP_RATIO", "kind_of", "not_a", "unpacked"]

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
