"""Past runs: found below folders, listed with what they were made from and what they reached."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from condyle.config import Augmentation, Experiment, flattened
from condyle.config.choices import RunSort
from condyle.config.requests import RunsRequest
from condyle.config.section import json_of
from condyle.errors import CondyleError, ConfigError, MissingFile, UnreadableFile
from condyle.io import write_text
from condyle.jobs.job import Job, verb, warn
from condyle.jobs.outputs import protected, require_free, write_csv, write_json
from condyle.measure.evaluate import FIGURES
from condyle.report import tables
from condyle.runs.folder import RunFolder
from condyle.runs.record import read_csv

__all__ = ["Listed", "differences", "list_runs", "runs", "write_runs"]


Row = dict[str, Any]

DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error)
"""What reading a file that is not what its name says comes to."""
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Listed:
    """A table of runs; or, where that was asked, of their differences."""

    rows: list[Row]


@verb
def runs(request: RunsRequest, job: Job) -> Listed:
    """The runs below folders, or their differences; written to `out`, if that is given."""
    if request.out is not None:
        _require_table(request.out, request.folders)
    rows = (
        differences(request.folders)
        if request.differences
        else list_runs(request.folders, sort=request.sort)
    )
    if request.out is not None:
        write_runs(rows, request.out)
    return Listed(rows)


def list_runs(folders: Sequence[Path], *, sort: RunSort = "name") -> list[Row]:
    """A row a run below the folders: settings, patients, cost, Dice, versions.

    Parameters
    ----------
    sort : by name; by mean Dice, the best first; or by training time, the shortest first.

    Returns
    -------
    Rows with the keys run, state (finished; unfinished), dataset, fold, seed, network, weights,
    epochs (done), loss, batch, train, validation and test (cases of each), patients, augmentation,
    seconds (of training), parameters, dice, dice_STRUCTURE, time, condyle, commit and torch. What
    a run does not know is None. Runs that cannot be read are warned of and left out.

    Raises
    ------
    MissingFile
        If a folder is not there, or none holds a run.
    """
    rows = [row for folder in _found(folders) if (row := _read(folder, _listed))]
    if not rows:
        where = ", ".join(str(folder) for folder in folders)
        raise MissingFile(f"there is no run in {where}: give run folders of `condyle train`")
    keys: dict[str, Callable[[Row], Any]] = {
        "name": lambda row: row["run"],
        "dice": lambda row: (row["dice"] is None, -(row["dice"] or 0)),
        "time": lambda row: (row["seconds"] is None, row["seconds"] or 0),
    }
    return sorted(rows, key=keys[sort])


def differences(folders: Sequence[Path]) -> list[Row]:
    """The settings in which runs differ, and their scores, a column a run.

    Raises
    ------
    ConfigError
        If the folders are not two runs or more.
    """
    read = [(str(folder), _read(folder, _compared)) for folder in _found(folders)]
    known = {name: parts for name, parts in read if parts}
    if len(known) < 2:
        raise ConfigError(f"differences need two runs or more, got {len(known)}")
    rows: list[Row] = []
    for part in ("settings", "scores"):
        keys = dict.fromkeys(key for parts in known.values() for key in parts[part])
        for key in keys:
            values = {name: parts[part].get(key) for name, parts in known.items()}
            if part == "scores" or len({str(value) for value in values.values()}) > 1:
                rows.append({"what": key, **values})
    return rows


def write_runs(rows: Sequence[Row], out: Path) -> Path:
    """Write rows as .csv, .md or .json, as the name of the file ends; gives back its path."""
    kind = out.suffix.lower()
    if kind == ".csv":
        return write_csv(out, list(rows))
    if kind == ".json":
        return write_json(out, list(rows))
    if kind == ".md":
        return write_text(out, tables.markdown(rows))
    raise _no_table(out)


def _require_table(out: Path, folders: Sequence[Path]) -> None:
    """Raise unless `out` is a table's name, and none of a run's own files."""
    with protected(file for run in _found(folders) for file in run.iterdir() if file.is_file()):
        require_free(out)
    if out.suffix.lower() not in (".csv", ".json", ".md"):
        raise _no_table(out)


def _no_table(out: Path) -> ConfigError:
    return ConfigError(f"`out` = {out} is not a table: end its name with .csv, .md or .json")


def _found(folders: Sequence[Path]) -> Iterator[Path]:
    """Folders with a config.toml, and not what lies inside them."""
    seen: set[Path] = set()
    for top in folders:
        if not top.is_dir():
            raise MissingFile(f"{top} is not there, or no folder")
        for here, inside, files in os.walk(top):
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            if RunFolder(Path(here)).config.name in files:
                inside.clear()
                if Path(here).resolve() not in seen:
                    seen.add(Path(here).resolve())
                    yield Path(here)


def _read(folder: Path, what: Callable[[Path, Experiment], Row]) -> Row | None:
    """What a run folder tells, or None and a warning where it cannot be read."""
    try:
        return what(folder, Experiment.read(RunFolder(folder).config))
    except CondyleError as error:
        reason = str(error)
    except DAMAGED as error:
        reason = f"a file in it is damaged ({type(error).__name__}: {error})"
    warn(f"{folder} is left out: {' '.join(reason.split())}")
    return None


def _listed(folder: Path, experiment: Experiment) -> Row:
    finished = RunFolder(folder).is_finished
    cost = _json(RunFolder(folder).cost) if finished else {}
    made, (epochs, seconds) = _json(RunFolder(folder).environment), _progress(folder)
    training, known = experiment.training, flattened(experiment.known())
    engine = experiment.engine
    return {
        "run": str(folder),
        "state": "finished" if finished else "unfinished",
        "dataset": Path(experiment.dataset).name,
        "fold": experiment.fold,
        "seed": training.seed,
        "network": experiment.network.name,
        "weights": engine.get("weights", known.get("network.weights")),
        "epochs": epochs,
        "loss": known.get("training.loss"),
        "batch": known.get("training.batch"),
        **_patients(folder),
        "augmentation": (
            "; ".join(engine.get("augmentation", ()))
            if engine
            else _in_brief(experiment.augmentation)
        ),
        "seconds": cost.get("seconds", seconds),
        "parameters": cost.get("parameters"),
        **(_dice(folder) if finished else {"dice": None}),
        **{key: made.get(key) for key in ("time", "condyle", "commit", "torch")},
    }


def _compared(folder: Path, experiment: Experiment) -> Row:
    """The settings of a run, and its scores if it is finished."""
    listed = _listed(folder, experiment)
    settings = {k: v for k, v in flattened(experiment.known()).items() if v is not None}
    settings |= {key: listed[key] for key in ("condyle", "commit", "torch")}
    scores = {key: listed[key] for key in ("state", "epochs", "seconds", "parameters")}
    if listed["state"] == "finished":
        for row in read_csv(RunFolder(folder).summary):
            shown = FIGURES if row["structure"] == "mean" else ("dice",)
            scores |= {
                f"{metric}, {row['structure']}": row[f"{metric}_mean"]
                for metric in shown
                if f"{metric}_mean" in row
            }
    return {"settings": settings, "scores": scores}


def _json(path: Path) -> Row:
    """The table of a JSON file; an empty one if it is not there."""
    if not path.is_file():
        return {}
    found = json_of(path)
    if not isinstance(found, dict):
        raise UnreadableFile(f"{path} is not a JSON table")
    return cast(Row, found)


def _progress(folder: Path) -> tuple[int | None, float | None]:
    """Epochs done and seconds of training: of history.csv, or else of the last checkpoint."""
    if (RunFolder(folder).history).is_file():
        rows = read_csv(RunFolder(folder).history)
        return len(rows), rows[-1].get("seconds") if rows else None
    from condyle.train.checkpoint import LAST  # brings torch in, which finished runs do without

    last = RunFolder(folder).checkpoints / LAST
    if not last.is_file():
        return None, None
    with last.open("rb") as stream:  # a number of bytes, then that much JSON, then tensors
        (size,) = struct.unpack("<Q", stream.read(8))
        if size > last.stat().st_size:
            raise UnreadableFile(f"{last} is damaged")
        note = json.loads(json.loads(stream.read(size))["__metadata__"]["progress"])
    return int(note["epoch"]), float(note["seconds"])


def _patients(folder: Path) -> Row:
    """How many cases each part has, and how many patients these are."""
    found: Row = dict.fromkeys((*PARTS, "patients"))
    if (RunFolder(folder).cases).is_file():
        rows = read_csv(RunFolder(folder).cases)
        found |= {part: sum(row["part"] == part for row in rows) for part in PARTS}
        found["patients"] = len({str(row["patient"]) for row in rows})
    elif trained := _json(RunFolder(folder).segmenter / "segmenter.json").get("training"):
        found |= {part: len(trained[part]) for part in PARTS}
    return found


def _in_brief(settings: Augmentation) -> str:
    """The changes that happen, with the probability of each."""
    idle: Mapping[str, Any] = {"low_resolution": 1.0, "flip": "none", "copies": None}
    values = settings.model_dump()
    chance, flip = values.pop("p"), values.pop("flip")
    drawn = [f"{name} {value}" for name, value in values.items() if value != idle.get(name, 0)]
    parts = [f"p {chance:g}: {', '.join(drawn)}"] if drawn and chance else []
    return "; ".join(parts + ([f"flip {flip}"] if flip != "none" else [])) or "none"


def _dice(folder: Path) -> Row:
    """The mean Dice over cases, of all structures and of each."""
    found = read_csv(RunFolder(folder).summary)
    rows = {str(r["structure"]): None if r["dice_mean"] != r["dice_mean"] else r["dice_mean"]
            for r in found}  # fmt: skip
    mean = rows.pop("mean", None)
    return {"dice": mean, **{f"dice_{name}": value for name, value in rows.items()}}
