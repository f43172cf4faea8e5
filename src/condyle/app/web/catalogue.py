"""What lies in the folders that the page may read: scans, label maps, data sets, runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from condyle.app.web.places import HOME, Places
from condyle.errors import CondyleError
from condyle.io import is_dataset, open_dataset
from condyle.io.dicom.objects import IMAGE, object_in
from condyle.io.paths import ENDINGS, ending_of, is_dicom, is_hidden
from condyle.jobs.records import MANIFEST
from condyle.runs.folder import RunFolder
from condyle.runs.folds import Folds

__all__ = ["Entry", "Kind", "catalogue"]

Kind = Literal["scan", "labels", "dataset", "run", "comparison"]

DEEPEST = 7
MOST = 3000
"""Levels of folders, and things, that are looked at."""

OWN = {HOME.split("/", maxsplit=1)[0], "jobs"}
"""Folders of a workspace in which nothing is looked for."""


@dataclass(frozen=True)
class Entry:
    """A thing that can be chosen on the page.

    Parameters
    ----------
    where : its path from the workspace or root, for people.
    """

    id: str
    kind: Kind
    name: str
    where: str
    path: Path

    def shown(self) -> dict[str, str]:
        """What the browser gets of it."""
        return {"id": self.id, "kind": self.kind, "name": self.name, "where": self.where}


def catalogue(places: Places) -> list[Entry]:
    """All things in the workspace and the roots, in the order of their paths."""
    found: list[Entry] = []
    for root in places.roots:
        for kind, path in _below(root, root, 0):
            if len(found) >= MOST:
                return found
            if places.allows(path):
                name = path.name if path != root else root.name
                found.append(Entry(places.id_of(path), kind, name, places.named(path), path))
    return found


def _below(folder: Path, root: Path, depth: int) -> Iterator[tuple[Kind, Path]]:
    """The things in a folder and those below; a thing's own folders are not looked into."""
    if (kind := _kind_of(folder)) is not None:
        yield kind, folder
        predictions = RunFolder(folder).predictions
        if kind == "run" and predictions.is_dir():
            yield "labels", predictions
        if kind != "dataset" or (folder / "dataset.json").is_file():
            return  # else scans and masks that lie side by side, which may be chosen, too
    try:
        entries = sorted(entry for entry in folder.iterdir() if not is_hidden(entry))
    except OSError:
        return
    files = [entry for entry in entries if entry.is_file()]
    if _holds_images(files):
        yield "scan", folder
        return
    for file in files:
        if ENDINGS.get(ending_of(file), "dicom") != "dicom" and file.suffix.lower() != ".img":
            yield ("labels" if ending_of(file) == ".seg.nrrd" else "scan"), file
    if depth < DEEPEST:
        for entry in entries:
            own = folder == root and entry.name in OWN
            if entry.is_dir() and not own and not entry.is_symlink():  # no circle
                yield from _below(entry, root, depth + 1)


def _kind_of(folder: Path) -> Kind | None:
    """What a folder is as a whole; None if it only holds other things."""
    run = RunFolder(folder)
    if (folder / "standings.csv").is_file() and run.report.is_file():
        return "comparison"
    if run.is_begun or run.can_segment or Folds.of(folder) is not None:
        return "run"
    if _is_labelled(folder):
        return "dataset"
    if (folder / MANIFEST).is_file() and (folder / "labels.json").is_file():
        return "labels"
    return None


def _is_labelled(folder: Path) -> bool:
    """Whether a folder is a data set with something to learn from; 'scans' alone make none."""
    with suppress(CondyleError):
        return is_dataset(folder) and bool(open_dataset(folder).labelled())
    return (folder / "dataset.json").is_file()  # damaged: whoever opens it says by what


def _holds_images(files: list[Path]) -> bool:
    """Whether a folder's files are a DICOM series; a few of them are looked at."""
    several = [file for file in files if ENDINGS.get(ending_of(file), "dicom") == "dicom"]
    return any(is_dicom(file) and object_in(file) == IMAGE for file in several[:5])
