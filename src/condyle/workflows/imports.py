"""Scans and masks in, a data set out that Condyle and nnU-Net train on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from condyle.core import LabelMap, LabelScheme, Volume
from condyle.core.labels import SCHEMES
from condyle.errors import ConfigError, DatasetError, MissingFile, UnknownName
from condyle.io import find_scans, read, read_labels, scan_name, write_nnunet
from condyle.prepare.fingerprint import looks_like_ct
from condyle.prepare.merge import Policy, merge, scheme_of_names, structure_of
from condyle.workflows.progress import Tell, silent, told

__all__ = ["import_scans"]


def import_scans(
    scans: Sequence[Path],
    masks: Sequence[Path],
    out: Path,
    *,
    scheme: str = "",
    overlap: Policy = "error",
    tell: Tell = silent,
) -> str:
    """Write scans and their masks as a data set folder; gives back what was done, in words.

    Parameters
    ----------
    scans : files, DICOM folders, zips, or folders of these.
    masks : a folder of one scan's masks, or one with such a folder (or a label map) a scan,
        matched by base name.
    out : the new data set folder.
    scheme : lower-limb, knee, a JSON file {"name": number}, or '' for the names found.
    overlap : background, priority or error: what happens to a voxel that two masks claim.
    """
    found = [path for scan in scans for path in find_scans(scan)]
    if not found:
        raise DatasetError(f"there is no scan in {', '.join(map(str, scans))}")
    wanted = _scheme(scheme)
    sources = {
        scan_name(path): (path, _masks_of(scan_name(path), masks, len(found))) for path in found
    }
    if wanted is None:
        wanted = _scheme_found([files for _, files in sources.values()])
    notes: list[str] = []

    def pairs() -> Iterator[tuple[str, tuple[Volume, ...], LabelMap]]:
        for name, (scan, files) in told(tell, "importing", sources.items(), len(sources)):
            volume = read(scan)
            labels = _labels(files, wanted, overlap, notes, name)
            volume.grid.require_same(labels.grid, f"{name}: scan and masks")
            yield name, (volume,), labels

    channel = "CT" if looks_like_ct(read(found[0])) else "MRI"  # nnU-Net scales by this name
    write_nnunet(out, Path(out).name, pairs(), _consecutive(wanted), (channel,))
    text = f"{len(sources)} scans with {', '.join(wanted.names)} written into {out}"
    return "\n".join([text, *notes])


def _scheme(name: str) -> LabelScheme | None:
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


def _consecutive(scheme: LabelScheme) -> LabelScheme:
    """The same structures in the same order, numbered 1, 2, 3, ... as nnU-Net demands."""
    colours = {label.name: label.colour for label in scheme.labels}
    return LabelScheme.of({name: n for n, name in enumerate(scheme.names, 1)}, colours)


def _masks_of(name: str, masks: Sequence[Path], scans: int) -> list[Path]:
    """The mask files, or the one label map, of the scan of this base name."""
    for path in masks:
        if not path.exists():
            raise MissingFile(f"the masks {path} are not there")
        if path.is_file() and (scan_name(path) == name or scans == len(masks) == 1):
            return [path]
        if (path / name).is_dir():
            return find_scans(path / name)
        if path.is_dir():
            files = find_scans(path)
            same = [file for file in files if scan_name(file) == name]
            if same:
                return same
            if scans == 1 and files:
                return files
    raise DatasetError(
        f"no masks for scan {name}: --masks needs a folder {name}/ of masks, or a label map "
        f"called {name}"
    )


def _scheme_found(groups: Sequence[Sequence[Path]]) -> LabelScheme:
    """The scheme of the mask names, or of the label maps' own numbers."""
    if any(len(files) > 1 for files in groups):
        return scheme_of_names(sorted({scan_name(file) for files in groups for file in files}))
    labels = {name: number for files in groups
              for name, number in read_labels(files[0]).scheme.to_dict().items()}  # fmt: skip
    return LabelScheme.of(labels)


def _labels(
    files: Sequence[Path], scheme: LabelScheme, overlap: Policy, notes: list[str], case: str
) -> LabelMap:
    """A scan's label map, numbered from 1 on; notes what was passed over and what overlapped."""
    if len(files) == 1 and structure_of(scan_name(files[0]), scheme) is None:
        return _renumbered(read_labels(files[0]), scheme, notes, case)
    known = {file: structure_of(scan_name(file), scheme) for file in files}
    unknown = [file.name for file, structure in known.items() if structure is None]
    if unknown:
        notes.append(f"{case}: no structure of the scheme, passed over: {', '.join(unknown)}")
    masks = {scan_name(file): read(file) for file, structure in known.items() if structure}
    if not masks:
        raise DatasetError(f"{case}: none of its masks is called after {', '.join(scheme.names)}")
    labels, report = merge(masks, _consecutive(scheme), overlap)
    if report.pairs:
        notes.append(f"{case}: {report}")
    return labels


def _renumbered(labels: LabelMap, scheme: LabelScheme, notes: list[str], case: str) -> LabelMap:
    """The structures of the scheme alone, numbered from 1 on; others become background."""
    left_out = [n for n in labels.present() if n not in scheme.ids]
    if len(left_out) == len(labels.present()):
        raise DatasetError(
            f"{case}: its label map holds the numbers {list(labels.present())[:8]}, none of which "
            f"is in the scheme {scheme.to_dict()}"
        )
    if left_out:
        shown = ", ".join(map(str, left_out[:8])) + (", ..." if len(left_out) > 8 else "")
        notes.append(f"{case}: labels that are not in the scheme became background: {shown}")
    table = np.zeros(max(*labels.present(), *scheme.ids) + 1, np.uint8)
    table[list(scheme.ids)] = np.arange(1, len(scheme) + 1)
    return LabelMap(table[labels.array], labels.grid, _consecutive(scheme))
