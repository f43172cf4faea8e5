"""TotalSegmentator in a process of its own: what it knows of our structures, and its label maps."""

from __future__ import annotations

import json
import os
import re
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from condyle.core import Dataset, LabelScheme
from condyle.core.labels import SIDES
from condyle.core.relabel import relabelled
from condyle.engines.process import Child, fitted, require
from condyle.errors import CondyleError, ConfigError, UnknownName, WeightsError
from condyle.io import read_labels, write
from condyle.io.zip import unpacked
from condyle.jobs.job import Job
from condyle.jobs.outputs import atomic_write

__all__ = ["Part", "Task", "ask", "base", "fetch", "mapping", "model_of", "owners", "predict"]


NAMES = "totalsegmentator.json"
"""A file in a data set's folder: our structure -> the names of TotalSegmentator's that make it."""
LICENCE = "https://backend.totalsegmentator.com/license-academic/"
SECONDS = 30
"""Without a reply from the server of weights."""
ALSO = {"pelvis": ("hip", "sacrum"), "clavicle": ("clavicula",), "cord": ("spinal cord",)}
"""What else a structure of ours is called, or made of."""


@dataclass(frozen=True)
class Part:
    """One of the models of a task.

    Parameters
    ----------
    classes : number -> name of what it finds; empty for a task's only model.
    """

    folder: Path
    url: str
    here: bool
    trainer: str
    configuration: str
    classes: Mapping[int, str]

    @classmethod
    def of(cls, reply: Mapping[str, Any]) -> Part:
        """The model that a child tells of."""
        names = {int(number): name for number, name in reply["classes"].items()}
        return cls(Path(reply["folder"]), reply["url"], reply["here"], reply["trainer"],
                   reply["configuration"], names)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What a task of TotalSegmentator finds, and the models that it takes."""

    name: str
    classes: Mapping[int, str]
    parts: tuple[Part, ...]
    crop: tuple[Part, ...]
    fast: bool = False
    """Whether it is its coarser model."""
    spacing: float | None = None
    """In mm, that scans are resampled to; None: their own."""


def ask(task: str, folder: Path, job: Job, fast: bool = False) -> Task:
    """What TotalSegmentator says of one of its tasks.

    Parameters
    ----------
    fast : its coarser model is meant.

    Raises
    ------
    MissingExtra, UnknownName, ConfigError
        If it is not installed, has no such task, or no coarser model for it.
    WeightsError
        If the task needs a licence that is not here.
    """
    child = _child(folder, "cpu")
    found = child.run({"do": "ask", "task": task, "fast": fast}, job)
    if "tasks" in found:
        raise UnknownName("task of TotalSegmentator", task, found["tasks"])
    if "with_fast" in found:
        raise ConfigError(
            f"TotalSegmentator's task {task} has no `fast` model: leave out :fast, or take one of "
            f"{', '.join(found['with_fast'])}", setting="network.name",
        )  # fmt: skip
    if found["licensed"] and found["licence"] != "yes":
        raise WeightsError(
            f"TotalSegmentator's task {task} needs a licence, free for research: ask for one at "
            f"{LICENCE} and enter it by `totalseg_set_license -l NUMBER` ({found['home']})"
        )
    return Task(
        task,
        {int(number): name for number, name in found["classes"].items()},
        tuple(Part.of(part) for part in found["parts"]),
        tuple(Part.of(part) for part in found["crop"]),
        fast,
        found["spacing"],
    )


def fetch(parts: Sequence[Part], job: Job) -> None:
    """Download the models that are not here, each whole or not at all.

    Raises
    ------
    WeightsError
        If one cannot be had; the sentence says which file belongs where.
    """
    for part in parts:
        if part.here or part.folder.is_dir():
            continue
        name, home = part.folder.name, part.folder.parent
        try:
            if not part.url:
                raise OSError("it needs a licence")
            archive = home / f"{name}.zip"
            with atomic_write(archive) as temporary:
                _download(part.url, temporary, name, job)
            with unpacked(archive) as inside:
                shutil.copytree(inside / name, home / f".{name}", dirs_exist_ok=True)
            (home / f".{name}").rename(part.folder)
            archive.unlink()
        except (OSError, ValueError, zipfile.BadZipFile, CondyleError) as error:
            (home / f"{name}.zip").unlink(missing_ok=True)
            shutil.rmtree(home / f".{name}", ignore_errors=True)
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            raise WeightsError(
                f"TotalSegmentator's weights {name} are not here and cannot be downloaded "
                f"({reason}): get {part.url or LICENCE} elsewhere and unpack it, so that the "
                f"folder {part.folder} is there"
            ) from error


def _download(url: str, target: Path, name: str, job: Job) -> None:
    """Write what a server sends to a file; a part of it is an error."""
    try:
        asked = urllib.request.urlopen(url, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    with asked as response, target.open("wb") as sink:
        size, got = int(response.headers.get("Content-Length") or 0), 0
        while chunk := response.read(1 << 20):
            got += sink.write(chunk)
            job.progress("downloading", got, max(size, got), name)
        if got < size:
            raise OSError(f"only {got} of {size} bytes came")


def mapping(dataset: Dataset, classes: Mapping[int, str]) -> dict[int, list[int]]:
    """Our label -> the classes that make it, as far as there are any.

    A structure without a side takes both sides; `totalsegmentator.json` in the data set's folder
    wins over names.

    Raises
    ------
    ConfigError
        If none of our structures is known there.
    """
    file = dataset.root / NAMES
    given = cast(dict[str, Any], json.loads(file.read_text("utf-8"))) if file.is_file() else {}
    numbers = {name: number for number, name in classes.items()}
    found: dict[int, list[int]] = {}
    for label in dataset.scheme.labels:
        if label.name in given:
            names = [given[label.name]] if isinstance(given[label.name], str) else given[label.name]
            for name in names:
                if name not in numbers:
                    raise UnknownName(f"class in {file}", name, numbers)
        else:
            names = [name for name in numbers if _same(label.name, name)]
        if names:
            found[label.id] = [numbers[name] for name in names]
    if not found:
        raise ConfigError(
            f"TotalSegmentator has no classes called {', '.join(dataset.scheme.names)}, but "
            f"{', '.join(list(numbers)[:12])}, ...: write which is which into {file}, such as "
            f'{{"{dataset.scheme.names[0]}": ["{next(iter(numbers))}"]}}'
        )
    return found


def _same(ours: str, theirs: str) -> bool:
    """Whether a class of TotalSegmentator's is our structure, or one side or part of it."""
    (words, side), (other, their_side) = _words(ours), _words(theirs)
    called = {words, *ALSO.get(words, ())}
    return other in called and (side is None or side == their_side)


