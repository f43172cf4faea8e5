"""What became of each case at the import, in words that hold no path, no date and no patient."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from condyle.core import LabelMap, Volume
from condyle.io.paths import ending_of
from condyle.jobs.tables import table_text
from condyle.prepare.crop import lengthwise

__all__ = ["case_facts", "overlaps_csv", "without_paths"]


def without_paths(case: str, files: Sequence[Path], sentences: Iterable[str]) -> list[str]:
    """Warnings of a case with its name in place of its files'."""
    inside = [path for file in files if file.is_dir() for path in file.rglob("*")]
    known = {str(path) for file in (*files, *inside) for path in (file, file.resolve())}
    known |= {file.name for file in files if ending_of(file)}
    longest_first = sorted(known, key=len, reverse=True)
    paths = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
    return [paths.sub(lambda _: case, sentence) for sentence in sentences]


def case_facts(
    case: str,
    files: Sequence[Path],
    volume: Volume,
    written: Volume | LabelMap,
    dropped: Sequence[str],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """A case's entry of import.json: the scan as it was read, and how much of it was written.

    Parameters
    ----------
    dropped : names of header elements that do not travel, of all files; those called private ...
        are only counted.
    """
    axis = lengthwise(volume.grid)
    private = {name for name in dropped if name.startswith("private")}
    return {
        "case": case,
        "format": ending_of(files[0]).lstrip(".") or "dicom",
        "shape": list(volume.grid.shape),
        "spacing_mm": None
        if volume.grid.is_picture
        else [round(step, 6) for step in volume.spacing],
        "orientation": volume.grid.orientation,
        "modality": volume.modality,
        "axial_slices": volume.grid.shape[axis],
        "axial_slices_kept": written.grid.shape[axis],
        "dropped": sorted(set(dropped) - private),
        "dropped_private": len(private),
        "warnings": list(dict.fromkeys(warnings)),
    }


def overlaps_csv(overlaps: Mapping[str, Sequence[Sequence[Any]]]) -> str:
    """The text of overlaps.csv: voxels and cm³ a case and pair of structures; '' if there is none.

    Parameters
    ----------
    overlaps : case -> first and second structure, voxels and cm³ of each pair.

    Examples
    --------
    >>> overlaps_csv({})
    ''
    """
    rows = [
        {"case": case, "first": first, "second": second, "voxels": voxels, "cm3": f"{cm3:.6g}"}
        for case, pairs in overlaps.items()
        for first, second, voxels, cm3 in pairs
    ]
    return table_text(rows) if rows else ""
