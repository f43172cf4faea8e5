"""Which masks belong to a scan, and the one label map that they become."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from condyle.core import LabelMap, LabelScheme, Volume
from condyle.core.labels import SCHEMES
from condyle.errors import ConfigError, DatasetError, MissingFile, UnknownName
from condyle.io import find_scans, read, read_labels, scan_name
from condyle.io.layouts import Masks
from condyle.io.names import ending_of
from condyle.prepare.merge import OverlapReport, Policy, merge, scheme_of_names, structure_of

__all__ = [
    "Notes",
    "consecutive",
    "labels_of",
    "masks_of",
    "renumbered",
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
    try:
        return LabelScheme.of(json.loads(Path(name).read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise MissingFile(f"the scheme {name} is not there") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f'{name} is no scheme: write {{"tibia": 1, "femur": 2}}') from error


def consecutive(scheme: LabelScheme) -> LabelScheme:
    """The same structures in the same order, numbered 1, 2, 3, ... as nnU-Net demands."""
    colours = {label.name: label.colour for label in scheme.labels}
    return LabelScheme.of({name: n for n, name in enumerate(scheme.names, 1)}, colours)


def masks_of(case: str, masks: Sequence[Path], scans: int) -> tuple[Path, ...]:
    """The mask files, or the one label map, of the scan of this name, one of so many scans."""
    missing = [path for path in masks if not path.exists()]
    if missing:
        raise MissingFile(f"the masks {missing[0]} are not there")
    if scans == 1 and all(path.is_file() for path in masks):
        return tuple(masks)
    for path in masks:
        if path.is_file() and scan_name(path) == case:
            return (path,)
        if (path / case).is_dir():
            return tuple(find_scans(path / case))
        if path.is_dir():
            files = find_scans(path)
            same = [file for file in files if scan_name(file) == case]
            if same or (scans == 1 and files):
                return tuple(same or files)
    raise DatasetError(
        f"no masks for scan {case}: --masks needs a folder {case}/ of masks, or a label map "
        f"called {case}"
    )


def without_scan(masks: Sequence[Path], cases: Sequence[str]) -> list[str]:
    """What the folders of masks hold for scans that are not there; [] where one scan is given."""
    if len(cases) == 1:
        return []
    inside = [entry for path in masks if path.is_dir() for entry in path.iterdir()]
    names = {scan_name(entry) for entry in inside if entry.is_dir() or ending_of(entry)}
    return sorted(name for name in names - set(cases) if not name.startswith("."))


def scheme_found(groups: Mapping[str, Sequence[Path]]) -> LabelScheme:
    """The scheme of the mask names, or of the label maps' own names or numbers."""
    if any(len(files) > 1 for files in groups.values()):
        maps = [case for case, files in groups.items() if [scan_name(f) for f in files] == [case]]
        if maps:
            raise ConfigError(
                f"{maps[0]} has a label map, other scans have masks: say with --scheme what the "
                "numbers of the label map stand for"
            )
        return scheme_of_names({scan_name(file) for files in groups.values() for file in files})
    schemes = [read_labels(files[0]).scheme for files in groups.values()]
    numbered = {_bare(scheme) for scheme in schemes}
    if numbered == {True}:
        return LabelScheme.numbered({number for scheme in schemes for number in scheme.ids})
    if numbered == {False}:
        names = dict.fromkeys(name for scheme in schemes for name in scheme.names)
        return LabelScheme.of({name: n for n, name in enumerate(names, 1)})
    raise ConfigError(
        "some label maps name their structures and others hold bare numbers: say with --scheme "
        "what the numbers stand for"
    )


def labels_of(
    case: str, files: Sequence[Path], scheme: LabelScheme, overlap: Policy, notes: Notes
) -> tuple[LabelMap, OverlapReport | None]:
    """A scan's label map, numbered from 1 on, and what its masks claimed twice."""
    alone = scan_name(files[0]) if len(files) == 1 else ""
    if alone and (alone == case or structure_of(alone, scheme) is None):
        return renumbered(read_labels(files[0]), scheme, notes, case), None
    known = {file: structure_of(scan_name(file), scheme) for file in files}
    unknown = [file.name for file, structure in known.items() if structure is None]
    if unknown:
        notes.append((case, f"no structure of the scheme, passed over: {_some(unknown)}"))
    masks = Masks({scan_name(file): file for file, structure in known.items() if structure}, _mask)
    if not masks:
        raise DatasetError(f"{case}: none of its masks is called after {', '.join(scheme.names)}")
    labels, report = merge(masks, consecutive(scheme), overlap)
    if report.pairs:
        notes.append((case, str(report)))
    return labels, report


def _mask(path: Path) -> LabelMap | Volume:
    """A mask of one structure: any number but 0 counts, so that a scan's reader will do."""
    named = path.is_dir() or ending_of(path) in (".seg.nrrd", ".dcm")
    return read_labels(path) if named else read(path)


def renumbered(labels: LabelMap, scheme: LabelScheme, notes: Notes, case: str) -> LabelMap:
    """The structures of the scheme alone, numbered from 1 on; others become background.

    A label map that names its structures is understood by the names, another by its numbers.
    """
    present = labels.present()
    numbers = {name: n for n, name in enumerate(scheme.names, 1)}
    table = np.zeros(max(*present, 0) + 1, np.uint8 if len(scheme) < 256 else np.uint16)
    left_out: list[str] = []
    for number in present:
        structure = _structure(labels.scheme, number, scheme)
        if structure is None:
            left_out.append(str(number) if _bare(labels.scheme) else labels.scheme[number].name)
        else:
            table[number] = numbers[structure]
    if present and len(left_out) == len(present):
        raise DatasetError(
            f"{case}: its label map holds {_some(left_out)}, none of which is in the scheme "
            f"{scheme.to_dict()}"
        )
    if left_out:
        said = f"labels that are not in the scheme became background: {_some(left_out)}"
        notes.append((case, said))
    return LabelMap(table[labels.array], labels.grid, consecutive(scheme))


def _structure(own: LabelScheme, number: int, scheme: LabelScheme) -> str | None:
    """What a label map's number is in the scheme; None if it is not in it."""
    if _bare(own):
        return scheme[number].name if number in scheme.ids else None
    name = own[number].name
    return name if name in scheme.names else structure_of(name, scheme)


def _bare(scheme: LabelScheme) -> bool:
    """Whether a scheme has numbers alone, and no names."""
    return scheme.names == LabelScheme.numbered(scheme.ids).names


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