def _words(name: str) -> tuple[str, int | None]:
    """A name's words without its side, and the side: 0 left, 1 right, None neither."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    sides = {pair[at]: at for pair in SIDES for at in (0, 1)}
    found = [sides[word] for word in words if word in sides]
    kept = " ".join(word for word in words if word not in sides)
    return (kept, found[0]) if len(found) == 1 and kept else (" ".join(words), None)


def owners(joined: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Class -> our label that it counts for: of several, the one made of the fewest classes.

    Examples
    --------
    >>> owners({1: [7, 8, 9], 2: [9]})  # a pelvis of hips and sacrum, and the sacrum by itself
    {9: 2, 7: 1, 8: 1}
    """
    found: dict[int, int] = {}
    for ours, theirs in sorted(joined.items(), key=lambda item: len(item[1])):
        for number in theirs:
            found.setdefault(number, ours)
    return found


def predict(
    task: Task, cases: Mapping[str, Sequence[str]], folder: Path, device: str,
    joined: Mapping[int, Sequence[int]], scheme: LabelScheme, out: Path, job: Job,
) -> tuple[dict[str, Path], dict[str, str], float]:  # fmt: skip
    """Label maps of scans in our numbers, the reasons of those that failed, and seconds a scan.

    Parameters
    ----------
    cases : name -> its file, a NIfTI.
    joined : our label -> the classes that make it; see `owners`.
    """
    maps = folder.resolve() / "maps"
    done = _child(folder, device).run(
        {"do": "predict", "task": task.name, "fast": task.fast, "cases": dict(cases),
         "device": device, "predictions": str(maps)},
        job,
    )  # fmt: skip
    structures = LabelScheme(scheme.labels)
    ours_of = owners(joined)
    written: dict[str, Path] = {}
    for name in cases:
        file = maps / f"{name}.nii.gz"
        if file.is_file():
            labels = read_labels(file)
            written[name] = write(relabelled(labels, ours_of, structures), out / file.name)
    shutil.rmtree(maps, ignore_errors=True)
    return written, done["failed"], done["seconds_a_case"]


def base(
    task: Task, scheme: LabelScheme, joined: Mapping[int, Sequence[int]]
) -> tuple[Part, dict[int, list[int]]]:
    """The model of a task that knows most of our structures, and our class -> its classes."""
    found: list[tuple[Part, dict[int, list[int]]]] = []
    for part in task.parts:
        own = {name: number for number, name in (part.classes or task.classes).items()}
        known = {
            place: [own[task.classes[n]] for n in joined[label.id] if task.classes[n] in own]
            for place, label in enumerate(scheme.labels, 1)
            if label.id in joined
        }
        found.append((part, {place: numbers for place, numbers in known.items() if numbers}))
    return max(found, key=lambda row: len(row[1]))


def model_of(part: Part) -> Path:
    """The folder of a model's plans and weights.

    Raises
    ------
    WeightsError
        If there is none where TotalSegmentator keeps it.
    """
    models = sorted(part.folder.glob(f"*__*__{part.configuration}"))
    own = [path for path in models if path.name.startswith(f"{part.trainer}__")] or models
    if not own:
        raise WeightsError(
            f"{part.folder} holds no model {part.trainer}__nnUNetPlans__{part.configuration}: "
            "remove the folder, and it is downloaded anew"
        )
    return own[0]


def _child(folder: Path, device: str) -> Child:
    return Child("TotalSegmentator", "run_totalsegmentator.py", folder, fitted(os.environ, device),
                 require("TotalSegmentator"))  # fmt: skip
