"""One DICOM series as a scan: sorted by where its slices lie, in Hounsfield units where it is CT.

What cannot be read rightly is refused with the reason; nothing is guessed from file names,
slice numbers or SliceThickness.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid
from condyle.errors import GeometryError, UnreadableFile
from condyle.io.door import LPS_TO_RAS
from condyle.io.names import ENDINGS, ending_of, has_dicom_mark, is_hidden

__all__ = ["load"]

NO_SCANS = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "SR", "KO", "REG", "DOC")
"""Modalities whose objects stand beside a scan in its folder, and are none."""

NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
STEP_MM = 0.01
STEP_SHARE = 0.01
"""Steps between slices may differ by 0.01 mm or 1 %, whichever is more: rounding in the header."""

SIDEWAYS_SHARE = 1e-4
"""A stack may lean by 0.01 mm and 0.1 mm a metre: rounding. A gantry tilt of 1 degree is 0.017."""

TURN = 1e-4
"""Direction cosines of two slices may differ by this much: rounding."""

Header = Any
"""A pydicom Dataset, which has no type of its own for each element."""

REFUSED: tuple[tuple[Callable[[Header], bool], str], ...] = (
    (lambda h: int(h.get("NumberOfFrames") or 1) > 1, "is multi-frame: convert it with dcm2niix"),
    (lambda h: "MOSAIC" in (h.get("ImageType") or ()), "is a mosaic: convert it with dcm2niix"),
    (
        lambda h: (
            int(h.get("SamplesPerPixel", 1)) != 1
            or h.get("PhotometricInterpretation") == "PALETTE COLOR"
        ),
        "is in colour: a scan is grey",
    ),
    (
        lambda h: h.get("PhotometricInterpretation") != "MONOCHROME2",
        "is not stored as MONOCHROME2, so bright and dark may be swapped: convert it with dcm2niix",
    ),
    (
        lambda h: "ModalityLUTSequence" in h,
        "maps its voxels through a table (Modality LUT): export it with a rescale slope",
    ),
    (
        lambda h: h.get("Modality") == "CT" and "RescaleSlope" not in h,
        "is CT without a rescale slope, so its Hounsfield units are unknown: export it again",
    ),
)
"""What is not read, and why; asked in this order."""


def load(path: Path) -> tuple[NDArray[Any], Grid, str]:
    """The array (column, row, slice), its grid, and the modality, of the one series at a path."""
    files, headers = _series(path)
    for file, header in zip(files, headers, strict=True):
        for wrong, why in REFUSED:
            if wrong(header):
                raise UnreadableFile(f"{file} {why}")
        missing = [name for name in NEEDED if header.get(name) is None]
        if missing:
            raise UnreadableFile(f"{file} does not say where it lies (no {', '.join(missing)})")
    affine, order = _geometry(path, headers)
    slices = [_pixels(files[n]) for n in order]
    array = _stacked(slices, [headers[n] for n in order])
    return array, Grid(array.shape, LPS_TO_RAS @ affine), str(headers[0].get("Modality") or "")


def _series(path: Path) -> tuple[list[Path], list[Header]]:
    """The files and headers of the one series of images at a path."""
    found: dict[str, list[tuple[Path, Header]]] = {}
    for file in _dicom_files(path):
        header = _header(file)
        kind = header.file_meta.get("MediaStorageSOPClassUID")
        if "Rows" not in header and (kind is None or kind.name.endswith("Image Storage")):
            raise UnreadableFile(f"{file} is cut short: it should hold an image, and does not")
        if "Rows" in header and header.get("Modality") not in NO_SCANS:
            found.setdefault(str(header.get("SeriesInstanceUID")), []).append((file, header))
    if not found:
        raise UnreadableFile(f"{path} holds no DICOM images")
    if len(found) > 1:
        kinds = "; ".join(sorted(_described([h for _, h in rows]) for rows in found.values()))
        raise UnreadableFile(
            f"{path} holds {len(found)} series ({kinds}): put the one you mean into its own folder"
        )
    rows = next(iter(found.values()))
    return [file for file, _ in rows], [header for _, header in rows]


def _described(headers: Sequence[Header]) -> str:
    """How many images a series has, of which modality, and its description; no patient's data."""
    first = headers[0]
    what = f"{first.get('Modality') or '?'} '{first.get('SeriesDescription') or 'no description'}'"
    return f"{len(headers)} images of {what}"


