"""The label map files that a verb was given, and the names that lie beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from condyle.core import LabelMap, LabelScheme
from condyle.core.merge import structure_of
from condyle.errors import ConfigError, LabelError
from condyle.io import read_labels, scans_by_name, write_text
from condyle.io.label_names import NAMES, names_beside
from condyle.io.scans import names_of

__all__ = ["label_files", "read_named", "write_names"]


def label_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Name -> file, of files and folders of files; refused if two in one folder share a name."""
    files = scans_by_name(paths, labels=True)
    if not files:
        raise ConfigError(f"no label maps found in {', '.join(map(str, paths))}")
    return files


def read_named(path: Path, scheme: LabelScheme | None = None) -> LabelMap:
    """A label map under the names in the file or beside it, or else those of a scheme.

    Parameters
    ----------
    scheme : names numbers that have none, and gives the others its colours; numbers that it lacks
        keep their names.

    Raises
    ------
    LabelError
        If the names beside it do not know one of its numbers, or the scheme contradicts its names.
    """
    labels = read_labels(path)
    if scheme is not None:
        own = names_of(path)
        return labels.with_scheme(
            _named(labels, scheme) if own is None else _coloured(labels, scheme, path)
        )
    beside = names_beside(path)
    if beside is not None and set(beside.names) <= set(labels.scheme.names):
        labels.with_scheme(beside).require_known(str(path))
    return labels


def _named(labels: LabelMap, scheme: LabelScheme) -> LabelScheme:
    return scheme.extended(labels.present())


def _coloured(labels: LabelMap, scheme: LabelScheme, path: Path) -> LabelScheme:
    """The label map's own names in a scheme's colours, if it calls no number otherwise."""
    known = {label.id: label for label in scheme.labels}
    for label in labels.scheme.labels:
        other = known.get(label.id)
        if other is not None and structure_of(label.name, scheme) != other.name:
            raise LabelError(
                f"{path} calls label {label.id} {label.name}, and the scheme calls it "
                f"{other.name}: leave out `scheme`, since the names are in the file or beside it"
            )
    coloured = tuple(
        replace(label, colour=known[label.id].colour) if label.id in known else label
        for label in labels.scheme.labels
    )
    return replace(labels.scheme, labels=coloured)


def write_names(folder: Path, names: Mapping[str, int]) -> Path:
    """Say in a folder of label maps what their numbers stand for."""
    return write_text(Path(folder) / NAMES, json.dumps(dict(names), indent=2) + "\n")
