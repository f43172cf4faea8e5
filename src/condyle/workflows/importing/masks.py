"""Which masks belong to a scan, and the one label map that they become."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from condyle.core import LabelMap, LabelScheme, Volume
from condyle.core.labels import SCHEMES
from condyle.core.merge import FILLERS, OverlapReport, Policy, merge, scheme_of_names, structure_of
from condyle.core.relabel import by_name, consecutive, has_bare_numbers, listed
from condyle.errors import ConfigError, DatasetError, MissingFile, UnknownName
from condyle.io import list_scans, read, read_labels, scan_name
from condyle.io.datasets import layouts
from condyle.io.listing import name_scans
from condyle.io.paths import ending_of
from condyle.io.texts import read_json

__all__ = [
    "Masks",
    "Notes",
    "in_scheme",
    "labels_of",
    "masks_of",
    "scheme_found",
    "scheme_named",
    "without_scan",
]


Notes = list[tuple[str, str]]
"""Cases, and what the user should know of each."""


def scheme_named(name: str) -> LabelScheme | None:
    """A built-in scheme, one from a JSON file, or None for ''."""
    if not name:
        return None
    if name in SCHEMES:
        return SCHEMES[name]
    if not Path(name).suffix:
        raise UnknownName("scheme", name, [*SCHEMES, "or a JSON file"])
    if not Path(name).exists():
        raise MissingFile(f"the scheme {name} is not there")
    try:
        return LabelScheme.of(read_json(Path(name)))
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f'{name} is no scheme: write {{"tibia": 1, "femur": 2}}') from error


@dataclass(frozen=True)
class Masks:
    """What was given for one scan: files of a mask each, or one file that is a label map."""

    files: tuple[Path, ...]
    is_map: bool = False


def masks_of(
    case: str, masks: Sequence[Path], scans: int, scheme: LabelScheme | None = None
) -> Masks:
    """The masks, or the label map, of the scan of this name, one of so many scans.

    A file called like the scan is a label map. So is a single one whose name says no more than
    that, or, where it was given itself, no structure of the scheme.
    """
    missing = [path for path in masks if not path.exists()]
    if missing:
        raise MissingFile(f"the masks {missing[0]} are not there")
    name_scans([path for path in masks if path.is_file()], labels=True)  # refuses two of one name
    if scans == 1 and all(path.is_file() for path in masks):
        named = scheme and structure_of(scan_name(masks[0]), scheme)
        is_map = len(masks) == 1 and (not named or scan_name(masks[0]) == case)
        return Masks(tuple(masks), is_map)
    for path in masks:
        if path.is_file() and scan_name(path) == case:
            return Masks((path,), True)
        if (path / case).is_dir():
            return _inside(case, _files(path / case), scheme)
        if path.is_dir():
            files = _files(path)
            same = [file for file in files if scan_name(file) == case]
            if same:
                return Masks((same[0],), True)
            if scans == 1 and files:
                return _inside(case, files, scheme)
    raise DatasetError(
        f"no masks for scan {case}: `masks` needs a folder {case}/ of masks, or a label map "
        f"called {case}"
    )


def _files(folder: Path) -> list[Path]:
    """The masks of a folder; refused if two of one name lie in it."""
    return list(name_scans(list_scans(folder, labels=True).scans, labels=True).values())


def _inside(case: str, files: Sequence[Path], scheme: LabelScheme | None) -> Masks:
    """The files of one scan's own folder."""
    if not files:
        raise DatasetError(f"no masks for scan {case}: its folder of masks is empty")
    alone = scan_name(files[0]) if len(files) == 1 else ""
    says_no_more = alone.lower() in FILLERS or re.match(rf"{re.escape(case)}[\W_]", alone)
    named = scheme and structure_of(alone, scheme)
    return Masks(tuple(files), alone == case or bool(says_no_more and not named))


def without_scan(masks: Sequence[Path], cases: Sequence[str]) -> list[str]:
    """What the folders of masks hold for scans that are not there; [] where one scan is given."""
    if len(cases) == 1:
        return []
    inside = [entry for path in masks if path.is_dir() for entry in path.iterdir()]
    names = {scan_name(entry) for entry in inside if entry.is_dir() or ending_of(entry)}
    return sorted(name for name in names - set(cases) if not name.startswith("."))


def scheme_found(groups: Mapping[str, Masks]) -> LabelScheme:
    """The scheme of the mask names, or of the label maps' own names or numbers."""
    maps = [case for case, group in groups.items() if group.is_map]
    if maps and len(maps) < len(groups):
        raise ConfigError(
            f"{maps[0]} has a label map, other scans have masks: say by `scheme` what the "
            "numbers of the label map stand for"
        )
    if not maps:
        return scheme_of_names({scan_name(f) for group in groups.values() for f in group.files})
    schemes = [read_labels(group.files[0]).scheme for group in groups.values()]
    bare = {has_bare_numbers(scheme) for scheme in schemes}
    if bare == {True}:
        return LabelScheme.numbered({number for scheme in schemes for number in scheme.ids})
    if bare == {False}:
        names = dict.fromkeys(name for scheme in schemes for name in scheme.to_dict())
        return LabelScheme.of({name: n for n, name in enumerate(names, 1)})
    raise ConfigError(
        "some label maps name their structures and others hold bare numbers: say by `scheme` "
        "what the numbers stand for"
    )


def labels_of(
    case: str, given: Masks, scheme: LabelScheme, overlap: Policy, notes: Notes
) -> tuple[LabelMap, OverlapReport | None]:
    """A scan's label map, numbered from 1 on, and what its masks claimed twice."""
    if given.is_map:
        return in_scheme(read_labels(given.files[0]), scheme, notes, case), None
    known = {file: structure_of(scan_name(file), scheme) for file in given.files}
    unknown = [file.name for file, structure in known.items() if structure is None]
    if unknown:
        notes.append((case, f"not in the scheme, ignored: {listed(unknown)}"))
    files = {scan_name(file): file for file, structure in known.items() if structure}
    if not files:
        raise DatasetError(
            f"{case}: none of its masks has the name of one of {listed(scheme.names)}"
        )
    read_one = partial(_mask, case=case, notes=notes)
    labels, report = merge(layouts.Masks(files, read_one), consecutive(scheme), overlap)
    if report.pairs:
        notes.append((case, str(report)))
    return labels, report


def in_scheme(labels: LabelMap, scheme: LabelScheme, notes: Notes, case: str) -> LabelMap:
    """The structures of the scheme alone, numbered from 1 on; what was left out is noted."""
    found, left_out = by_name(labels, scheme, case)
    if left_out:
        said = f"labels that are not in the scheme became background: {listed(left_out)}"
        notes.append((case, said))
    return found


def _mask(path: Path, case: str, notes: Notes) -> LabelMap | Volume:
    """A mask of one structure: any number but 0 counts, so that a scan's reader will do."""
    named = path.is_dir() or ending_of(path) in (".seg.nrrd", ".dcm")
    mask = read_labels(path) if named else read(path)
    inside = mask.array[mask.array != 0]
    if inside.size and inside.min() != inside.max():
        said = f"{path.name} holds {inside.min():g} to {inside.max():g}: all count as one structure"
        notes.append((case, said))
    return mask
