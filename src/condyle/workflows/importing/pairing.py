"""Which masks belong to which scan, by their names: one rule at a time, the surest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from condyle.core.case import repeated
from condyle.core.labels import LabelScheme
from condyle.core.merge import FILLERS, structure_of
from condyle.errors import DatasetError, MissingFile
from condyle.io import list_scans, read_labels, scan_name
from condyle.io.listing import name_scans
from condyle.io.paths import channel_of, ending_of, is_hidden
from condyle.workflows.importing.coded_names import (
    Template,
    by_template,
    coded_rest,
    owners_by_code,
)

__all__ = ["Masks", "Pairing", "bare_name", "masks_within", "paired", "together"]

SCAN_WORDS = (
    "ct", "cbct", "mr", "mri", "pet", "t1", "t2", "t1w", "t2w", "pd", "pdw", "flair", "dixon",
    "img", "image", "images", "im", "scan", "vol", "volume", "orig", "original",
)  # fmt: skip
"""What laboratories put before or behind a case's name in the names of scans."""

MASK_WORDS = (
    "seg", "segs", "dseg", "segmentation", "segmentations", "mask", "masks", "label", "labels",
    "labelmap", "lbl", "gt", "ground", "groundtruth", "truth", "annotation", "annotations",
    "annotated", "manual", "roi",
)  # fmt: skip
"""The same in the names of masks."""

SHARED = 0.5
"""How alike two names are, from 0 to 1, that one is offered for the other."""


@dataclass(frozen=True)
class Masks:
    """What was given for one scan: files of a mask each, or one file that is a label map.

    Parameters
    ----------
    names : what each file calls its structure: its name without the case's.
    """

    files: tuple[Path, ...]
    is_map: bool = False
    names: tuple[str, ...] = ()


@dataclass
class Pairing:
    """Case -> its masks; and what is left.

    Parameters
    ----------
    cases : name of the scan -> name of its case (knee_0000 is a scan of knee).
    lost : masks of no scan.
    patients : scan -> patient, where it is known.
    """

    masks: dict[str, Masks] = field(default_factory=dict[str, Masks])
    cases: dict[str, str] = field(default_factory=dict[str, str])
    lost: list[str] = field(default_factory=list[str])
    patients: dict[str, str] = field(default_factory=dict[str, str])


def bare_name(name: str, words: Collection[str]) -> str:
    """A name without such words before and behind it, in small letters; itself if none is left.

    Examples
    --------
    >>> bare_name("Pat02_CT", SCAN_WORDS), bare_name("label001", MASK_WORDS)
    ('pat02', '001')
    """
    one_of = "|".join(sorted(words, key=len, reverse=True))
    found = name.casefold()
    while True:
        shorter = re.sub(
            rf"^(?:{one_of})(?=[\W_\d])[\W_]*|[\W_]*(?<=[\W_\d])(?:{one_of})$", "", found
        )
        if not shorter or shorter == found:
            return found
        found = shorter


RULES: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (lambda scan: scan, lambda mask: mask),
    (lambda scan: _without_channel(scan), lambda mask: _without_channel(mask)),
    (
        lambda scan: _without_channel(scan).casefold(),
        lambda mask: bare_name(_without_channel(mask), MASK_WORDS),
    ),
    (
        lambda scan: bare_name(_without_channel(scan), SCAN_WORDS),
        lambda mask: bare_name(_without_channel(mask), (*MASK_WORDS, *SCAN_WORDS)),
    ),
)
"""What a scan's name and a mask's must agree in, the surest first."""


def _without_channel(name: str) -> str:
    case, channel = channel_of(name)
    return case if channel == 0 else name


