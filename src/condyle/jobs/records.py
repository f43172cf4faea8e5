"""The folder of a batch's results: who writes into it, and a record a task of what is finished.

"Done" means that a record says so, that it was made of the same things (inputs, weights, settings,
format) and that its files still have the bytes they had then; that a file exists means nothing.
Tables and the manifest of a batch are made from its records, never appended to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import Field

from condyle import errors
from condyle.config.section import Section, read_json
from condyle.errors import CondyleError, ConfigError, OutputError, UnknownName
from condyle.jobs.job import count_of
from condyle.jobs.outputs import (
    folder_for,
    remove_temporaries,
    sha256,
    write_json,
    write_text,
)

__all__ = [
    "MANIFEST",
    "Claim",
    "OutputFolder",
    "Record",
    "content_hash",
    "done",
    "failures",
    "holds_all",
    "read_manifest",
]

HOME = ".condyle"
"""The hidden folder in a folder of results that says how they were made."""
MANIFEST = "manifest.jsonl"
MOST_TRIES = 2
"""A task during which the process was killed so often is not tried again by itself."""


class Record(Section):
    """What became of one task of a batch.

    Parameters
    ----------
    key : the task: the name of a scan, case or label map.
    made_of : a hash of all that decides the outputs.
    outputs : file, from the folder of results -> SHA-256 of its bytes.
    reason : why it failed, in a sentence.
    data : what tables are made of.
    """

    key: str
    made_of: str = ""
    state: Literal["done", "failed"] = "done"
    outputs: dict[str, str] = Field(default_factory=dict)
    reason: str = ""
    warnings: tuple[str, ...] = ()
    data: dict[str, Any] = Field(default_factory=dict)

    @property
    def error(self) -> str:
        """The kind of error that it failed by: 'LabelError'; '' if it is done."""
        return str(self.data.get("error", "")) if self.state == "failed" else ""

    def raise_failure(self) -> None:
        """Raise the error that the task failed by, if it failed."""
        if self.state == "failed":
            kind = getattr(errors, self.error, CondyleError)
            plain = isinstance(kind, type) and issubclass(kind, CondyleError)
            raise (kind if plain and kind is not UnknownName else ConfigError)(self.reason)


def done(records: Iterable[Record]) -> list[Record]:
    """Those of the records that are done."""
    return [record for record in records if record.state == "done"]


def failures(records: Iterable[Record]) -> dict[str, str]:
    """Key -> reason, of those of the records that have failed."""
    return {record.key: record.reason for record in records if record.state == "failed"}


class _Begun(Section):
    """How the results in a folder are made."""

    settings: dict[str, Any]

    def differences(self, other: _Begun) -> list[str]:
        """The names of the settings that differ."""
        every = sorted({*self.settings, *other.settings})
        return [name for name in every if self.settings.get(name) != other.settings.get(name)]


def content_hash(paths: Iterable[Path], more: Any = None) -> str:
    """A hash of the bytes of files (of a folder: of all its files) and of more JSON values."""
    found = hashlib.sha256(json.dumps(more, sort_keys=True, default=str).encode())
    for path in paths:
        path = Path(path)
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            if file.is_file():
                name = str(file.relative_to(path)) if file != path else ""
                found.update(f"{name}\0{sha256(file)}\0".encode(errors="surrogateescape"))
    return found.hexdigest()


def holds_all(folder: Path, outputs: Mapping[str, str]) -> bool:
    """Whether files of a folder are there and have these hashes."""
    return all((folder / name).is_file() and sha256(folder / name) == known
               for name, known in outputs.items())  # fmt: skip


class OutputFolder:
    """A folder of results that several processes may fill together.

    Parameters
    ----------
    path : the folder.
    verb : whose results; each verb has records of its own.
    """

    def __init__(self, path: Path, verb: str):
        self.path, self.verb = Path(path), verb
        self.home = self.path / HOME / verb

    @contextmanager
    def opened(
        self, settings: Mapping[str, Any], *, resume: bool | Literal["always"] = False,
        alone: bool = False,
    ) -> Generator[OutputFolder]:  # fmt: skip
        """Meanwhile this process writes into the folder, alone or beside others that do the same.

        Parameters
        ----------
        settings : how the results are made; JSON values.
        resume : keep what an earlier batch has finished in the same way; always: there is no
            setting by which it could be made anew.
        alone : nobody else may write into it meanwhile, whatever the settings.

        Raises
        ------
        OutputError
            If the folder cannot be written, or another process is writing other results into it.
        ConfigError
            If a batch is to go on that was begun in another way.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} could not be written: it is not a folder")
        begun = _Begun(settings=json.loads(json.dumps(settings, default=str)))
        fresh = [path for path in (self.home, self.home.parent, self.path, *self.path.parents)
                 if not path.exists()]  # fmt: skip
        folder_for(self.home / "workers" / "any")
        mine = FileLock(self.home / "workers" / f"{secrets.token_hex(4)}.lock", thread_local=False)
        try:
            with self._door():
                self._enter(begun, resume, alone, others=self._others())
                mine.acquire(timeout=0)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written ({error})") from error
        try:
            yield self
        except BaseException:
            self._leave(mine)
            self._vanish(fresh)
            raise
        self._leave(mine)

    def earlier(self, settings: Mapping[str, Any], keys: Iterable[str]) -> str:
        """What a new batch replaces, as a sentence; '' if nothing, or others write here now."""
        path, of_these = self.home / "batch.json", set(keys)
        old = [record for record in done(self.records()) if record.key in of_these
               and any((self.path / name).exists() for name in record.outputs)]  # fmt: skip
        if not old or not path.is_file() or self._others():
            return ""
        new = _Begun(settings=json.loads(json.dumps(settings, default=str)))
        other = read_json(path, _Begun).differences(new)
        how = f", made with other settings ({', '.join(other)})," if other else ""
        return f"{count_of(len(old), 'earlier result')} in {self.path}{how} will be replaced"

    def _door(self) -> FileLock:
        """Held for a moment by a process that enters or leaves."""
        return FileLock(self.home / "door.lock", thread_local=False)

    def _others(self) -> bool:
        """Whether another process writes here; what dead ones left is removed."""
        alive = False
        for file in (self.home / "workers").glob("*.lock"):
            lock = FileLock(file, thread_local=False)
            try:
                with lock.acquire(timeout=0):
                    file.unlink(missing_ok=True)
            except Timeout:
                alive = True
        return alive

    def _enter(
        self, begun: _Begun, resume: bool | Literal["always"], alone: bool, others: bool
    ) -> None:
        path = self.home / "batch.json"
        before = read_json(path, _Begun) if path.is_file() else None
        other = before.differences(begun) if before else []
        if others and (alone or other):
            how = f" with other settings ({', '.join(other)})" if other else ""
            raise OutputError(
                f"another process is writing into {self.path}{how}: wait for it, or choose "
                "another folder"
            )
        if others:
            return
        if resume and other:
            anew = "" if resume == "always" else ", or leave out `resume` to make them anew"
            raise ConfigError(
                f"the results in {self.path} were made with other settings ({', '.join(other)}): "
                f"choose another folder{anew}"
            )
        remove_temporaries(self.path)
        for file in [*(self.home / "records").glob("*.json"), *(self.home / "claims").glob("*")]:
            kept = resume and (file.suffix == ".tries" or self._is_done(file))
            if not kept:
                file.unlink(missing_ok=True)
        write_json(path, begun.model_dump())

    def _is_done(self, file: Path) -> bool:
        with suppress(CondyleError):
            return file.suffix == ".json" and read_json(file, Record).state == "done"
        return False

    def _leave(self, mine: FileLock) -> None:
        """Go; the last one takes along what the dead have left: locks, half files, tries."""
        with suppress(OSError), self._door():
            mine.release()
            Path(mine.lock_file).unlink(missing_ok=True)
            if not self._others():
                for folder in (self.path, self.home, self.home / "records", self.home / "claims"):
                    remove_temporaries(folder)
                for file in (self.home / "claims").iterdir():
                    record = self.home / "records" / f"{file.stem}.json"
                    if file.suffix == ".lock" or self._is_done(record):
                        file.unlink(missing_ok=True)

    def _vanish(self, fresh: Sequence[Path]) -> None:
        """After a failure: remove folders that were made for nothing."""
        if any(record.outputs for record in self.records()):
            return
        if self.home in fresh:
            shutil.rmtree(self.home, ignore_errors=True)
        for path in fresh:
            with suppress(OSError):
                path.rmdir()  # only if it is empty

    def _file(self, kind: str, key: str, ending: str) -> Path:
        plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", key)
        name = key if plain else hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
        return self.home / kind / f"{name}{ending}"

    def record(self, key: str) -> Record | None:
        """What became of a task; None if that is not known, or its record cannot be read."""
        path = self._file("records", key, ".json")
        with suppress(CondyleError):
            return read_json(path, Record) if path.is_file() else None
        return None

    def records(self, but: Iterable[str] = ()) -> list[Record]:
        """All records that there are, by key, but for those of some keys."""
        left_out, found = set(but), list[Record]()
        for file in (self.home / "records").glob("*.json"):
            with suppress(CondyleError):
                found.append(read_json(file, Record))
        return sorted((x for x in found if x.key not in left_out), key=lambda x: x.key)

    def whole(self, records: Sequence[Record]) -> list[Record]:
        """Those of the records that are done, then those of processes beside this one."""
        others = self.records(but=[record.key for record in records])
        return done((*records, *others))

    def finished(self, key: str, made_of: str) -> Record | None:
        """The record of a task that has failed in this batch, or is done and made of the same."""
        record = self.record(key)
        if record is None or record.state == "failed":
            return record
        same = record.made_of == made_of and holds_all(self.path, record.outputs)
        return record if same else None

    def keep(self, record: Record) -> Record:
        """Write a record; the task's outputs are whole."""
        write_json(self._file("records", record.key, ".json"), record.model_dump())
        return record

    def claim(self, key: str) -> Claim | None:
        """The right to work on a task; None while another process has it."""
        return Claim.taken(self._file("claims", key, ".lock"), self._file("claims", key, ".tries"))

    def hashes(self, files: Iterable[Path]) -> dict[str, str]:
        """Files, seen from the folder, and their SHA-256."""
        return {os.path.relpath(file, self.path): sha256(file) for file in files}

    def write_manifest(self, records: Sequence[Record], tables: Iterable[Path] = ()) -> Path:
        """Write the list of whole outputs, a JSON line each: verb, key, path and SHA-256."""
        rows = [
            {"verb": self.verb, "key": record.key, "path": path, "sha256": known}
            for record in records
            for path, known in record.outputs.items()
        ]
        rows += [
            {"verb": self.verb, "key": Path(path).name, "path": path, "sha256": known}
            for path, known in self.hashes(tables).items()
        ]
        rows = [row for row in read_manifest(self.path) if row.get("verb") != self.verb] + rows
        return write_text(self.path / MANIFEST, "".join(json.dumps(row) + "\n" for row in rows))


