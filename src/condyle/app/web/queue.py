"""The jobs of a workspace: one runs at a time, the others wait; an index that can be made anew."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import Any

from condyle.app.web.job_folder import OVER, JobFolder
from condyle.app.web.places import HOME, Places
from condyle.errors import CondyleError, ConfigError, MissingFile
from condyle.jobs.outputs import folder_for

__all__ = ["Queue"]

BEAT = 0.3
"""Seconds between two looks at what runs."""


class Queue:
    """Starts the jobs of a workspace one after the other.

    Its index (SQLite) only saves reading the folders of jobs that are over: without it, they are
    read again.
    """

    def __init__(self, places: Places):
        self.places = places
        self.index = places.workspace / HOME / "jobs.sqlite"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue", daemon=True)

    def start(self) -> None:
        """Begin to start jobs; those that a server before this one left running run on."""
        self._thread.start()

    def stop(self) -> None:
        """Start no more; what runs runs on."""
        self._stop.set()
        self._thread.join(5)

    def add(self, verb: str, settings: Mapping[str, Any], title: str) -> JobFolder:
        """A new job, which waits for its turn."""
        return JobFolder.new(self.places.jobs, verb, settings, title)

    def job(self, identity: str) -> JobFolder:
        """The job of an id.

        Raises
        ------
        MissingFile
            If there is none.
        """
        if identity not in {folder.id for folder in self._folders()}:
            raise MissingFile("there is no such job")
        return JobFolder(self.places.jobs / identity)

    def cancel(self, identity: str) -> None:
        """End a job that runs or waits."""
        self.job(identity).cancel()

    def retry(self, identity: str) -> None:
        """Let a job that is over wait again.

        Raises
        ------
        ConfigError
            If it is not over.
        """
        job = self.job(identity)
        if job.state() not in OVER:
            raise ConfigError("this job is not over: cancel it first")
        job.retry()

    def summaries(self) -> list[dict[str, Any]]:
        """All jobs, the newest first."""
        known = self._known()
        rows: list[dict[str, Any]] = []
        for job in self._folders():
            mark = _mark(job)
            row = known.get((job.id, mark))
            if row is None:
                with suppress(CondyleError):
                    row = job.summary()
                    if row["state"] in OVER:
                        self._keep(job.id, mark, row)
            if row is not None:
                rows.append(row)
        return sorted(rows, key=lambda row: row["created"], reverse=True)

    def _folders(self) -> list[JobFolder]:
        if not self.places.jobs.is_dir():
            return []
        found = [JobFolder(path) for path in self.places.jobs.iterdir()]
        return sorted(
            (job for job in found if (job.path / "request.json").is_file()), key=lambda job: job.id
        )

    def _run(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(CondyleError, OSError):
                self._start_next()

    def _start_next(self) -> None:
        jobs = self._folders()
        waiting = [job for job in jobs if job.state() == "waiting"]
        if waiting and not any(job.state() == "running" for job in jobs):
            waiting[0].start()

    def _known(self) -> dict[tuple[str, str], dict[str, Any]]:
        """What the index has; a damaged one is begun anew."""
        with suppress(sqlite3.Error, ValueError), closing(self._opened()) as base:
            rows = base.execute("SELECT id, mark, summary FROM jobs").fetchall()
            return {(name, mark): json.loads(text) for name, mark, text in rows}
        self.index.unlink(missing_ok=True)
        return {}

    def _keep(self, name: str, mark: str, row: Mapping[str, Any]) -> None:

        with suppress(sqlite3.Error), closing(self._opened()) as base, base:
            base.execute("REPLACE INTO jobs VALUES (?, ?, ?)", (name, mark, json.dumps(dict(row))))

    def _opened(self) -> sqlite3.Connection:
        folder_for(self.index)
        base = sqlite3.connect(self.index, timeout=5)
        base.execute(
            "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, mark TEXT, summary TEXT)"
        )
        return base


def _mark(job: JobFolder) -> str:
    """What changes when a job does."""
    marks: list[str] = []
    for path in (job.events, job.path / "process.json", job.path / "cancelled", job.path / "again"):
        with suppress(OSError):
            found = path.stat()
            marks.append(f"{found.st_size}.{found.st_mtime_ns}")
    return " ".join(marks)