def paired(
    scans: Sequence[str],
    masks: Sequence[Path],
    scheme: LabelScheme | None = None,
    template: str = "",
) -> Pairing:
    """The masks of each scan, by name; all scans without masks are named at once.

    A folder of masks, or a label map, called like its scan; or masks called CASE_STRUCTURE, or
    after the index and code of the scan (6_R_tibia_9B of 6_AutoBindWATER_650_9B). Names may differ
    by _0000 (nnU-Net's first channel) and by words such as _CT and _seg. A single scan may have
    any masks. A template, {index}_{side}_{structure}_{code}, says how masks are called instead.

    Raises
    ------
    MissingFile, DatasetError
        If a path is not there, or a scan has no masks, or more than one thing could be its masks.
    """
    missing = [path for path in masks if not path.exists()]
    if missing:
        raise MissingFile(f"the masks {missing[0]} are not there")
    found = Pairing(cases=_cases(scans))
    if template:
        return _templated(Template(template), scans, masks, found)
    if len(scans) == 1 and masks and all(path.is_file() for path in masks):
        found.masks[scans[0]] = masks_within(
            scans[0], found.cases[scans[0]], masks, scheme, alone_is_map=True
        )
        return found
    work = _Pairs(list(scans), _entries(masks), scheme, found)
    for rule in RULES:
        work.match(*rule)
    work.match_structures()
    work.match_codes()
    if len(scans) == 1 and not found.masks:
        files = [entry for entry in work.left if entry.is_file() or entry in masks]
        if files:
            found.masks[scans[0]] = work.inside(scans[0], files)
            return found
    work.require_complete()
    found.lost = [] if len(scans) == 1 else sorted(scan_name(entry) for entry in work.left)
    return found


def _templated(
    template: Template, scans: Sequence[str], masks: Sequence[Path], found: Pairing
) -> Pairing:
    """The masks of each scan, as a template of their names says."""
    files = [file for entry in _entries(masks) for file in list_scans(entry, labels=True).scans]
    keys = {scan: _keys(scan, found.cases[scan]) for scan in scans}
    groups, found.lost = by_template(template, files, keys)
    if bare := [scan for scan in scans if scan not in groups]:
        lost = f"; masks of no scan: {', '.join(found.lost)}" if found.lost else ""
        raise DatasetError(
            f"by `mask_names` {template.text!r}, there are no masks for {', '.join(bare)}{lost}"
        )
    for scan, rows in groups.items():
        paths, names = zip(*rows, strict=True)
        found.masks[scan] = Masks(paths, False, names)
    return found


def _cases(scans: Sequence[str]) -> dict[str, str]:
    """Scan -> case: without _0000 where that leaves them apart."""
    short = [_without_channel(scan) for scan in scans]
    twice = set(repeated(short))
    return {s: s if case in twice else case for s, case in zip(scans, short, strict=True)}


def _entries(masks: Sequence[Path]) -> list[Path]:
    """Files and folders that may be a scan's masks: those given, or in the folders given."""
    name_scans([path for path in masks if path.is_file()], labels=True)  # refuses two of one name
    found: list[Path] = []
    for path in masks:
        if path.is_file():
            found.append(path)
            continue
        listing = list_scans(path, labels=True)
        name_scans(listing.scans, labels=True)
        listing.say(path)
        if path in listing.scans:
            found.append(path)
            continue
        inside = sorted(entry for entry in path.iterdir() if not is_hidden(entry))
        found += [entry for entry in inside if entry in listing.scans or entry.is_dir()]
    return list(dict.fromkeys(found))


