"""The series of DICOM images in a folder: found, listed, and one chosen."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from condyle.errors import UnknownName, UnreadableFile
from condyle.io.dicom.frames import TURN, Frame, Header, frames_of
from condyle.io.paths import ENDINGS, ending_of, is_dicom, is_hidden, kind_of
from condyle.jobs.job import note, warn
from condyle.jobs.process import without_python_warnings

__all__ = [
    "NO_SCANS",
    "Series",
    "choose",
    "data_of",
    "elements",
    "find_series",
    "listed",
    "opened",
    "speaking_of",
]


NO_SCANS = ("SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "SR", "KO", "REG", "DOC")
"""Modalities whose objects stand beside a scan in its folder, and are none."""

SCOUT_DEGREES = 20.0
"""A single image that is turned further than this against its series is a scout."""


@dataclass(frozen=True, eq=False)
class Series:
    """Parallel images of one series: what may be one scan, or several at the same place."""

    frames: tuple[Frame, ...]

    @property
    def uid(self) -> str:
        """The SeriesInstanceUID."""
        return str(self.frames[0].header.get("SeriesInstanceUID") or "")

    @property
    def is_scout(self) -> bool:
        """Whether its images only served to plan others."""
        return all("LOCALIZER" in (f.header.get("ImageType") or ()) for f in self.frames)

    @property
    def is_placeless(self) -> bool:
        """Whether none of its images says where it lies in the body."""
        return all(frame.missing for frame in self.frames)

    @property
    def kind(self) -> str:
        """The class of its images: CT image, secondary capture, ..."""
        return str(self.frames[0].header.get("SOPClassUID") or "")

    def __str__(self) -> str:
        """How many images there are, of what kind; nothing of the patient."""
        first = self.frames[0]
        words = [
            f"{len(self.frames)} {'image' if len(self.frames) == 1 else 'images'} of",
            str(first.header.get("Modality") or "unknown modality"),
            f"{first.shape[1]}x{first.shape[0]}",
            f"'{first.header.get('SeriesDescription') or 'no description'}'",
        ]
        return " ".join([*words, "(a scout)"] if self.is_scout else words)


NOT_DICOM, NO_FILE = "not DICOM", "a link to nothing"

Beside = dict[Path, str]
"""Files beside the images of a scan, and what each is."""


def find_series(path: Path) -> tuple[list[Series], Beside]:
    """The series at a path and in the folders below, by their SeriesNumber; and what else is there.

    Images of one SeriesInstanceUID that are not parallel, or differ in size, are several.
    """
    found: dict[str, list[Frame]] = {}
    files, beside = _dicom_files(path)
    for file in files:
        header = elements(file, stop_before_pixels=True)
        kind = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
        modality = str(header.get("Modality") or "")
        if "Rows" not in header and (kind is None or kind.name.endswith("Image Storage")):
            raise UnreadableFile(f"{file} is cut short: it should hold an image, and does not")
        if "Rows" in header and modality not in NO_SCANS:
            with speaking_of(file):
                frames = frames_of(file, header)
            found.setdefault(str(header.get("SeriesInstanceUID")), []).extend(frames)
        elif modality or kind is None:  # a DICOMDIR has no modality
            beside[file] = modality
    every = [series for frames in found.values() for series in _parted(frames)]
    return sorted(every, key=lambda s: (_number(s.frames[0].header), s.uid)), beside


def choose(path: Path, series: str = "", called: Path | None = None, say: bool = False) -> Series:
    """The one series at a path, or the one asked for by its place in the list or its UID.

    Scouts, and images without a place in the body (dose reports, screenshots), are passed over
    beside others.

    Parameters
    ----------
    say : whether to warn of what was passed over.

    Raises
    ------
    UnreadableFile
        If there is none, or there are several and none was asked for; the sentence lists them.
    UnknownName
        If the one asked for is not there.
    """
    called = called or path
    every, beside = find_series(path)
    if not every:
        kinds = sorted({kind for kind in beside.values() if kind not in (NOT_DICOM, NO_FILE)})
        only = f", only objects of modality {', '.join(kinds)}" if kinds else ""
        raise UnreadableFile(f"{called} holds no DICOM images{only}")
    if series:
        by_name = {str(n): one for n, one in enumerate(every, 1)}
        by_name |= {one.uid: one for one in every}
        if series not in by_name:
            numbers = [f"{n} ({one})" for n, one in enumerate(every, 1)]
            raise UnknownName(f"series in {called}", series, numbers)
        return by_name[series]
    scouts, rest = _scouts(every)
    pictures, rest = _pictures(rest)
    if len(rest) > 1:
        several = "; ".join(f"{n}: {one}" for n, one in enumerate(every, 1))
        raise UnreadableFile(
            f"{called} holds {len(every)} series ({several}): choose one by `series`, its number, "
            "or put it into its own folder"
        )
    if say:
        _say(called, path, scouts, pictures, beside)
    return rest[0]


def _say(
    called: Path, path: Path, scouts: Sequence[Series], pictures: Sequence[Series], beside: Beside
) -> None:
    """Warn of what was passed over beside a scan, in a line; the log has all of it."""
    if scouts:
        shown = "; ".join(map(str, scouts))
        warn(f"{called}: ignored as scouts (localizers) beside the scan: {shown}")
    for series in pictures:
        text = f"{series}, without a place in the body"
        beside = beside | {frame.file: text for frame in series.frames}
    if beside:
        names = [_named(*each, path) for each in sorted(beside.items())]
        warn(f"{called}: passed over beside the scan: {listed(names)}")
        note(f"{called}: all that was passed over: {'; '.join(names)}")


def listed(names: Sequence[str], most: int = 5) -> str:
    """How many there are, and the first of them.

    Examples
    --------
    >>> listed(["a.txt", "b.txt", "c.txt"], most=2)
    '3 (a.txt; b.txt; and 1 more)'
    """
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return f"{len(names)} ({'; '.join([*names[:most], *more])})"


def _named(file: Path, kind: str, root: Path) -> str:
    """A file below a root, and what it is."""
    name = file.relative_to(root) if file != root else Path(file.name)
    return f"{name}: {kind}" if kind else str(name)


def _scouts(every: Sequence[Series]) -> tuple[list[Series], list[Series]]:
    """The scouts, and what remains; without any other series, scouts remain."""
    main = max(every, key=lambda s: (not s.is_placeless, len(s.frames)))
    scouts = [s for s in every if s is not main and (s.is_scout or _is_stray(s, main))]
    return scouts, [s for s in every if s not in scouts]


def _pictures(every: Sequence[Series]) -> tuple[list[Series], list[Series]]:
    """The series without a place in the body, and what remains; alone, they remain.

    What has the series and the class of a scan is a slice of it whose place is lost.
    """
    placed = [s for s in every if not s.is_placeless]
    pictures = [
        s for s in every
        if placed and s.is_placeless and all(s.uid != p.uid or s.kind != p.kind for p in placed)
    ]  # fmt: skip
    return pictures, [s for s in every if s not in pictures]


def _is_stray(series: Series, main: Series) -> bool:
    """Whether it is one image in the same series, turned well away from all others."""
    first, other = series.frames[0], main.frames[0]
    if len(series.frames) > 1 or len(main.frames) < 3 or series.uid != main.uid:
        return False
    if first.missing or other.missing:
        return False
    cosine = abs(float(first.normal @ other.normal))
    return cosine < np.cos(np.radians(SCOUT_DEGREES))


def _parted(frames: Sequence[Frame]) -> list[Series]:
    """The frames of one UID, parted by direction and size.

    A single image of the same direction that differs stays with the others, so that reading them
    says by what: it is not a scout, and a slice would be missing without it.
    """
    groups: list[list[Frame]] = []
    for frame in frames:
        group = next((g for g in groups if _alike(g[0], frame)), None)
        if group is None:
            groups.append([frame])
        else:
            group.append(frame)
    groups.sort(key=lambda group: (not group[0].missing, len(group)), reverse=True)
    main, apart = groups[0], [Series(tuple(g)) for g in groups[1:]]
    whole = Series(tuple(main))
    kept = [
        s for s in apart
        if len(s.frames) > 1 or s.is_scout or _is_stray(s, whole)
        or (s.is_placeless and s.kind != whole.kind)
    ]  # fmt: skip
    main = main + [s.frames[0] for s in apart if s not in kept]
    return [Series(tuple(main)), *kept]


def _alike(one: Frame, other: Frame) -> bool:
    """Whether two images are parallel and of one size in pixels and mm."""
    if one.missing or other.missing or one.shape != other.shape:
        return False
    turned = float(np.abs(one.directions - other.directions).max())
    return turned <= TURN and float(np.abs(one.pixel - other.pixel).max()) <= TURN


def _number(header: Header) -> int:
    """SeriesNumber; those without one come last."""
    number = header.get("SeriesNumber")
    return int(number) if number is not None else 1 << 31


def _dicom_files(path: Path) -> tuple[list[Path], Beside]:
    """The DICOM files at a path and below, sorted by name; and the others, with what they are.

    A file that is called .dcm and is none, or is empty, is refused: a slice would be missing.
    """
    if path.is_file():
        files = [path]
    else:
        below = (f for f in path.rglob("*") if not any(map(is_hidden, _within(f, path))))
        files = sorted(f for f in below if not f.is_dir())
    found: list[Path] = []
    beside: Beside = {}
    for file in files:
        if not file.exists():
            beside[file] = NO_FILE
        elif is_dicom(file):
            found.append(file)
        elif ENDINGS.get(ending_of(file)) == "dicom" or _may_be_slice(file):
            kind = kind_of(file)
            raise UnreadableFile(
                f"{file} is named like DICOM but is not a DICOM file, or is cut short"
                f"{f': it is {kind}' if kind else ''}"
            )
        else:
            beside[file] = NOT_DICOM
    return found, beside


def _may_be_slice(file: Path) -> bool:
    """Whether a file has no ending, or digits for one, as slices have, and holds no text."""
    if file.suffix and not file.suffix[1:].isdigit():
        return False
    with file.open("rb") as stream:
        start = stream.read(1024)
    return not start or any(byte < 9 for byte in start)


def _within(file: Path, root: Path) -> list[Path]:
    """The file and its folders below a root."""
    return [Path(part) for part in file.relative_to(root).parts]


def elements(file: Path, **how: Any) -> Header:
    """A DICOM file's elements, read as `how` tells pydicom's dcmread."""
    with opened(file) as stream:
        return data_of(stream, **how)


def data_of(stream: BinaryIO, **how: Any) -> Header:
    """The elements in a DICOM file's bytes, which may lack the mark and its own header."""
    import pydicom
    from pydicom import uid

    data = pydicom.dcmread(stream, force=True, **how)
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        syntax = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else syntax
    return data


@contextlib.contextmanager
def opened(file: Path) -> Generator[BinaryIO]:
    """The bytes of a DICOM file, for pydicom: a damaged one takes no memory, and is named."""
    with speaking_of(file), _Bounded(io.FileIO(file)) as stream:
        yield stream


class _Bounded(io.BufferedReader):
    """A file that is never asked for more bytes than it has, whatever a damaged length says."""

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, or as many as are left."""
        if size is not None and size > 1 << 16:
            size = min(size, os.fstat(self.fileno()).st_size - self.tell())
        return super().read(size)


@contextlib.contextmanager
def speaking_of(file: Path) -> Generator[None]:
    """Whatever pydicom raises comes out as one exception that names the file; it warns of much."""
    try:
        with without_python_warnings():
            yield
    except UnreadableFile:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableFile(f"{file} is damaged or cut short ({reason})") from error