def _dicom_files(path: Path) -> Generator[Path]:
    """The DICOM files at a path and below, sorted by name; other files are passed over.

    A file that is called .dcm and is none, or is empty, is refused: a slice would be missing.
    """
    if path.is_file():
        files = [path]
    else:
        below = (f for f in path.rglob("*") if not any(map(is_hidden, _within(f, path))))
        files = sorted(f for f in below if f.is_file())
    for file in files:
        if has_dicom_mark(file):
            yield file
        elif ENDINGS.get(ending_of(file)) == "dicom" or not (file.suffix or file.stat().st_size):
            raise UnreadableFile(f"{file} is called DICOM and is none, or is cut short")


def _within(file: Path, root: Path) -> list[Path]:
    """The file and its folders below a root."""
    return [Path(part) for part in file.relative_to(root).parts]


def _header(file: Path) -> Header:
    """A file's elements but for its pixels."""
    import pydicom

    with _speaking_of(file):
        return pydicom.dcmread(file, stop_before_pixels=True)


def _pixels(file: Path) -> NDArray[Any]:
    """One slice's stored numbers, (column, row)."""
    import pydicom

    with _speaking_of(file):
        data = pydicom.dcmread(file)
        syntax = data.file_meta.TransferSyntaxUID
        if "PixelData" not in data:
            raise UnreadableFile(f"{file} has no pixels, or is cut short before their end")
        try:
            pixels = data.pixel_array
        except (RuntimeError, NotImplementedError) as error:
            if not syntax.is_compressed:
                raise
            raise UnreadableFile(
                f"{file} is compressed as {syntax.name}, which could not be decompressed here: "
                "decompress it first, with gdcmconv --raw or dcm2niix"
            ) from error
        if pixels.shape != (data.Rows, data.Columns):
            raise UnreadableFile(f"{file} holds {pixels.shape} pixels, not rows and columns")
        return pixels.T