@dataclass
class _Pairs:
    """A pairing under way."""

    scans: list[str]
    left: list[Path]
    scheme: LabelScheme | None
    found: Pairing
    doubts: list[str] = field(default_factory=list[str])

    def match(self, of_scan: Callable[[str], str], of_mask: Callable[[str], str]) -> None:
        """Pair by a rule; what it leaves open is left for the next."""
        scans: dict[str, list[str]] = {}
        for scan in self.scans:
            scans.setdefault(of_scan(scan), []).append(scan)
        entries: dict[str, list[Path]] = {}
        for entry in self.left:
            entries.setdefault(of_mask(scan_name(entry)), []).append(entry)
        for key, group in entries.items():
            own = scans.get(key, [])
            open_ = [scan for scan in own if scan not in self.found.masks]
            if not open_:
                continue
            if len(own) > 1 or len(group) > 1:
                words = " and ".join(entry.name for entry in group)
                self.doubts.append(f"{words} may be of {' or '.join(own)}")
                continue
            self.left.remove(group[0])
            files = list_scans(group[0], labels=True).scans
            if group[0].is_dir() and files != (group[0],):
                self.found.masks[open_[0]] = self.inside(open_[0], files, scan_name(group[0]))
            else:
                self.found.masks[open_[0]] = Masks((group[0],), True, ("",))

    def inside(self, scan: str, files: Sequence[Path], folder: str = "") -> Masks:
        """The files of one scan's own folder, or those called CASE_STRUCTURE."""
        return masks_within(scan, self.found.cases[scan], files, self.scheme, folder)

    def match_structures(self) -> None:
        """Pair files called CASE_STRUCTURE or STRUCTURE_CASE: with the longest case that fits."""
        groups: dict[str, list[Path]] = {}
        for entry in [e for e in self.left if not e.is_dir()]:
            best: dict[str, list[str]] = {}
            name = scan_name(entry)
            for scan in self.scans:
                for key in _keys(scan, self.found.cases[scan]):
                    rest = _rest(name, key)
                    if rest is not None and bare_name(name, MASK_WORDS) != key:
                        best.setdefault(key, []).append(scan)
            if not best:
                continue
            owners = best[max(best, key=len)]
            if len(set(owners)) > 1:
                self.doubts.append(f"{entry.name} may be of {' or '.join(owners)}")
            elif owners[0] not in self.found.masks:
                groups.setdefault(owners[0], []).append(entry)
        for scan, files in groups.items():
            self.found.masks[scan] = self.inside(scan, files)
            self.left = [entry for entry in self.left if entry not in files]

    def match_codes(self) -> None:
        """Pair masks called after the index and code of their scan: 6_R_tibia_9B."""
        groups: dict[str, list[Path]] = {}
        open_ = [scan for scan in self.scans if scan not in self.found.masks]
        for entry in [e for e in self.left if not e.is_dir()]:
            name = scan_name(entry)
            owners = [
                scan
                for scan in owners_by_code(name, self.scans)
                if (coded_rest(name, scan) or "").casefold() not in MASK_WORDS
            ]
            if len(owners) > 1:
                self.doubts.append(f"{entry.name} may be of {' or '.join(owners)}")
            elif owners and owners[0] in open_:
                groups.setdefault(owners[0], []).append(entry)
        for scan, files in groups.items():
            self.found.masks[scan] = self.inside(scan, files)
            self.left = [entry for entry in self.left if entry not in files]

    def require_complete(self) -> None:
        """Raise unless each scan has masks: all that have none are named, with a guess each."""
        bare = [scan for scan in self.scans if scan not in self.found.masks]
        if not bare:
            return
        for entry in self.left:  # DICOM that is no segmentation says so
            if entry.is_dir() and list_scans(entry, labels=True).scans == (entry,):
                read_labels(entry)
        spare = {scan_name(entry): entry.name for entry in self.left}
        lines: list[str] = []
        for scan in bare:
            near = get_close_matches(scan, list(spare), n=1, cutoff=SHARED)
            lines.append(f"{scan} ({spare[near[0]]}?)" if near else scan)
        what = f"scan {lines[0]}" if len(lines) == 1 else f"{len(lines)} scans: {', '.join(lines)}"
        doubts = f"; {'; '.join(dict.fromkeys(self.doubts))}" if self.doubts else ""
        lost = f"; masks of no scan: {', '.join(sorted(spare.values()))}" if spare else ""
        raise DatasetError(
            f"no masks for {what}{doubts}{lost}; `masks` needs a folder {bare[0]}/ of masks, a "
            f"label map called {bare[0]}, or masks called {bare[0]}_STRUCTURE: rename them, say "
            "by `mask_names` how they are called ({index}_{side}_{structure}_{code}), or give "
            "`pairs`, a table with the columns scan and mask"
        )


def masks_within(
    scan: str,
    case: str,
    files: Sequence[Path],
    scheme: LabelScheme | None,
    folder: str = "",
    alone_is_map: bool = False,
) -> Masks:
    """All files of one scan: the masks of a structure each, or its only label map.

    Parameters
    ----------
    folder : the name of the folder that they lie in.
    alone_is_map : whether a single file is a label map unless its name says a structure.
    """
    if not files:
        raise DatasetError(f"no masks for scan {scan}: its folder of masks is empty")
    keys = _keys(scan, case)
    names = structure_names(files, [*keys, folder])
    if len(files) > 1:
        return Masks(tuple(files), False, names)
    (file,), (name,) = files, names
    alone = scan_name(file)
    if scheme is not None and structure_of(name, scheme):
        is_map = alone.casefold() in keys
    elif alone_is_map or {alone.casefold(), name.casefold()} & {*keys, *FILLERS, *MASK_WORDS}:
        is_map = True
    elif name != alone and scheme is not None:
        is_map = True  # leg_1_corrected
    elif ending_of(file) == ".seg.nrrd":
        is_map = len(read_labels(file).present()) > 1
    else:
        is_map = ending_of(file) in (".dcm", ".ima", "")
    return Masks((file,), is_map, names)


