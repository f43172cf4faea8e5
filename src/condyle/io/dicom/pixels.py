"""One DICOM series as a scan: sorted by where its slices lie, in Hounsfield units where it is CT.

What is known to be wrong is repaired with a warning (a tilted gantry, MONOCHROME1, a file that is
there twice); what cannot be read rightly is refused with the reason.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid
from condyle.errors import GeometryError, UnreadableFile
from condyle.io.dicom.frames import Frame, Header, require_readable
from condyle.io.dicom.geometry import Stack, stacked
from condyle.io.dicom.series import choose, data_of, opened
from condyle.io.paths import has_dicom_mark
from condyle.io.safety import LPS_TO_RAS
from condyle.jobs.job import warn

__all__ = ["load", "sources"]


PACKED_RATIO = 10_000
"""No compression of real images, even of empty ones, comes near this: a header that promises more
lies."""


def load(
    path: Path, series: str = "", called: Path | None = None
) -> tuple[NDArray[Any], Grid, str]:
    """The array (column, row, slice[, volume]), its grid, and the modality, of a series at a path.

    Parameters
    ----------
    series : which one of several: its number in the list that the error shows, or its UID.
    called : what the user calls the path, for sentences.
    """
    called = called or path
    frames = choose(path, series, called, say=True).frames
    for frame in frames:
        require_readable(frame)
    _require_bytes(frames)
    frames = _without_copies(called, frames)
    stack = stacked(called, frames)
    order = [n for volume in stack.volumes for n in volume]
    array = _values([frames[n] for n in order])
    if len(stack.volumes) > 1:
        array = array.reshape(*array.shape[:2], len(stack.volumes), -1).transpose(0, 1, 3, 2)
    _warn(called, frames, array)
    affine = stack.affine
    if stack.shifts is not None:
        array, affine = _upright(array, stack)
    i, j, k = array.shape[:3]
    modality = str(frames[0].header.get("Modality") or "")
    return array, Grid((i, j, k), LPS_TO_RAS @ affine), modality


def sources(path: Path, series: str = "", called: Path | None = None) -> list[Header]:
    """The headers of the files that give a scan's slices, in the order of its axis k.

    A multi-frame file gives a list of one.

    Raises
    ------
    UnreadableFile, GeometryError
        If the series cannot be read, or its slices are not those of the scan (4D, or straightened).
    """
    called = called or path
    frames = _without_copies(called, choose(path, series, called).frames)
    for frame in frames:
        require_readable(frame)
    stack = stacked(called, frames)
    if len(stack.volumes) > 1 or stack.shifts is not None:
        why = "several volumes" if len(stack.volumes) > 1 else "slices of a tilted gantry"
        raise GeometryError(
            f"{called} holds {why}, so what is found in it cannot be written as DICOM-SEG: "
            "choose `format` nifti"
        )
    ordered = [frames[n] for volume in stack.volumes for n in volume]
    return list({frame.file: frame.header for frame in ordered}.values())


def _require_bytes(frames: Sequence[Frame]) -> None:
    """Refuse, before memory is taken, headers that promise more pixels than a file can hold."""
    counts: dict[Path, int] = {}
    for frame in frames:
        counts[frame.file] = counts.get(frame.file, 0) + 1
    for frame in {frame.file: frame for frame in frames}.values():
        header = frame.header
        syntax = header.file_meta.TransferSyntaxUID
        if not syntax.is_transfer_syntax:
            raise UnreadableFile(
                f"{frame.file} is stored as only its maker's programs store it (transfer syntax "
                f"{syntax}): convert it with gdcmconv --raw or dcm2niix first"
            )
        packed = header.file_meta.TransferSyntaxUID.is_compressed
        rows, columns = frame.shape
        promised = rows * columns * int(header.BitsAllocated) // 8 * counts[frame.file]
        if promised <= 0 or promised > frame.file.stat().st_size * (PACKED_RATIO if packed else 1):
            raise UnreadableFile(
                f"{frame.file} is damaged or cut short: its header promises {promised} bytes of "
                "pixels, which it cannot hold"
            )


def _without_copies(called: Path, frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The frames without those that show the same numbers at the same place once more."""
    held = Counter(_place(frame) for frame in frames if not frame.missing)
    doubled = [frame for frame in frames if not frame.missing and held[_place(frame)] > 1]
    seen: set[tuple[tuple[float, ...], bytes]] = set()
    copies: set[int] = set()
    for frame, pixels in zip(doubled, _images(doubled), strict=True):
        parts = (frame.rescale, frame.directions, frame.pixel, pixels)
        shown = hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in parts)).digest()
        if (_place(frame), shown) in seen:
            copies.add(id(frame))
        seen.add((_place(frame), shown))
    if copies:
        warn(f"{called} holds {len(copies)} images twice, number for number: one of each was taken")
    return tuple(frame for frame in frames if id(frame) not in copies)


