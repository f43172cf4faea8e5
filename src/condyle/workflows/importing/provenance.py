"""What became of each case at the import, in words that hold no path, no date and no patient."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from condyle.core import LabelMap, Volume
from condyle.core.merge import OverlapReport
from condyle.io.paths import ending_of
from condyle.prepare.crop import lengthwise

__all__ = ["case_facts", "heard", "overlaps_csv"]


@contextmanager
def heard(case: str, files: Sequence[Path]) -> Generator[list[str]]:
    """The warnings said in the block, with the case's name in place of paths."""
    listener = _Listener(case, files)
    log = logging.getLogger("condyle")
    log.addHandler(listener)
    try:
        yield listener.said
    finally:
        log.removeHandler(listener)


class _Listener(logging.Handler):
    """Keeps what is said of one case."""

    def __init__(self, case: str, files: Sequence[Path]):
        super().__init__(logging.WARNING)
        self.case = case
        self.said: list[str] = []
        inside = [path for file in files if file.is_dir() for path in file.rglob("*")]
        known = {str(path) for file in (*files, *inside) for path in (file, file.resolve())}
        known |= {file.name for file in files if ending_of(file)}
        longest_first = sorted(known, key=len, reverse=True)
        self.paths = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def emit(self, record: logging.LogRecord) -> None:
        args = record.args
        if isinstance(args, tuple):
            args = tuple(self.case if isinstance(arg, Path) else arg for arg in args)
        text = str(record.msg) % args if args else str(record.msg)
        self.said.append(self.paths.sub(lambda _: self.case, text))


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
        "spacing_mm": [round(step, 6) for step in volume.spacing],
        "orientation": volume.grid.orientation,
        "modality": volume.modality,
        "axial_slices": volume.grid.shape[axis],
        "axial_slices_kept": written.grid.shape[axis],
        "dropped": sorted(set(dropped) - private),
        "dropped_private": len(private),
        "warnings": list(dict.fromkeys(warnings)),
    }


def overlaps_csv(overlaps: Mapping[str, OverlapReport]) -> str:
    """The text of overlaps.csv: voxels and cm³ a case and pair of structures; '' if there is none.

    Examples
    --------
    >>> overlaps_csv({})
    ''
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for case, report in overlaps.items():
        for pair in report.pairs:
            rows.writerow([case, pair.first, pair.second, pair.voxels, f"{pair.cm3:.6g}"])
    body = text.getvalue()
    return f"case,first,second,voxels,cm3\n{body}" if body else ""