def _keys(scan: str, case: str) -> list[str]:
    """What may stand for a scan's case in a mask's name, in small letters."""
    keys = [scan, case, bare_name(_without_channel(scan), SCAN_WORDS)]
    return list(dict.fromkeys(key.casefold() for key in keys))


def structure_names(files: Sequence[Path], cases: Sequence[str]) -> tuple[str, ...]:
    """What each file calls its structure: its base name, without the case's before or behind.

    Raises
    ------
    DatasetError
        If two of the files call it the same.
    """
    names: list[str] = []
    for file in files:
        name = scan_name(file)
        keys = sorted(filter(None, cases), key=len, reverse=True)
        rests = [rest(name, key) for rest in (_rest, coded_rest) for key in keys]
        names.append(next((rest for rest in rests if rest is not None), name))
    if twice := repeated(names):
        same = [str(f) for f, name in zip(files, names, strict=True) if name == twice[0]]
        raise DatasetError(f"{' and '.join(same)} are two masks of {twice[0]}: keep one of them")
    return tuple(names)


def _rest(name: str, case: str) -> str | None:
    """What a name says besides the case's, before or behind it; None if that is not in it."""
    key = re.escape(case)
    for pattern in (rf"{key}[\W_]+(.+)", rf"(.+?)[\W_]+{key}"):
        if found := re.fullmatch(pattern, name, flags=re.IGNORECASE):
            return found[1]
    return None


def together(
    found: Mapping[str, Path], scheme: LabelScheme | None = None
) -> tuple[dict[str, Path], Pairing] | None:
    """Scan -> file, and the masks of each, where both lie in the same folders; None if they do not.

    In a folder a case, the scan is the only file whose name does not say that it is a mask, or the
    only one that says that it is a scan. Where all lie in one folder, masks are those whose names
    say so, and those called after a scan that is there: P1_femur beside P1.
    """
    folders: dict[Path, list[Path]] = {}
    for path in found.values():
        folders.setdefault(path.parent, []).append(path)
    if len(folders) == 1:
        return _in_one_folder(found, scheme)
    scans: dict[str, Path] = {}
    pairing = Pairing()
    names = dict(zip(folders, name_scans(list(folders)), strict=True))
    for folder, files in folders.items():
        scan = _scan_among(files)
        if scan is None:
            return None
        case = names[folder]
        scans[case], pairing.cases[case] = scan, case
        masks = [file for file in files if file != scan]
        pairing.masks[case] = _Pairs([case], [], scheme, pairing).inside(case, masks)
    return scans, pairing


def _in_one_folder(
    found: Mapping[str, Path], scheme: LabelScheme | None
) -> tuple[dict[str, Path], Pairing] | None:
    names = {name for name in found if not _says_mask(name)}
    called_after = {
        name
        for name in names
        for case in names
        if re.search("[^\\W\\d_]", _rest(name, case) or "") and not _says_scan(name)
    }
    scans = {name: path for name, path in found.items() if name in names - called_after}
    masks = [path for name, path in found.items() if name not in scans]
    return (scans, paired(list(scans), masks, scheme)) if scans and masks else None


def _scan_among(files: Sequence[Path]) -> Path | None:
    """The scan among the files of one case; None if that is not plain."""
    if len(files) < 2:
        return None
    no_masks = [file for file in files if not _says_mask(scan_name(file))]
    if len(no_masks) == 1:
        return no_masks[0]
    scans = [file for file in files if _says_scan(scan_name(file))]
    return scans[0] if len(scans) == 1 else None


def _says_mask(name: str) -> bool:
    return name.casefold() in MASK_WORDS or bare_name(name, MASK_WORDS) != name.casefold()


def _says_scan(name: str) -> bool:
    return name.casefold() in SCAN_WORDS or bare_name(name, SCAN_WORDS) != name.casefold()
