"""A job on disk: its request, its process, what it said, and what came out."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from condyle.app.web import events
from condyle.errors import MissingFile
from condyle.jobs.outputs import write_json
from condyle.jobs.process import ROOMY

__all__ = ["OVER", "JobFolder"]

OVER = ("done", "failed", "cancelled", "stopped")
"""States in which nothing goes on; a stopped job's process has gone without a word."""

KILL_AFTER = 20.0
"""Seconds that a cancelled job gets to end by itself."""


@dataclass(frozen=True)
class JobFolder:
    """One job; all that is known of it is read from its folder each time.

    Parameters
    ----------
    path : the folder; its name is the job's id.
    """

    path: Path

    @classmethod
    def new(cls, parent: Path, verb: str, settings: Mapping[str, Any], title: str) -> JobFolder:
        """A job that waits.

        Parameters
        ----------
        settings : the request's fields as JSON values, paths being absolute.
        """
        now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        job = cls(parent / f"{now}-{verb}-{secrets.token_hex(3)}")
        write_json(
            job.path / "request.json",
            {"verb": verb, "settings": dict(settings), "title": title, "created": time.time()},
        )
        return job

    @property
    def id(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def events(self) -> Path:
        """The file of what it says."""
        return self.path / events.FILE

    @property
    def log(self) -> Path:
        """The file of all that it printed."""
        return self.path / "log.txt"

    def request(self) -> dict[str, Any]:
        """What was asked: verb, settings, title, created.

        Raises
        ------
        MissingFile
            If there is no such job.
        """
        try:
            return json.loads((self.path / "request.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise MissingFile("there is no such job") from error

    def result(self) -> Any:
        """What came out, as JSON values; None before its end."""
        with suppress(OSError, ValueError):
            return json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        return None

    def state(self) -> str:
        """'waiting', 'running', or one of `OVER`."""
        if (self.path / "again").exists():
            return "waiting"
        process = self._process()
        if process is None:
            return "cancelled" if (self.path / "cancelled").exists() else "waiting"
        last = events.last_event(self.events)
        if last.get("event") in events.ENDS and last.get("try") == process["try"]:
            return str(last["event"])
        return "running" if _is_alive(process) else "stopped"

    def summary(self) -> dict[str, Any]:
        """All that a list shows of it."""
        request, said = self.request(), events.events_of(self.events)
        state = self.state()
        progress = [event for _, event in said if event["event"] == "progress"]
        ended = [event for _, event in said if event["event"] in events.ENDS]
        return {
            "id": self.id,
            "verb": request["verb"],
            "title": request["title"],
            "created": request["created"],
            "state": state,
            "progress": progress[-1] if progress and state == "running" else None,
            "warnings": sum(event["event"] == "warning" for _, event in said),
            "sentence": ended[-1].get("sentence", "") if ended and state in OVER else "",
        }

    def start(self) -> None:
        """Start its process, in a group of its own, so that it outlives the server."""
        number = (self._process() or {"try": 0})["try"] + 1
        for mark in ("cancelled", "again"):
            (self.path / mark).unlink(missing_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "condyle.app.web.worker", str(self.path), str(number)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=os.environ | ROOMY,
            )  # fmt: skip
        write_json(
            self.path / "process.json",
            {"pid": child.pid, "began": _began(child.pid), "try": number},
        )

    def cancel(self) -> None:
        """Ask its process to end as Ctrl-C does, and end it after a while; or wait no longer."""
        if self.state() == "waiting":
            (self.path / "cancelled").touch()
            (self.path / "again").unlink(missing_ok=True)
            return
        process = self._process()
        if process is None or not _is_alive(process):
            return
        with suppress(ProcessLookupError):
            os.killpg(process["pid"], signal.SIGINT)
        end = time.monotonic() + KILL_AFTER
        while _is_alive(process) and time.monotonic() < end:
            time.sleep(0.1)
        with suppress(ProcessLookupError):
            if _is_alive(process):
                os.killpg(process["pid"], signal.SIGKILL)

    def retry(self) -> None:
        """Wait again; what was finished is kept, where the verb can go on."""
        (self.path / "again").touch()

    def _process(self) -> dict[str, Any] | None:
        with suppress(OSError, ValueError):
            return json.loads((self.path / "process.json").read_text(encoding="utf-8"))
        return None


def _began(pid: int) -> str:
    """When a process began, in clock ticks since the machine did; '' where it is gone."""
    with suppress(OSError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    return ""


def _is_alive(process: Mapping[str, Any]) -> bool:
    """Whether a process runs still, and is not another with its number."""
    pid = int(process["pid"])
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # ours that has ended is no zombie
    return bool(process["began"]) and _began(pid) == process["began"]