def read_manifest(folder: Path) -> list[dict[str, str]]:
    """The rows of a folder's manifest, less those that are damaged; [] if there is none."""
    found: list[dict[str, str]] = []
    with suppress(OSError, UnicodeDecodeError):
        for line in (Path(folder) / MANIFEST).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError, RecursionError):
                found.append(dict(json.loads(line)))
    return found


class Claim:
    """The right of one process to work on one task, and how often it was tried."""

    def __init__(self, lock: FileLock, tries: Path):
        self.lock, self._tries = lock, tries

    @classmethod
    def taken(cls, lock: Path, tries: Path) -> Claim | None:
        """The claim; None while another process has it."""
        folder_for(lock)
        held = FileLock(lock, thread_local=False)
        try:
            held.acquire(timeout=0)
        except Timeout:
            return None
        except OSError as error:
            raise OutputError(f"{lock} cannot be written ({error})") from error
        return cls(held, tries)

    @property
    def tries(self) -> int:
        """How often a process began the task and was killed."""
        with suppress(OSError, ValueError):
            return int(self._tries.read_text(encoding="utf-8"))
        return 0

    @property
    def is_hopeless(self) -> bool:
        """Whether the task has killed so many processes that it is left alone."""
        return self.tries >= MOST_TRIES

    def begin(self) -> None:
        """Note that the task is being tried."""
        write_text(self._tries, f"{self.tries + 1}\n")

    def end(self) -> None:
        """The task has ended, well or not; others may have it."""
        with suppress(OSError):
            self._tries.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Give the claim back as it was."""
        self.lock.release()
