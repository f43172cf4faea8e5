"""A DICOM-SEG file's frames as one label map, whoever wrote them; RTSTRUCT goes its own way."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelScheme
from condyle.core.case import repeated
from condyle.core.labels import Colour, default_colour, whole_numbers
from condyle.errors import GeometryError, LabelError, OverlapError, UnreadableFile
from condyle.io.dicom import rtstruct
from condyle.io.dicom.frames import Frame, Header, frames_of
from condyle.io.dicom.geometry import stacked
from condyle.io.dicom.series import elements, find_series, speaking_of
from condyle.io.paths import is_dicom, is_hidden, not_a
from condyle.io.safety import LPS_TO_RAS
from condyle.jobs.job import warn
from condyle.jobs.process import without_python_warnings

__all__ = ["PRIVATE", "load", "names_in", "only_labels"]


PRIVATE = (0x0071, "CONDYLE")
"""The private block with the whole grid, of which DICOM-SEG has only frames with structures."""

PLANES = 10_000
"""No scan has more slices: a file that claims them lies."""

FIT_MM = 0.01
FIT_SHARE = 0.05
"""A frame lies on a grid when its corners are as near: in mm, or in parts of the smallest side."""


@dataclass(frozen=True)
class Segment:
    """One segment as the file has it: `number` within the file, `id` the label it stands for."""

    number: int
    id: int
    name: str
    colour: Colour


def load(
    path: Path, scheme: LabelScheme | None = None, scan: Grid | None = None
) -> tuple[NDArray[Any], Grid, LabelScheme]:
    """The label numbers (i, j, k) of a DICOM-SEG or RTSTRUCT, their grid and their scheme.

    The grid is the source series' where it is known: the file is Condyle's, its scan is given, or
    that series lies in the same folder; else what the frames span. A scheme that knows all names
    decides the numbers.

    Parameters
    ----------
    path : the file, or a folder with one such file in it or below.
    scan : the grid of its scan, where that is known.

    Raises
    ------
    UnreadableFile, GeometryError
        If there is no or more than one segmentation, or its frames do not form an even stack.
    OverlapError, LabelError
        If segments overlap or share a name, or are fractions that are not probabilities.
    """
    with without_python_warnings():  # the headers of others
        file, modality = only_labels(path)
        if modality == rtstruct.MODALITY:
            return rtstruct.load(path, file, scheme, scan)
        data = elements(file)
        with speaking_of(file):
            frames = frames_of(file, data)
        lost = next((f.missing for f in frames if f.missing), ())
        if lost:
            raise UnreadableFile(f"{file} does not say where it lies (no {', '.join(lost)})")
        segments = _segments(file, data)
        known = scheme is not None and {s.name for s in segments} <= set(scheme.to_dict())
        ids = {s.number: scheme.to_dict()[s.name] if scheme and known else s.id for s in segments}
        found = scheme or LabelScheme.of(
            {s.name: s.id for s in segments}, {s.name: s.colour for s in segments}
        )
        if data.SegmentationType == "FRACTIONAL":
            warn(f"{file} holds probabilities: voxels above 0.5 were taken")
        for grid in _grids(path, data, frames, scan):
            planes = _planes(grid, frames)
            if planes is not None:
                return _painted(file, data, frames, planes, grid, ids), grid, found
    raise GeometryError(
        f"{file} has frames that do not lie over each other at even steps: export it again as "
        ".seg.nrrd or .nii.gz"
    )


def names_in(path: Path) -> LabelScheme:
    """The scheme of a file's segments or regions; where they lie does not matter."""
    with without_python_warnings():
        file, modality = only_labels(path)
        if modality == rtstruct.MODALITY:
            return rtstruct.names_in(file)
        segments = _segments(file, elements(file, stop_before_pixels=True))
    return LabelScheme.of({s.name: s.id for s in segments}, {s.name: s.colour for s in segments})


