"""What a job says while it runs: lines of its file, which whoever asks late can still read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condyle.jobs.job import Progress, Warned, shown

__all__ = ["ENDS", "FILE", "Teller", "events_of", "last_event"]

FILE = "events.jsonl"

ENDS = ("done", "failed", "cancelled")
"""The kinds of event after which nothing comes."""

PAUSE = 0.25
"""Seconds between two lines of progress."""


@dataclass
class Teller:
    """Writes the events of one job, each a line of JSON with its number and time.

    Parameters
    ----------
    path : of the file; what an earlier try wrote stays before it.
    """

    path: Path
    _last: float = 0.0
    _stage: tuple[str, float] = ("", 0.0)
    _pending: dict[str, Any] = field(default_factory=dict[str, Any])

    def tell(self, kind: str, **more: Any) -> None:
        """Write an event, after what is left of the progress."""
        if self._pending:
            pending, self._pending = self._pending, {}
            self._write(pending)
        self._write({"event": kind, **more})

    def progress(self, progress: Progress) -> None:
        """Write how far a stage is, at most some times a second."""
        now = time.monotonic()
        if progress.stage != self._stage[0]:
            self._stage = (progress.stage, now)
        elapsed, part = now - self._stage[1], progress.part
        left = elapsed * (1 - part) / part if 0.02 < part < 1 else None
        self._pending = {
            "event": "progress", "stage": shown(progress.stage), "part": round(part, 4),
            "words": shown(progress.words), "left": left and round(left),
        }  # fmt: skip
        if now - self._last >= PAUSE or part >= 1:
            self._last = now
            pending, self._pending = self._pending, {}
            self._write(pending)

    def warning(self, warned: Warned) -> None:
        """Write a warning."""
        self.tell("warning", sentence=shown(warned.sentence), about=shown(warned.about))

    def news(self, sentence: str) -> None:
        """Write what is good to know."""
        self.tell("news", sentence=shown(sentence))

    def _write(self, event: Mapping[str, Any]) -> None:
        line = json.dumps({**event, "time": round(time.time(), 2)}) + "\n"
        with suppress(OSError), self.path.open("a", encoding="utf-8") as stream:
            stream.write(line)  # a full disk costs the line, never the job


def events_of(path: Path, after: int = 0) -> list[tuple[int, dict[str, Any]]]:
    """The whole lines of a file behind so many, each with its number from 1."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    found: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if number > after:
            with suppress(ValueError):  # a line that a killed process has cut
                found.append((number, json.loads(line)))
    return found


def last_event(path: Path) -> dict[str, Any]:
    """The last event of a file; empty where there is none."""
    events = events_of(path)
    return events[-1][1] if events else {}
