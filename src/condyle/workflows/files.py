"""The label map files that a verb was given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from condyle.errors import ConfigError
from condyle.io import find_scans, scan_name

__all__ = ["label_files"]


def label_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Base name -> file, of files and folders of files; refused if two share a name."""
    files = [file for path in paths for file in find_scans(path)]
    if not files:
        raise ConfigError(f"there is no label map in {', '.join(map(str, paths))}")
    named = {scan_name(file): file for file in files}
    if len(named) < len(files):
        twice = sorted({n for n in map(scan_name, files) if [*map(scan_name, files)].count(n) > 1})
        raise ConfigError(f"more than one file is called {', '.join(twice)}: give them in turn")
    return named