def only_labels(path: Path) -> tuple[Path, str]:
    """The one DICOM-SEG or, without any, the one RTSTRUCT at a path or below; and its modality.

    Raises
    ------
    UnreadableFile
        If there is none, or more than one.
    """
    files = [path]
    if not path.is_dir() and not is_dicom(path):
        raise not_a(path, "a DICOM file")
    if path.is_dir():
        below = (f for f in sorted(path.rglob("*")) if f.is_file() and not is_hidden(f))
        files = [f for f in below if is_dicom(f)]
    found: dict[str, list[Path]] = {}
    for file in files:
        header = elements(file, stop_before_pixels=True, specific_tags=["Modality"])
        found.setdefault(str(header.get("Modality")), []).append(file)
    for modality, kind in (("SEG", "segmentations"), (rtstruct.MODALITY, "RTSTRUCT files")):
        if len(files := found.get(modality, [])) > 1:
            shown = ", ".join(f.name for f in files[:4])
            raise UnreadableFile(f"{path} holds {len(files)} {kind}: give one file ({shown})")
        if files:
            return files[0], modality
    raise UnreadableFile(
        f"{path} is DICOM without a segmentation: give labels as DICOM-SEG, RTSTRUCT, .nii.gz, "
        ".nrrd or .mha"
    )


def _segments(file: Path, data: Header) -> list[Segment]:
    """The segments that the header describes, without background."""
    kind = data.get("SegmentationType")
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise UnreadableFile(f"{file} is a segmentation of another kind than masks ({kind})")
    found: list[Segment] = []
    for item in data.get("SegmentSequence") or ():
        number = int(item.SegmentNumber)
        if number == 0:
            continue
        ours = data.get("Manufacturer") == "Condyle"
        note = re.fullmatch(r"label (\d+)", str(item.get("SegmentDescription") or ""))
        label = int(note[1]) if ours and note else number
        name = str(item.get("SegmentLabel") or f"Segment_{number}")
        found.append(Segment(number, label, name, _colour(item) or default_colour(label)))
    if twice := repeated(segment.name for segment in found):
        raise LabelError(f"{file} has several segments called {', '.join(twice)}; rename them")
    return found


def _colour(item: Header) -> Colour | None:
    """Red, green and blue (0 to 255) of a segment; None if it has no colour."""
    import highdicom as hd

    lab = item.get("RecommendedDisplayCIELabValue")
    if lab is None or len(lab) != 3:
        return None
    r, g, b = hd.color.CIELabColor.from_dicom_value([int(part) for part in lab]).to_rgb(clip=True)
    return int(r), int(g), int(b)


def _grids(path: Path, data: Header, frames: Sequence[Frame], scan: Grid | None) -> Generator[Grid]:
    """The grids that a segmentation may lie on, the surest first."""
    group, creator = PRIVATE
    try:
        block = data.private_block(group, creator)
        affine, shape = np.array(block[0x01].value, float), tuple(block[0x02].value)
        yield Grid((shape[0], shape[1], shape[2]), LPS_TO_RAS @ affine.reshape(4, 4))
    except (KeyError, ValueError, TypeError):
        pass  # it notes no grid
    rows, columns = frames[0].shape
    if scan is not None:
        yield scan.turned(scan.turn_to(_frame_grid(frames[0], 1.0).orientation))
    series = [str(r.SeriesInstanceUID) for r in data.get("ReferencedSeriesSequence") or ()]
    for one in find_series(path)[0] if path.is_dir() else ():
        if one.uid in series:
            stack = stacked(path, one.frames)
            yield Grid((columns, rows, len(stack.volumes[0])), LPS_TO_RAS @ stack.affine)
    normal = frames[0].normal / np.linalg.norm(frames[0].normal)
    along = np.array(sorted(float(frame.position @ normal) for frame in frames))
    height = along[-1] - along[0]
    gaps = np.diff(along)
    steps = [frames[0].thickness, min(gaps[gaps > FIT_MM], default=0.0)]
    if scan is not None:
        axis = int(np.argmax(np.abs(normal @ LPS_TO_RAS[:3, :3] @ scan.direction)))
        steps.insert(0, scan.spacing[axis])
    for step in steps:
        if step <= 0 or height / step > PLANES:
            continue
        count = round(height / step) + 1
        step = height / (count - 1) if count > 1 else step
        yield _frame_grid(min(frames, key=lambda f: float(f.position @ normal)), step, count)


def _frame_grid(first: Frame, step: float, count: int = 1) -> Grid:
    """The grid of so many images over a first one, so many mm apart."""
    rows, columns = first.shape
    affine = np.eye(4)
    affine[:3, 0] = first.directions[:3] * first.pixel[1]
    affine[:3, 1] = first.directions[3:] * first.pixel[0]
    affine[:3, 2] = first.normal / np.linalg.norm(first.normal) * step
    affine[:3, 3] = first.position
    return Grid((columns, rows, count), LPS_TO_RAS @ affine)


