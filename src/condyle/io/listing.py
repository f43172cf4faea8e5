"""Which scans lie at a path, what each is called, and what was passed over and why.

A folder that directly holds the images of a DICOM scan is one scan. Files are taken from the
first folder that holds any: below it, only DICOM folders are looked for. DICOM that is no scan
(scouts, dose reports, RTSTRUCT) counts where there is nothing else, and so do pictures (.png,
.jpg, .tif): beside scans they are views of these.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from condyle.core.case import repeated
from condyle.errors import DatasetError, MissingFile
from condyle.io.dicom.objects import CONTOURS, IMAGE, INDEX, SEGMENTATION, object_in
from condyle.io.dicom.series import listed
from condyle.io.paths import ENDINGS, ending_of, is_dicom, is_hidden, scan_name, spelled
from condyle.jobs.job import note, warn
from condyle.jobs.records import HOME, MANIFEST

__all__ = ["Listing", "find_scans", "list_scans", "name_scans", "scans_by_name"]

OURS = frozenset({
    MANIFEST, "labels.json", "quality.csv", "dataset.json", "patients.csv", "splits_final.json",
    "import.json", "overlaps.csv",
})  # fmt: skip
"""Files that Condyle itself puts beside scans and label maps, or reads there."""

SIDECARS = (".json", ".bval", ".bvec", ".raw", ".zraw", ".mat")
"""Endings of files that belong to the scan of the same name."""

SHOWN = 12
"""Of what was passed over, as many are named in a warning."""

DERIVED = ("derivatives", "sourcedata")
"""Folders of a BIDS data set that hold no scans of its own."""


@dataclass(frozen=True)
class Listing:
    """What lies at a path.

    Parameters
    ----------
    scans : files and DICOM folders, sorted.
    passed_over : what else was found, each with the reason.
    """

    scans: tuple[Path, ...]
    passed_over: Mapping[Path, str]

    def say(self, root: Path) -> None:
        """Warn of what was passed over, in one line; the log has all of it."""
        if not self.passed_over:
            return
        names = [
            f"{file.relative_to(root) if file.is_relative_to(root) else file}: {why}"
            for file, why in sorted(self.passed_over.items())
        ]
        warn(f"{root}: passed over {listed(names, SHOWN)}")
        note(f"{root}: all that was passed over: {'; '.join(names)}")


def list_scans(path: Path, labels: bool = False) -> Listing:
    """The scans at a path: a file itself, or those of a folder.

    Parameters
    ----------
    labels : whether label maps are looked for: of DICOM, segmentations count, contours (RTSTRUCT)
        where a folder has none, and images only where there is nothing else.

    Raises
    ------
    MissingFile
        If the path is not there.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFile(f"{path} is not there")
    if path.is_file():
        return Listing((path,), {})
    walk = _Walk(labels)
    walk.into(path, files_too=True)
    if walk.pictures and not walk.scans:
        return Listing(tuple(sorted(walk.pictures)), walk.passed_over)
    if walk.scans:
        walk.passed_over |= dict.fromkeys(walk.pictures, "a picture beside scans")
        others = {file: why for found in walk.doubtful.values() for file, why in found.items()}
        return Listing(tuple(sorted(walk.scans)), walk.passed_over | others)
    return Listing(tuple(sorted(walk.doubtful)), walk.passed_over)


def find_scans(path: Path) -> list[Path]:
    """The scans at a path, sorted; `list_scans` says what was passed over, too."""
    return list(list_scans(path).scans)


@dataclass
class _Walk:
    """What was found on the way through a folder.

    Parameters
    ----------
    doubtful : what counts as a scan where there is no other -> its files, and what they are.
    """

    labels: bool = False
    scans: list[Path] = field(default_factory=list[Path])
    passed_over: dict[Path, str] = field(default_factory=dict[Path, str])
    doubtful: dict[Path, dict[Path, str]] = field(default_factory=dict[Path, dict[Path, str]])
    pictures: list[Path] = field(default_factory=list[Path])
    seen: set[str] = field(default_factory=set[str])

    def into(self, folder: Path, files_too: bool) -> None:
        """Look into a folder, and those below; for files only where none were found above."""
        self.seen.add(os.path.realpath(folder))
        entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry))
        dicom, files, rest = _sorted_files([entry for entry in entries if not entry.is_dir()])
        pictures = [file for file in files if ENDINGS[ending_of(file)] == "picture"]
        files = [file for file in files if file not in pictures]
        kinds = _kinds(dicom, all_of_them=self.labels)
        drawn = {SEGMENTATION, CONTOURS}.intersection(kinds.values())
        if IMAGE in kinds.values() and self.labels and not drawn:
            self.doubtful[folder] = {folder: "DICOM images without a segmentation"}
        elif IMAGE in kinds.values():
            if len(files) <= len(dicom):
                self.scans.append(folder)  # what else it holds is said when it is read
                return
            self.passed_over |= dict.fromkeys(dicom, "DICOM in a folder of other scans")
        else:
            self._keep_doubtful(folder, kinds)
        self.passed_over |= rest
        self.pictures += pictures if files_too else []
        if files_too:
            self.scans += files
        elif files:
            self.passed_over[folder] = "a folder beside scans, in which no files are looked for"
        for entry in entries:
            if entry.is_dir():
                self._below(entry, files_too and not files)

    def _below(self, folder: Path, files_too: bool) -> None:
        if os.path.realpath(folder) in self.seen:
            self.passed_over[folder] = "a link to a folder that was looked into"
        elif folder.name in DERIVED:
            self.passed_over[folder] = "what a BIDS data set was made from, or into"
        elif (folder / HOME).is_dir() or (folder / MANIFEST).is_file():
            self.passed_over[folder] = "results of Condyle"
        else:
            try:
                self.into(folder, files_too)
            except PermissionError:
                self.passed_over[folder] = "cannot be opened"

    def _keep_doubtful(self, folder: Path, kinds: Mapping[Path, str]) -> None:
        """Keep DICOM that is no image: each segmentation by itself, all else by its folder."""
        rest = {file: kind for file, kind in kinds.items() if kind != INDEX}
        drawn = SEGMENTATION if SEGMENTATION in rest.values() else CONTOURS
        for file, kind in rest.items():
            if kind == drawn and self.labels:
                self.scans.append(file)
            elif kind == SEGMENTATION:
                self.doubtful[file] = {file: kind}
        kept = {SEGMENTATION, drawn} if self.labels else {SEGMENTATION}
        others = {file: kind for file, kind in rest.items() if kind not in kept}
        if others and len(others) < len(rest):
            self.passed_over |= others
        elif others:
            self.doubtful[folder] = others


