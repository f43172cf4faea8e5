"""Label maps in, cleaner label maps out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from condyle.io import Manifest, write
from condyle.refine import Refinement
from condyle.refine import refine as cleaned
from condyle.workflows.files import label_files, read_named, write_names
from condyle.workflows.progress import Tell, silent, told

__all__ = ["refine"]


def refine(
    labelmaps: Sequence[Path], out: Path, steps: Refinement, *, tell: Tell = silent
) -> list[Path]:
    """Clean label maps (files or folders of them) into the folder `out`; gives back the files."""
    files = label_files(labelmaps)
    manifest = Manifest(out)
    written: list[Path] = []
    for name, path in told(tell, "refining", files.items(), len(files)):
        labels = cleaned(read_named(path), steps)
        write_names(out, labels.scheme)
        written.append(write(labels, Path(out) / path.name))
        manifest.add(name, written[-1])
    return written