def _place(frame: Frame) -> tuple[float, ...]:
    """LPS mm of an image's first pixel, to the micrometre."""
    return tuple(np.round(frame.position, 3))


def _images(frames: Sequence[Frame]) -> Generator[NDArray[Any]]:
    """The stored numbers of each image, (column, row); neighbours in a file read it once."""
    for file, neighbours in groupby(frames, lambda frame: frame.file):
        wanted = list(neighbours)
        header = wanted[0].header
        with opened(file) as stream:
            try:
                for pixels in _decoded(file, stream, header, [frame.index for frame in wanted]):
                    if pixels.shape != wanted[0].shape:
                        raise UnreadableFile(
                            f"{file} holds {pixels.shape} pixels, not rows and columns"
                        )
                    yield _within_bits(pixels, header).T
            except (RuntimeError, NotImplementedError) as error:
                syntax = header.file_meta.TransferSyntaxUID
                if not syntax.is_compressed:
                    raise
                raise UnreadableFile(
                    f"{file} is compressed as {syntax.name}, which could not be decompressed here: "
                    "it is damaged, or needs gdcmconv --raw or dcm2niix first"
                ) from error


def _decoded(
    file: Path, stream: BinaryIO, header: Header, indices: Sequence[int]
) -> Iterable[NDArray[Any]]:
    """The images of a file that were requested, each (row, column)."""
    from pydicom.pixels.utils import iter_pixels

    if int(header.get("NumberOfFrames") or 1) > 1:
        marked = has_dicom_mark(file)
        return iter_pixels(stream if marked else data_of(stream), indices=indices)
    data = data_of(stream)
    if "PixelData" not in data:
        raise UnreadableFile(f"{file} has no pixels, or is cut short before their end")
    _require_no_more(file, data)
    return [data.pixel_array]


def _require_no_more(file: Path, data: Header) -> None:
    """Refuse an image with a row of pixels more than its header says: Rows or Columns are wrong."""
    if data.file_meta.TransferSyntaxUID.is_compressed:
        return
    row = int(data.Columns) * int(data.BitsAllocated) // 8
    if len(data.PixelData) >= (int(data.Rows) + 1) * row:
        raise UnreadableFile(
            f"{file} holds more pixels than {data.Rows} rows of {data.Columns}: its header is "
            "wrong, or it holds several images"
        )


def _within_bits(pixels: NDArray[Any], header: Header) -> NDArray[Any]:
    """The numbers without what old files keep in the bits above those that count: overlays."""
    stored, held = int(header.BitsStored), int(header.BitsAllocated)
    if stored == held or not np.issubdtype(pixels.dtype, np.integer):
        return pixels
    signed = bool(header.PixelRepresentation)
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    if low <= pixels.min() and pixels.max() <= high:
        return pixels
    room = held - stored
    return (pixels << room) >> room  # shifting back repeats the sign where there is one