def _sorted_files(
    entries: Sequence[Path],
) -> tuple[list[Path], list[Path], dict[Path, str]]:
    """The DICOM files, the files of other formats, and the rest with the reasons."""
    dicom: list[Path] = []
    files: list[Path] = []
    rest: dict[Path, str] = {}
    endings = {entry: ENDINGS.get(ending_of(entry), "") for entry in entries}
    scans = {_stem(entry) for entry, kind in endings.items() if kind not in ("", "picture")}
    names = {entry.name.lower() for entry in entries}
    for entry in entries:
        kind = endings[entry]
        if not entry.exists():
            rest[entry] = "a link to nothing"
        elif kind not in ("", "dicom"):
            if entry.suffix.lower() != ".img" or _header_of(entry) not in names:
                files.append(entry)
        elif _is_dicom(entry):
            dicom.append(entry)
        elif kind == "dicom":
            rest[entry] = "named like DICOM, and is none"
        elif entry.name not in OURS and not (
            entry.suffix.lower() in SIDECARS and _stem(entry) in scans
        ):
            rest[entry] = "no format that Condyle reads"
    return dicom, files, rest


def _kinds(dicom: Sequence[Path], all_of_them: bool) -> dict[Path, str]:
    """What DICOM files are; those behind the first image of a scan are mostly more of it."""
    kinds: dict[Path, str] = {}
    for file in dicom:
        kinds[file] = object_in(file)
        if kinds[file] == IMAGE and not all_of_them:
            break
    return kinds


def _is_dicom(file: Path) -> bool:
    try:
        return is_dicom(file)
    except OSError:
        return False


def _stem(file: Path) -> str:
    """A file's name without its ending, known or not."""
    return file.name[: -len(ending_of(file) or file.suffix) or None].lower()


def _header_of(image: Path) -> str:
    return f"{_stem(image)}.hdr"


def name_scans(paths: Sequence[Path], labels: bool = False) -> dict[str, Path]:
    """Name -> scan: base names, or, where these are not enough, with folders that tell them apart.

    Of the folders above, as few as possible stand before the base name, the outermost ones first:
    P01_CT and P02_CT of P01/CT and P02/CT. All scans are named by the same levels of folders.

    Raises
    ------
    DatasetError
        If two files in one folder have one base name: leg.nii.gz and leg.nrrd.

    Examples
    --------
    >>> list(name_scans([Path("in/P01/day1/CT"), Path("in/P02/day1/CT")]))
    ['P01_CT', 'P02_CT']
    """
    places = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100  links keep names
    bases = [scan_name(place) for place in places]
    groups: dict[tuple[Path, str], list[str]] = {}
    for place, base in zip(places, bases, strict=True):
        groups.setdefault((place.parent, base), []).append(place.name)
    twice = [(where, files) for where, files in groups.items() if len(files) > 1]
    for (folder, base), files in twice[:1]:
        more = f" (and {len(twice) - 1} more such)" if len(twice) > 1 else ""
        what = "file" if labels else "scan"
        raise DatasetError(
            f"more than one {what} is called {base}: {' and '.join(files)} in {folder}{more}; keep "
            "one of them"
        )
    names = bases
    if repeated(bases):
        above = [[spelled(part) for part in place.parent.parts[1:]] for place in places]
        names = _told_apart(above, bases)
    return dict(zip(names, paths, strict=True))


def _told_apart(above: Sequence[Sequence[str]], bases: Sequence[str]) -> list[str]:
    """Names of base names and as few levels of the folders above as tell them apart."""
    depth = max(map(len, above))
    levels = [[parts[n] if n < len(parts) else "" for parts in above] for n in range(depth)]
    useful = [level for level in levels if len(set(level)) > 1]
    for count in range(1, len(useful) + 1):
        for chosen in combinations(useful, count):
            names = ["_".join(filter(None, parts)) for parts in zip(*chosen, bases, strict=True)]
            if not repeated(names):
                return names
    raise DatasetError(
        f"more than one scan is called {repeated(bases)[0]}, and the names of the folders above do "
        "not tell them apart: rename one"
    )


def scans_by_name(paths: Iterable[Path], labels: bool = False) -> dict[str, Path]:
    """Name -> scan, of files and folders; what was passed over is said, two of one name refused.

    Parameters
    ----------
    labels : whether label maps are looked for.

    Raises
    ------
    MissingFile, DatasetError
        If a path is not there, or two files in one folder have one base name.
    """
    found: list[Path] = []
    for path in paths:
        listing = list_scans(Path(path), labels)
        listing.say(Path(path))
        found += listing.scans
    return name_scans(found, labels)
