"""The label map files that a verb was given, and the names that lie beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from condyle.core import LabelMap
from condyle.errors import ConfigError
from condyle.io import read_labels, scans_by_name, write_text
from condyle.io.label_names import NAMES, names_beside

__all__ = ["label_files", "read_named", "write_names"]


def label_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Name -> file, of files and folders of files; refused if two in one folder share a name."""
    files = scans_by_name(paths, labels=True)
    if not files:
        raise ConfigError(f"no label maps found in {', '.join(map(str, paths))}")
    return files


def read_named(path: Path) -> LabelMap:
    """A label map under the names in the file or beside it.

    Raises
    ------
    LabelError
        If the names beside it do not know one of its numbers.
    """
    labels = read_labels(path)
    beside = names_beside(path)
    if beside is not None and set(beside.names) <= set(labels.scheme.names):
        labels.with_scheme(beside).require_known(str(path))
    return labels


def write_names(folder: Path, names: Mapping[str, int]) -> Path:
    """Say in a folder of label maps what their numbers stand for."""
    return write_text(Path(folder) / NAMES, json.dumps(dict(names), indent=2) + "\n")