@contextlib.contextmanager
def _speaking_of(file: Path) -> Generator[None]:
    """Whatever pydicom raises comes out as one exception that names the file; it warns of much."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableFile:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UnreadableFile(f"{file} is damaged or cut short ({reason})") from error


def _geometry(path: Path, headers: Sequence[Header]) -> tuple[NDArray[np.float64], list[int]]:
    """The affine to LPS mm, and the order of the slices along it."""
    directions = _same(path, headers, "ImageOrientationPatient", TURN)
    pixel = _same(path, headers, "PixelSpacing", 1e-4)
    _same(path, headers, "Rows", 0)
    _same(path, headers, "Columns", 0)
    row, column = directions[:3], directions[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=1e-2) or abs(row @ column) > 1e-3:
        raise GeometryError(f"{path} has rows and columns that are not at right angles")
    # exactly at right angles, so that every tool sees one geometry
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    normal = np.cross(row, column)
    positions = np.array([[float(x) for x in h.ImagePositionPatient] for h in headers])
    if not np.isfinite(positions).all() or (pixel <= 0).any():
        raise GeometryError(f"{path} has slices at positions that are no numbers")
    along = positions @ normal
    order = [int(n) for n in np.argsort(along, kind="stable")]
    step = _step(path, along[order], headers[0])
    _require_upright(path, positions[order], normal)
    affine = np.eye(4)
    # PixelSpacing: between rows first, then between columns
    affine[:3, :3] = np.column_stack([row * pixel[1], column * pixel[0], normal * step])
    affine[:3, 3] = positions[order[0]]
    return affine, order


def _same(
    path: Path, headers: Sequence[Header], name: str, tolerance: float
) -> NDArray[np.float64]:
    """The one value of an element of all slices; refused where it differs."""
    values = [np.atleast_1d(np.asarray(header[name].value, dtype=float)) for header in headers]
    if not all(np.isfinite(v).all() and v.shape == values[0].shape for v in values):
        raise GeometryError(f"{path} has slices whose {name} is no number")
    worst = max(float(np.abs(v - values[0]).max()) for v in values)
    if worst > tolerance:
        raise GeometryError(
            f"{path} has slices whose {name} differs (by up to {worst:.3g}): it mixes two scans or "
            "holds a scout; take out the slices that do not belong"
        )
    return values[0]


def _step(path: Path, along: NDArray[np.float64], header: Header) -> float:
    """The one distance in mm between neighbouring slices, from their sorted positions."""
    if len(along) == 1:
        thickness = float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 0)
        if thickness <= 0:
            raise GeometryError(f"{path} is one slice of unknown thickness; give the whole series")
        return thickness
    steps = np.diff(along)
    usual = float(np.median(steps))
    tolerance = max(STEP_MM, STEP_SHARE * usual)
    doubled = along[:-1][steps < STEP_MM]
    if doubled.size:
        raise GeometryError(
            f"{path} has more than one slice at {_listed(doubled)} mm along its normal: it mixes "
            "two series, echoes or time points; keep one of each"
        )
    odd = np.flatnonzero(np.abs(steps - usual) > tolerance)
    if odd.size:
        raise GeometryError(
            f"{path} has slices missing or unevenly spaced: after {_listed(along[odd])} mm along "
            f"its normal come steps of {_listed(steps[odd])} mm, elsewhere {usual:.4g} mm"
        )
    return float((along[-1] - along[0]) / (len(along) - 1))


def _require_upright(
    path: Path, positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> None:
    """Refuse a stack that leans: a tilted gantry, or slices that do not lie over each other."""
    from_first = positions - positions[0]
    along = from_first @ normal
    sideways = np.linalg.norm(from_first - along[:, None] * normal, axis=1)
    worst = int(np.argmax(sideways))
    if sideways[worst] > STEP_MM + SIDEWAYS_SHARE * along[-1]:
        angle = np.degrees(np.arctan2(sideways[worst], along[worst]))
        raise GeometryError(
            f"{path} leans: slices shift {sideways[worst]:.3g} mm sideways ({angle:.3g} degrees, "
            "as a tilted gantry does); straighten it with dcm2niix and give its _Tilt file"
        )


def _listed(numbers: NDArray[np.float64]) -> str:
    """The first few numbers, for a sentence."""
    more = ", ..." if len(numbers) > 4 else ""
    return ", ".join(f"{n:.4g}" for n in numbers[:4]) + more


def _stacked(slices: Sequence[NDArray[Any]], headers: Sequence[Header]) -> NDArray[Any]:
    """(column, row, slice) values, each slice by its own slope and intercept.

    Whole-numbered rescaling gives the smallest of int16, int32 and int64 that holds all; other
    rescaling float32.
    """
    rescale = [
        (float(h.get("RescaleSlope", 1)), float(h.get("RescaleIntercept", 0))) for h in headers
    ]
    whole = all(s.is_integer() and i.is_integer() for s, i in rescale)
    whole = whole and all(np.issubdtype(s.dtype, np.integer) for s in slices)
    kind = np.dtype(np.float32)
    if whole:
        ends = [
            int(end) * int(slope) + int(inter)
            for pixels, (slope, inter) in zip(slices, rescale, strict=True)
            for end in (pixels.min(), pixels.max())
        ]
        kinds = [np.dtype(t) for t in (np.int16, np.int32, np.int64)]
        kind = next(
            k for k in kinds if np.iinfo(k).min <= min(ends) <= max(ends) <= np.iinfo(k).max
        )
    array = np.empty((*slices[0].shape, len(slices)), kind, order="F")
    for k, (pixels, (slope, inter)) in enumerate(zip(slices, rescale, strict=True)):
        if (slope, inter) == (1.0, 0.0):
            array[..., k] = pixels
        else:
            array[..., k] = pixels * np.float64(slope) + inter
    return array
