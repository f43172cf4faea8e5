"""Label maps in, surfaces in millimetres out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from condyle.config.requests import MeshRequest
from condyle.core import LabelMap
from condyle.core.case import repeated
from condyle.errors import LabelError
from condyle.io.label_names import scheme_named
from condyle.io.labelmaps import label_files, read_named
from condyle.jobs.batch import Batch, Done, Task, run_batch
from condyle.jobs.job import Job, verb, warn
from condyle.jobs.outputs import write_csv
from condyle.jobs.records import OutputFolder, Record, done, failures
from condyle.mesh import Mesh, surfaces
from condyle.mesh import write as write_mesh

__all__ = ["BATCH", "Surfaces", "mesh"]

TABLE = "surfaces.csv"
MUCH = 0.02
"""A change of volume that is worth a warning."""


@dataclass(frozen=True)
class Surfaces:
    """What became of label maps: the files written, and the sentence of each that failed."""

    written: list[Path]
    failed: dict[str, str]


@verb
def mesh(request: MeshRequest, job: Job) -> Surfaces:
    """Write a surface a structure and one of all for each label map, and surfaces.csv.

    Raises
    ------
    LabelError
        If no label map holds a structure.
    """
    return run_batch(BATCH, request, job)


def _tasks(request: MeshRequest, job: Job) -> list[Task]:
    """A task a label map; of its surfaces, those are known that were made before."""
    return [
        Task(name, (path,), tuple(request.out.glob(f"{escape(name)}_*.{request.format}")))
        for name, path in label_files(request.labelmaps).items()
    ]


def _compute(request: MeshRequest, task: Task, labels: LabelMap, job: Job) -> list[Mesh]:
    try:
        return surfaces(labels, smooth=request.smooth, error_mm=request.error_mm)
    except LabelError:
        job.warn(f"{task.inputs[0]} holds no structure: it has no surface")
        return []


def _write(request: MeshRequest, task: Task, found: list[Mesh], job: Job) -> Done:
    if not found:
        return Done(data={"rows": []})
    pieces = [(one.name, [one]) for one in found] + [("all", found)]
    places = [request.out / f"{task.key}_{_as_file(piece)}.{request.format}" for piece, _ in pieces]
    if twice := repeated(place.name.lower() for place in places):
        raise LabelError(
            f"two surfaces of {task.inputs[0]} would be the file {twice[0]}: rename them"
        )
    written: list[Path] = []
    for place, (_, piece) in zip(places, pieces, strict=True):
        write_mesh(piece, place, space=request.space)
        beside = place.with_suffix(".mtl")
        written += [place, *([beside] if request.format == "obj" else [])]
    data = {"rows": [_row(task.key, one) for one in found], "surfaces": len(places)}
    return Done(tuple(written), data)


def _gather(
    request: MeshRequest, records: Sequence[Record], folder: OutputFolder, job: Job
) -> Surfaces:
    if len(records) == 1:
        records[0].raise_failure()
    failed = failures(records)
    files = [name for record in done(records) for name in record.outputs]
    if twice := repeated(name.lower() for name in files):
        raise LabelError(f"two surfaces would be the file {twice[0]}: rename the label maps")
    whole = folder.whole(records)
    rows = [row for record in whole for row in record.data["rows"]]
    if not rows and not failed:
        paths = ", ".join(map(str, request.labelmaps))
        raise LabelError(f"there is no structure in {paths}: no surface to make")
    tables = [write_csv(folder.path / TABLE, rows)] if rows else []
    folder.write_manifest(whole, tables)
    ending = f".{request.format}"
    return Surfaces([folder.path / name for name in files if name.endswith(ending)], failed)


BATCH = Batch(
    home="condyle.workflows.mesh:BATCH", stage="making surfaces", request=MeshRequest,
    tasks=_tasks, compute=_compute,
    read=lambda request, task, job: read_named(task.inputs[0], scheme_named(request.scheme)),
    write=_write, gather=_gather, tables=lambda request: [request.out / TABLE],
)  # fmt: skip


def _as_file(name: str) -> str:
    """A structure's name as part of a file's."""
    return re.sub(r"[^\w.+-]+", "_", name)


def _row(case: str, one: Mesh) -> dict[str, Any]:
    """What surfaces.csv says of a surface; r, a and s are the axes to the right, front and head."""
    if abs(one.volume_change) > MUCH:
        warn(
            f"{case}: the surface of {one.name} encloses {100 * one.volume_change:+.1f} % of the "
            "volume of its voxels: the structure is too thin or too small for its voxels"
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