def _planes(grid: Grid, frames: Sequence[Frame]) -> list[int] | None:
    """The plane k of a grid that each frame is; None if any frame is none of them."""
    columns, rows, _ = grid.shape
    corners = np.array([(0, 0), (columns - 1, 0), (0, rows - 1)])
    tolerance = max(FIT_MM, FIT_SHARE * min(grid.spacing))
    planes: list[int] = []
    for frame in frames:
        sides = np.array(
            [frame.directions[:3] * frame.pixel[1], frame.directions[3:] * frame.pixel[0]]
        )
        points = (frame.position + corners @ sides) @ LPS_TO_RAS[:3, :3]
        k = round(float(grid.world_to_index(points[0])[2]))
        there = grid.index_to_world(np.column_stack([corners, np.full(3, k)]))
        away = np.linalg.norm(points - there, axis=1).max()
        if frame.shape != (rows, columns) or not 0 <= k < grid.shape[2] or away > tolerance:
            return None
        planes.append(k)
    return planes


def _painted(
    file: Path,
    data: Header,
    frames: Sequence[Frame],
    planes: Sequence[int],
    grid: Grid,
    ids: Mapping[int, int],
) -> NDArray[Any]:
    """One label map (i, j, k) of all frames; refused if two segments claim a voxel."""
    numbers = np.zeros(grid.shape, np.uint16, order="F")
    shared = np.zeros(grid.shape, bool, order="F")
    for frame, k, image in zip(frames, planes, _images(file, data), strict=True):
        part = _labelled(file, data, frame, image, ids).T
        plane = numbers[..., k]
        both = (plane > 0) & (part > 0) & (plane != part)
        if both.any():
            shared[..., k] |= both
        np.copyto(plane, part, where=part > 0, casting="same_kind")
    if shared.any():
        raise OverlapError(
            f"{file} holds segments that overlap in {np.count_nonzero(shared)} voxels, and a label "
            "map gives a voxel one label: separate them in 3D Slicer, or export one mask a segment "
            "and merge those with an overlap policy"
        )
    return whole_numbers(numbers, str(file))


def _images(file: Path, data: Header) -> Generator[NDArray[Any]]:
    """The stored numbers of each frame, (row, column)."""
    from pydicom.pixels.utils import iter_pixels

    syntax = data.file_meta.TransferSyntaxUID
    with speaking_of(file):
        if data.BitsAllocated != 1 or syntax.is_compressed or not syntax.is_little_endian:
            yield from iter_pixels(data)
            return
        # pydicom 3.0 cuts frames short that end within a byte
        packed = np.frombuffer(data.PixelData, np.uint8)
        rows, columns = int(data.Rows), int(data.Columns)
        count = int(data.NumberOfFrames)
        if packed.size * 8 < rows * columns * count:
            raise UnreadableFile(f"{file} is damaged or cut short: pixels are missing")
        for first in range(0, rows * columns * count, rows * columns):
            part = packed[first // 8 : (first + rows * columns + 7) // 8]
            bits = np.unpackbits(part, bitorder="little")[first % 8 :]
            yield bits[: rows * columns].reshape(rows, columns)


def _labelled(
    file: Path, data: Header, frame: Frame, image: NDArray[Any], ids: Mapping[int, int]
) -> NDArray[np.uint16]:
    """The label numbers of one frame, (row, column)."""
    known = {0: 0, int(data.get("PixelPaddingValue") or 0): 0, **ids}
    is_map = data.SegmentationType == "LABELMAP"
    if is_map:
        found = np.unique(image).tolist()
    else:
        sequences = (group.get("SegmentIdentificationSequence") for group in frame.group)
        found = [int(next(s for s in sequences if s)[0].ReferencedSegmentNumber)]
    strangers = sorted(set(found) - set(known))
    if strangers:
        raise LabelError(f"{file} holds labels {strangers[:8]} that none of its segments names")
    if not is_map:
        return _mask(file, data, image) * np.uint16(known[found[0]])
    table = np.zeros(max(known) + 1, np.uint16)
    table[list(known)] = list(known.values())
    return table[image]


def _mask(file: Path, data: Header, image: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the segment of a frame is: where its probability is above one half."""
    if data.SegmentationType == "BINARY":
        return image > 0
    top = int(data.MaximumFractionalValue)
    kind = data.get("SegmentationFractionalType")
    if kind != "PROBABILITY" and ((image > 0) & (image < top)).any():
        raise LabelError(
            f"{file} holds which share of each voxel its segments fill ({kind}), not which voxels "
            "are theirs: export them as binary segments"
        )
    return image * 2.0 > top
