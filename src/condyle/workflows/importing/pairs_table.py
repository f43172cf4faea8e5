"""Which masks belong to which scan, by a table that a person wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from condyle.core.labels import LabelScheme
from condyle.core.relabel import listed
from condyle.errors import DatasetError, MissingFile
from condyle.io import list_scans, scan_name
from condyle.io.texts import read_table
from condyle.workflows.importing.pairing import Masks, Pairing, masks_within

__all__ = ["tabled"]


def tabled(
    table: Path, folders: Sequence[Path], scheme: LabelScheme | None
) -> tuple[dict[str, Path], Pairing]:
    """Scan -> file, and the masks of each, by a table with the columns scan and mask.

    Columns case (its name) and patient may be there too. A scan with several masks has several
    rows. A path is absolute, or from the table's folder or from one of the folders given on.

    Raises
    ------
    MissingFile, DatasetError
        If the table, or files that it names, are not there, or it contradicts itself.
    """
    if not table.is_file():
        raise MissingFile(f"the table of pairs {table} is not there")
    rows = read_table(table, ["scan", "mask"])
    places = [table.parent, *(path if path.is_dir() else path.parent for path in folders)]
    cells = [row[column] for row in rows for column in ("scan", "mask")]
    found = {cell: _place(cell, places) for cell in cells if cell}
    if lost := [cell for cell, path in found.items() if path is None]:
        raise MissingFile(f"{table} names what is not there: {listed(lost)}")
    if not rows or "" in cells:
        raise DatasetError(f"{table} needs a scan and a mask in each row")
    scans: dict[str, Path] = {}
    masks: dict[str, list[Path]] = {}
    pairing = Pairing()
    for row in rows:
        path = found[row["scan"]] or Path()
        case = row.get("case") or scan_name(path)
        if scans.setdefault(case, path) != path:
            raise DatasetError(
                f"{table}: {scans[case]} and {path} are both the case {case}: name the cases in a "
                "column case"
            )
        masks.setdefault(case, []).append(found[row["mask"]] or Path())
        pairing.cases[case] = case
        if pairing.patients.setdefault(case, row.get("patient", "")) != row.get("patient", ""):
            raise DatasetError(f"{table}: case {case} has more than one patient")
    for case, given in masks.items():
        pairing.masks[case] = _masks(case, scan_name(scans[case]), given, scheme)
    return scans, pairing


def _place(cell: str, places: Sequence[Path]) -> Path | None:
    return next((place / cell for place in places if (place / cell).exists()), None)


def _masks(case: str, scan: str, given: Sequence[Path], scheme: LabelScheme | None) -> Masks:
    """The masks in the rows of one scan: files, or a folder of them."""
    files = [file for path in given for file in list_scans(path, labels=True).scans]
    if len(files) == 1 and files == list(given):  # one file for one scan: its label map
        return masks_within(scan, case, files, scheme, alone_is_map=True)
    return masks_within(scan, case, files, scheme)
