"""The label map files that a verb was given, and the names that lie beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from condyle.core import LabelMap, LabelScheme
from condyle.errors import ConfigError
from condyle.io import open_dataset, read_labels, scans_by_name, write_text
from condyle.io.texts import read_json

__all__ = ["label_files", "read_named", "write_names"]

NAMES = "labels.json"
"""The file of a folder of label maps that says what their numbers stand for: {"name": number}."""


def label_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Name -> file, of files and folders of files; refused if two in one folder share a name."""
    files = scans_by_name(paths, labels=True)
    if not files:
        raise ConfigError(f"no label maps found in {', '.join(map(str, paths))}")
    return files


def read_named(path: Path) -> LabelMap:
    """A label map under the names in the file, in labels.json beside it, or in its data set."""
    labels = read_labels(path)
    if labels.scheme != LabelScheme.numbered(labels.scheme.ids):
        return labels  # the file itself knows
    scheme = _names_beside(path)
    return labels.with_scheme(scheme).require_known(str(path)) if scheme else labels


def _names_beside(path: Path) -> LabelScheme | None:
    names = path.parent / NAMES
    if names.is_file():
        try:
            return LabelScheme.of(read_json(names))
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f'{names} is not a table of names: write {{"femur": 1}}') from error
    home = path.parent.parent
    if path.parent.name == "labelsTr" and (home / "dataset.json").is_file():
        return open_dataset(home).scheme
    return None


def write_names(folder: Path, names: Mapping[str, int]) -> Path:
    """Say in a folder of label maps what their numbers stand for."""
    return write_text(Path(folder) / NAMES, json.dumps(dict(names), indent=2) + "\n")
