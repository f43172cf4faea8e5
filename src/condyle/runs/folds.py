"""The runs of one training on all folds: a folder each, in a folder that predicts with them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from condyle.config.section import Section, read_json
from condyle.errors import MissingFile
from condyle.jobs.outputs import write_json
from condyle.runs.folder import RunFolder

__all__ = ["FILE", "Folds", "members_of"]

FILE = "folds.json"
"""The file of a folder that says which runs it holds."""


class Folds(Section):
    """What a training on all folds is made of.

    Parameters
    ----------
    runs : the names of the run folders, fold by fold.
    settings : of the experiment that all have in common, as JSON values.
    plane : of the slices, where it was given by itself.
    """

    runs: tuple[str, ...]
    settings: dict[str, Any]
    plane: str | None = None

    @classmethod
    def of(cls, folder: Path) -> Folds | None:
        """Those of a folder; None where it is a run by itself, or none."""
        file = Path(folder) / FILE
        return read_json(file, cls) if file.is_file() else None

    def save(self, folder: Path) -> None:
        """Write it into the folder of the runs."""
        write_json(Path(folder) / FILE, self.model_dump(mode="json"))


def members_of(run: Path) -> tuple[Path, ...]:
    """The run folders that predict together: those of all folds, or the folder itself.

    Folds that hold no segmenter of ours, for another program predicts there, are left out.

    Raises
    ------
    MissingFile
        If a fold is not trained to its end, or none holds a segmenter.
    """
    folds = Folds.of(run)
    if folds is None:
        return (Path(run),)
    found = tuple(Path(run) / name for name in folds.runs)
    done = [folder for folder in found if RunFolder(folder).is_finished]
    if len(done) < len(found):
        raise MissingFile(
            f"{len(done)} of {len(found)} folds in {run} are trained: go on with them, condyle "
            f"train --out {run} --resume"
        )
    own = tuple(folder for folder in found if RunFolder(folder).segmenter.is_dir())
    if not own:
        raise MissingFile(
            f"another program predicts in all folds of {run}, and its predictions are not "
            f"averaged: segment with one of them, {found[0]}"
        )
    return own
