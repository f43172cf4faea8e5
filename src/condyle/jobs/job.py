"""What happens while a verb runs: how far it is, what it warns of, its log file, and cancelling."""

from __future__ import annotations

import contextvars
import logging
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from condyle.errors import Cancelled, OutputError
from condyle.jobs.outputs import folder_for, protected

__all__ = ["Job", "Progress", "Warned", "count_of", "current", "note", "shown", "verb", "warn"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")
Q = TypeVar("Q", bound="Named")


class Named(Protocol):
    """What a job must know of its request."""

    def inputs(self) -> Iterable[Path]:
        """The files that are named by it; none is written over."""
        ...


LIBRARY = logging.getLogger("condyle")
"""Where other programs hear what Condyle says; nothing in Condyle listens to it."""


@dataclass(frozen=True)
class Progress:
    """How far a stage of a job is.

    Parameters
    ----------
    stage : what is being done: 'training', 'segmenting', ...
    done, total : of the stage; in scans, steps or parts of 1.
    words : more about it; may be ''.
    place : where it would be interrupted now: 'epoch 3'; may be ''.
    """

    stage: str
    done: float
    total: float = 1.0
    words: str = ""
    place: str = ""

    @property
    def part(self) -> float:
        """From 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 1.0


@dataclass(frozen=True)
class Warned:
    """A warning: a sentence, and the scan or case that it is about ('' for all)."""

    sentence: str
    about: str = ""


@dataclass
class Job:
    """All that happens while one verb runs; each verb that runs has its own.

    A job is handed to the verb. What lies below (readers of files, networks) reaches the job in
    which it runs by `warn` and `note`, so that two jobs in one process never mix: the job is kept
    in a context variable, which each thread has for itself.

    Parameters
    ----------
    on_progress, on_warning : called as the verb goes on; from whichever thread it runs in.

    Examples
    --------
    >>> job = Job(on_progress=lambda p: print(f"{p.stage} {p.part:.0%}"))
    >>> with job.active():
    ...     for scan in job.track("reading", ["a", "b"]):
    ...         warn(f"{scan} is oblique", about=scan)
    reading 0%
    reading 50%
    reading 100%
    >>> job.warnings[1]
    Warned(sentence='b is oblique', about='b')
    """

    on_progress: Callable[[Progress], None] | None = None
    on_warning: Callable[[Warned], None] | None = None
    warnings: list[Warned] = field(default_factory=list[Warned])
    kept: dict[str, Any] = field(default_factory=dict[str, Any])
    about: str = ""
    """The case that is being worked on."""
    tell: Callable[[float], None] = lambda part: None
    """Told how far the case is, from 0 to 1."""
    on_news: Callable[[str], None] | None = None
    """Told what is good to know and no warning."""
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _logs: list[_Log] = field(default_factory=list["_Log"])

    def progress(self, stage: str, done: float, total: float = 1.0, words: str = "") -> None:
        """Say how far a stage is; `Cancelled` if the job was cancelled meanwhile."""
        self.check()
        self.say(Progress(stage, done, total, words))

    def say(self, progress: Progress) -> None:
        """Say how far a stage is, whether or not the job was cancelled."""
        if self.on_progress is not None:
            self.on_progress(progress)

    def track(self, stage: str, things: Iterable[T], total: int | None = None) -> Iterator[T]:
        """The things one by one, saying how many of them are done."""
        count = len(things) if total is None else total  # pyright: ignore[reportArgumentType]
        for number, thing in enumerate(things):
            self.progress(stage, number, count, f"{number}/{count}")
            yield thing
        self.progress(stage, count, count, f"{count}/{count}")

    def share(self, number: int, total: int, stage: str) -> Callable[[float], None]:
        """What is told how far (0 to 1) one of a stage's so many equal shares is; from 0."""
        return lambda part: self.progress(stage, number + part, total, f"{number}/{total}")

    def warn(self, sentence: str, about: str = "") -> None:
        """Keep a warning, write it to the log file, and tell whoever listens."""
        warned = Warned(sentence, about or self.about)
        self.warnings.append(warned)
        self._log("WARNING", sentence)
        LIBRARY.warning("%s", shown(sentence))
        if self.on_warning is not None:
            self.on_warning(warned)

    def inform(self, sentence: str) -> None:
        """Write a sentence to the log file, and tell it to whoever listens: no warning."""
        self.note(sentence)
        if self.on_news is not None:
            self.on_news(sentence)

    def note(self, sentence: str) -> None:
        """Write a sentence to the log file."""
        self._log("INFO", sentence)
        LIBRARY.info("%s", shown(sentence))

    def keep(self, name: str, make: Callable[[], T]) -> T:
        """What was made under this name earlier in this job, or now: a segmenter that is loaded."""
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def cancel(self) -> None:
        """Ask the job to end as soon as it says again how far it is; from any thread."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether it was asked to end."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Raise `Cancelled` if the job was asked to end."""
        if self.is_cancelled:
            raise Cancelled("cancelled; what was finished is kept")

    @contextmanager
    def active(self) -> Generator[Job]:
        """Meanwhile, what `warn` and `note` say in this thread belongs to this job."""
        token = _CURRENT.set(self)
        try:
            yield self
        finally:
            _CURRENT.reset(token)

    @contextmanager
    def logged(self, path: Path) -> Generator[None]:
        """Meanwhile, what the job says is appended to this file, a line each."""
        log = _Log.opened(Path(path))
        self._logs.append(log)
        try:
            yield
        finally:
            self._logs.remove(log)

    def for_case(self, name: str) -> Job:
        """A job for one case of a batch: its own warnings; cancelled and kept things are shared."""
        return Job(
            self.on_progress, self._hear, [], self.kept, name, _cancelled=self._cancelled,
            _logs=list(self._logs),
        )  # fmt: skip

    def _hear(self, warned: Warned) -> None:
        """Keep what is said in a case's job, too."""
        self.warnings.append(warned)
        if self.on_warning is not None:
            self.on_warning(warned)

    def _log(self, level: str, sentence: str) -> None:
        for log in self._logs:
            log.write(level, sentence)


@dataclass
class _Log:
    """A log file. A full disk costs its lines, never the job."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def opened(cls, path: Path) -> _Log:
        folder_for(path)
        log = cls(path)
        try:
            with path.open("a", encoding="utf-8"):
                pass
        except OSError as error:
            raise OutputError(f"{path} cannot be written ({error.strerror})") from error
        return log

    def write(self, level: str, sentence: str) -> None:
        time = datetime.now().isoformat(sep=" ", timespec="milliseconds")
        line = f"{time} {level} {shown(sentence)}\n"
        with self.lock, suppress(OSError), self.path.open("a", encoding="utf-8") as stream:
            stream.write(line)


_CURRENT: contextvars.ContextVar[Job | None] = contextvars.ContextVar("condyle_job", default=None)


def current() -> Job | None:
    """The job that runs in this thread, if any."""
    return _CURRENT.get()


def warn(sentence: str, about: str = "") -> None:
    """Warn in the job that runs in this thread; without one, by Python's logging alone."""
    if (job := current()) is not None:
        job.warn(sentence, about)
    else:
        LIBRARY.warning("%s", shown(sentence))


def note(sentence: str) -> None:
    """Note something in the log file of the job that runs in this thread."""
    if (job := current()) is not None:
        job.note(sentence)
    else:
        LIBRARY.info("%s", shown(sentence))


def shown(text: str) -> str:
    r"""A text whose control characters are escaped, so that it stays on its line, as it is.

    Those that turn the direction of writing round are escaped too, and bytes of file names that
    are no UTF-8.

    Examples
    --------
    >>> shown("leg\nall is well")
    'leg\\nall is well'
    """
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def verb(work: Callable[Concatenate[Q, Job, P], R]) -> Callable[..., R]:
    """A verb, run within its job: `work(request, job)`; a job is made where none is given.

    Meanwhile no output takes the place of a file that the request names.
    """

    @wraps(work)
    def run(request: Q, job: Job | None = None, *args: P.args, **more: P.kwargs) -> R:
        job = job or Job()
        before, job.kept = job.kept, {}  # nothing that was made for another request
        try:
            with job.active(), protected(request.inputs()):
                return work(request, job, *args, **more)
        finally:
            job.kept = before

    return run


def in_context(work: Callable[P, R]) -> Callable[P, R]:
    """A function that runs in this thread's context wherever it is called: in a pool's thread."""
    context = contextvars.copy_context()

    def run(*args: P.args, **more: P.kwargs) -> R:
        return context.copy().run(work, *args, **more)

    return run


def count_of(number: int, thing: str, things: str = "") -> str:
    """A number of things, in words.

    Examples
    --------
    >>> count_of(1, "label map"), count_of(2, "error"), count_of(0, "copy", "copies")
    ('1 label map', '2 errors', '0 copies')
    """
    return f"{number} {thing if number == 1 else things or thing + 's'}"