def _values(frames: Sequence[Frame]) -> NDArray[Any]:
    """(column, row, frame) values, each image by its own slope and intercept.

    Whole-numbered rescaling gives the smallest of int16, int32 and int64 that holds all; other
    rescaling float32.
    """
    stored = np.empty(0)
    ends: list[int] = []
    whole = True
    for k, (frame, pixels) in enumerate(zip(frames, _images(frames), strict=True)):
        if k == 0:
            stored = np.empty((*pixels.shape, len(frames)), pixels.dtype, order="F")
            whole = np.issubdtype(pixels.dtype, np.integer)
        if pixels.dtype != stored.dtype:
            raise GeometryError(
                f"{frame.file} keeps its pixels as {pixels.dtype}, the first slice of its series "
                f"as {stored.dtype}: it mixes two scans"
            )
        stored[..., k] = pixels
        slope, inter = frame.rescale
        whole = whole and slope.is_integer() and inter.is_integer()
        if whole:
            ends += [int(end) * int(slope) + int(inter) for end in (pixels.min(), pixels.max())]
    kind = np.dtype(np.float32)
    if whole:
        kinds = (np.dtype(t) for t in (np.int16, np.int32, np.int64))
        kind = next(
            k for k in kinds if np.iinfo(k).min <= min(ends) <= max(ends) <= np.iinfo(k).max
        )
    # in place where the numbers are as wide as before: a scan is not held twice
    array = stored.view(kind) if kind.itemsize == stored.itemsize else np.empty(
        stored.shape, kind, order="F")  # fmt: skip
    for k, frame in enumerate(frames):
        slope, inter = frame.rescale
        if (slope, inter) == (1.0, 0.0):
            array[..., k] = stored[..., k]
        elif whole:
            array[..., k] = stored[..., k].astype(np.int64) * int(slope) + int(inter)
        else:
            array[..., k] = stored[..., k] * np.float64(slope) + inter
    return array


def _upright(array: NDArray[Any], stack: Stack) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The slices of a tilted gantry shifted upright, and the affine of the wider stack.

    What no slice shows becomes the scan's lowest number, which is air in CT.
    """
    from scipy import ndimage

    assert stack.shifts is not None
    low = np.floor(stack.shifts.min(axis=0)).astype(int)
    high = np.ceil(stack.shifts.max(axis=0)).astype(int)
    wide = np.full(
        (*(array.shape[:2] + high - low), *array.shape[2:]), array.min(), array.dtype, order="F"
    )
    for k, shift in enumerate(stack.shifts - low):
        whole = np.floor(shift).astype(int)
        for at in np.ndindex(array.shape[3:]):
            part = np.pad(array[(slice(None), slice(None), k, *at)], ((0, 1), (0, 1)), mode="edge")
            moved = ndimage.shift(
                part.astype(np.float32), shift - whole, order=1, mode="nearest", prefilter=False
            )
            if np.issubdtype(array.dtype, np.integer):
                moved = np.rint(moved)
            # the pixel of padding is only shown where a fraction of a pixel reaches into it
            i, j = array.shape[:2] + (shift > whole)
            box = (slice(whole[0], whole[0] + i), slice(whole[1], whole[1] + j), k, *at)
            wide[box] = moved[:i, :j]
    affine = stack.affine.copy()
    affine[:3, 3] += affine[:3, :2] @ low
    return wide, affine


def _warn(called: Path, frames: Sequence[Frame], array: NDArray[Any]) -> None:
    """Say what was repaired, and what may be wrong with a scan that could be read."""
    if any(frame.is_inverted for frame in frames):
        warn(f"{called} is stored with bright and dark swapped (MONOCHROME1): inverted")
    if any(str(frame.header.get("LossyImageCompression")) == "01" for frame in frames):
        warn(f"{called} was compressed with loss: fine structures may be lost")
    if frames[0].header.get("Modality") == "CT" and array.min() >= 0:
        warn(
            f"{called} is CT without a value below 0: these are not Hounsfield units, or it shows "
            "no air"
        )
    if lost := _lost(frames):
        warn(f"{called} may lack slices: {lost}")


def _lost(frames: Sequence[Frame]) -> str:
    """What the headers say of images that are not there; '' if nothing."""
    if len({frame.file for frame in frames}) == 1:
        return ""
    promised = max(
        int(frame.header.get(name) or 0)
        for frame in frames
        for name in ("ImagesInAcquisition", "NumberOfSlices")
    )
    if promised > len(frames):
        return f"its header announces {promised} images, {len(frames)} are here"
    numbers = sorted({int(frame.header.get("InstanceNumber") or 0) for frame in frames})
    steps = {b - a for a, b in pairwise(numbers)}
    if len(numbers) == len(frames) and len(steps) > 1:
        return f"{len(numbers)} images are numbered {numbers[0]} to {numbers[-1]}, with gaps"
    if len(numbers) == len(frames) and numbers[0] > 2 and steps == {1}:
        return f"its images are numbered {numbers[0]} to {numbers[-1]}, and start late"
    return ""
