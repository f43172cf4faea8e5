"""What a scan's file says that no output carries on: its other elements, and whose scan it is."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Generator
from pathlib import Path

from condyle.io import nifti
from condyle.io import zip as archive
from condyle.io.dicom.series import Series, choose
from condyle.io.nrrd.header import read_header
from condyle.io.paths import ENDINGS, ending_of
from condyle.io.safety import reading

__all__ = ["dropped", "patient_of"]

KEY = secrets.token_bytes(32)
"""Lives as long as this process: what it hashes cannot be found again by trying all ids."""

CARRIED = {
    "Modality", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient",
    "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation",
    "NumberOfFrames", "SpacingBetweenSlices", "SliceThickness", "PixelData",
    "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence",
}  # fmt: skip
"""DICOM elements whose meaning lives on in an array, its grid and its modality."""


def patient_of(path: str | Path, series: str = "") -> str:
    """The same letters for two scans of one patient in this process; '' if the file names none.

    They are a hash of PatientID with a key that is never written: nobody can go back from it.
    """
    path = Path(path)
    if _format(path) not in ("dicom", "zip"):
        return ""
    with reading(path), _series(path, series) as found:
        name = str(found.frames[0].header.get("PatientID") or "").strip()
    if not name:
        return ""
    return hmac.new(KEY, name.encode(), hashlib.sha256).hexdigest()[:16]


def dropped(path: str | Path, series: str = "") -> tuple[str, ...]:
    """The names (never the values) of header elements that no output carries on, sorted."""
    path = Path(path)
    kind = _format(path)
    with reading(path):
        if kind == "nifti":
            return nifti.free_text(path)
        if kind in ("mgh", "picture"):
            return ()
        if kind == "itk":
            return tuple(sorted(read_header(path).keys))
        with _series(path, series) as found:
            names: set[str] = set()
            for frame in found.frames:
                for element in frame.header:
                    unnamed = f"private {element.tag}" if element.is_private else str(element.tag)
                    names.add(element.keyword or unnamed)
        return tuple(sorted(names - CARRIED))


def _format(path: Path) -> str:
    """The format of a path by its name; DICOM needs no ending."""
    return "dicom" if path.is_dir() else ENDINGS.get(ending_of(path), "dicom")


@contextlib.contextmanager
def _series(path: Path, series: str) -> Generator[Series]:
    """The series at a path, which may be a zip."""
    if _format(path) != "zip":
        yield choose(path, series)
        return
    with archive.unpacked_dicom(path) as folder:
        yield choose(folder, series, path)
