"""Label maps in, surfaces in millimetres out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condyle.core.case import repeated
from condyle.errors import LabelError, UnknownName
from condyle.io.labelmaps import label_files, read_named
from condyle.jobs.job import warn
from condyle.jobs.progress import Tell, silent, told
from condyle.mesh import FORMATS, SPACES, Mesh, surfaces
from condyle.mesh import write as write_mesh
from condyle.runs.record import 

__all__ = ["mesh"]


MUCH = 0.02
"""A change of volume that is worth a warning."""


def mesh(
    labelmaps: Sequence[Path],
    out: Path,
    *,
    format: str = "ply",
    space: str = "ras",
    smooth: bool = True,
    error_mm: float = 0.1,
    tell: Tell = silent,
) -> list[Path]:
    """Write a surface a structure and one of all for each label map, and surfaces.csv.

    Parameters
    ----------
    labelmaps : files, or folders of them.
    format : ply, stl, obj or glb.
    space : ras or lps, which way the files' millimetres run; surfaces.csv is in RAS always.
    smooth : take off the voxels' stairs.
    error_mm : how far a surface may move to need fewer triangles; 0 keeps all.

    Returns
    -------
    The surfaces' files.

    Raises
    ------
    LabelError
        If no label map holds a structure, or two surfaces would be one file.
    """
    if f".{format}" not in FORMATS:
        raise UnknownName("mesh format", format, [ending[1:] for ending in FORMATS])
    if space not in SPACES:
        raise UnknownName("space", space, SPACES)
    files = label_files(labelmaps)
    written: list[Path] = []
    rows: list[dict[str, Any]] = []
    for name, path in told(tell, "making surfaces", files.items(), len(files)):
        labels = read_named(path)
        try:
            found = surfaces(labels, smooth=smooth, error_mm=error_mm)
        except LabelError:
            warn(f"{path} holds no structure: it has no surface")
            continue
        pieces = [(one.name, [one]) for one in found] + [("all", found)]
        places = [Path(out) / f"{name}_{_as_file(piece)}.{format}" for piece, _ in pieces]
        if twice := repeated(place.name.lower() for place in (*written, *places)):
            raise LabelError(f"two surfaces of {path} would be the file {twice[0]}: rename them")
        for place, (_, piece) in zip(places, pieces, strict=True):
            written.append(write_mesh(piece, place, space=space))
        rows += [_row(name, one) for one in found]
        write_csv(Path(out) / "surfaces.csv", rows)  # what is in it is there, whatever comes next
    if not written:
        raise LabelError(
            f"there is no structure in {', '.join(map(str, files.values()))}: no surface to make"
        )
    return written


def _as_file(name: str) -> str:
    """A structure's name as part of a file's."""
    return re.sub(r"[^\w.+-]+", "_", name)


def _row(case: str, one: Mesh) -> dict[str, Any]:
    """What surfaces.csv says of a surface; r, a and s are the axes to the right, front and head."""
    if abs(one.volume_change) > MUCH:
        warn(
            f"{case}: the surface of {one.name} encloses %+.1f % of the volume of its voxels: "
            "it is thin, or small, for them"
        )
    lengths, directions = one.principal_axes
    row = {
        "volume_cm3": one.volume_cm3,
        "voxels_cm3": one.voxels_cm3,
        "volume_change_percent": 100 * one.volume_change,
        "area_cm2": one.area_cm2,
        **{f"centre_{x}_mm": value for x, value in zip("ras", one.centre, strict=True)},
        **{f"extent_{x}_mm": value for x, value in zip("ras", one.extent_mm, strict=True)},
    }
    for number, (length, direction) in enumerate(zip(lengths, directions, strict=True), start=1):
        row[f"axis{number}_mm"] = length
        row |= {f"axis{number}_{x}": part for x, part in zip("ras", direction, strict=True)}
    rounded = {key: round(float(value), 4) for key, value in row.items()}
    return {"case": case, "structure": one.name, "triangles": len(one.faces), **rounded}
