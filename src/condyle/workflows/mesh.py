"""Label maps in, surfaces in millimetres out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from condyle.mesh import surfaces
from condyle.mesh import write as write_mesh
from condyle.workflows.files import label_files, read_named
from condyle.workflows.progress import Tell, silent, told
from condyle.workflows.record import write_csv

__all__ = ["mesh"]

log = logging.getLogger("condyle")


def mesh(
    labelmaps: Sequence[Path],
    out: Path,
    *,
    format: str = "ply",
    smooth: bool = True,
    tell: Tell = silent,
) -> list[Path]:
    """Write a surface a structure and one of all for each label map, and surfaces.csv."""
    files = label_files(labelmaps)
    written: list[Path] = []
    rows: list[dict[str, object]] = []
    for name, path in told(tell, "making surfaces", files.items(), len(files)):
        labels = read_named(path)
        if not labels.present():
            log.warning("%s holds no structure: it has no surface", path)
            continue
        found = surfaces(labels, smooth=smooth)
        for one in found:
            written.append(write_mesh([one], Path(out) / f"{name}_{one.name}.{format}"))
            rows.append(
                {"case": name, "structure": one.name, "volume_cm3": one.volume_cm3,
                 "area_cm2": one.area_cm2}
            )  # fmt: skip
        written.append(write_mesh(found, Path(out) / f"{name}_all.{format}"))
    write_csv(Path(out) / "surfaces.csv", rows)
    return written
