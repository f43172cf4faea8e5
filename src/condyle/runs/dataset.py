"""The data set of a run: where it was, and whether another folder holds the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from condyle.config.section import Section, read_json, read_toml
from condyle.core import Case
from condyle.errors import DatasetError
from condyle.jobs.outputs import write_json
from condyle.jobs.records import content_hash
from condyle.runs.folder import RunFolder

__all__ = ["DatasetRecord", "folders_of", "known_folders", "require_same", "write_record"]


class DatasetRecord(Section):
    """What a run keeps of its data set.

    Parameters
    ----------
    folder : its absolute path when the training was started or gone on with.
    cases : case -> hash of its label map, and of the sizes of its scan's files.
    """

    folder: str
    cases: dict[str, str]


def write_record(run: RunFolder, folder: Path, cases: Sequence[Case]) -> None:
    """Write down where a run's data set is, and what its cases are."""
    made = DatasetRecord(
        folder=str(Path(folder).absolute()), cases={case.id: _hash(case) for case in cases}
    )
    write_json(run.dataset, made.model_dump())


def known_folders(run: RunFolder) -> list[Path]:
    """Where a run's data set may be: where it was, and as it was given."""
    known = [read_json(run.dataset, DatasetRecord).folder] if run.dataset.is_file() else []
    known += [str(read_toml(run.config)["dataset"])] if run.is_begun else []
    return [Path(folder) for folder in dict.fromkeys(known)]


def folders_of(run: RunFolder) -> list[Path]:
    """Those of `known_folders` that are there."""
    return [folder for folder in known_folders(run) if folder.is_dir()]


def require_same(run: RunFolder, folder: Path, cases: Sequence[Case]) -> None:
    """Raise where cases are not those that a run was begun with.

    Raises
    ------
    DatasetError
        It names a case that is new, missing or changed.
    """
    if not run.dataset.is_file():
        return
    known, found = read_json(run.dataset, DatasetRecord).cases, {c.id: _hash(c) for c in cases}
    for case in sorted(known.keys() | found.keys()):
        if known.get(case) != found.get(case):
            what = "is new" if case not in known else "is missing"
            what = "has other files" if case in known and case in found else what
            raise DatasetError(
                f"{folder} is not the data set that {run.path} was begun with: case {case} {what}; "
                "give that data set, or train into another `out`"
            )


def _hash(case: Case) -> str:
    """Of a case's label map, and of the sizes of its scan's files: quick, and seldom fooled."""
    files = [file for image in case.images for file in _files(image)]
    sizes = [file.stat().st_size for file in files]
    return content_hash([case.label] if case.label is not None else [], sizes)


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
