"""Batches: a list of tasks, what does one, and a gathering of their records.

One machine and a thousand do the same: a task is found again anywhere by its request and its key,
so that only these travel. Whoever does a task claims it, writes its outputs, then its record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from condyle.errors import Cancelled, CondyleError, OutputError, TrainingPaused, WorkerDied
from condyle.jobs.executors import executor_for
from condyle.jobs.job import Job, in_context
from condyle.jobs.outputs import protected, require_free
from condyle.jobs.records import Claim, OutputFolder, Record, content_hash, done

__all__ = ["Batch", "BatchRequest", "Done", "Task", "run_batch"]

Q = TypeVar("Q", bound="BatchRequest")
R = TypeVar("R")

WAIT_SECONDS = 0.2
"""Between two looks at whether another process has finished a task."""


class BatchRequest(Protocol):
    """What a batch must know of its request."""

    def place(self) -> tuple[Path, str]:
        """The folder for the results, and a name for them in it; '' where all of it is theirs."""
        ...

    @property
    def on(self) -> str:
        """The executor: local:3."""
        ...

    @property
    def resume(self) -> bool:
        """Whether to keep what is finished."""
        ...

    def signature(self) -> dict[str, Any]:
        """All that decides the results, as JSON values."""
        ...

    def inputs(self) -> list[Path]:
        """The files that are named by it; none is written over."""
        ...

    def model_dump_json(self) -> str:
        """All of it as JSON."""
        ...


@dataclass(frozen=True)
class Task:
    """One piece of a batch.

    Parameters
    ----------
    key : its name, of its own in the batch.
    inputs : the files, or DICOM folders, that it reads; never overwritten.
    outputs : the files that it writes, where they are known.
    beside : files that belong to its inputs, such as the label map of a scan, and that it does not
        read; never overwritten either.
    given : what the verb needs to know to do it.
    """

    key: str
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    given: Any = None
    beside: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Done:
    """What a task has brought: the files that it wrote, and rows for tables."""

    outputs: tuple[Path, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Batch(Generic[Q, R]):
    """A verb that works task by task.

    Parameters
    ----------
    home : 'module:NAME', where this object is found again in another process.
    stage : what is being done, for progress.
    request : the class of its requests.
    tasks : the tasks of a request, in their order; wrong requests are refused here.
    read : what a task needs from the disk; read ahead while the task before is computed.
    compute : what comes of it.
    write : puts that into files; goes on while the next task is computed.
    gather : writes tables from all records, in the order of tasks, and says what the verb has done.
    made_of : what else than inputs and settings decides the outputs, such as weights' hashes.
    tables : the files that `gather` writes.
    """

    home: str
    stage: str
    request: type[Q]
    tasks: Callable[[Q, Job], Sequence[Task]]
    gather: Callable[[Q, Sequence[Record], OutputFolder, Job], R]
    compute: Callable[[Q, Task, Any, Job], Any]
    read: Callable[[Q, Task, Job], Any] = lambda request, task, job: None
    write: Callable[[Q, Task, Any, Job], Done] = lambda request, task, found, job: found
    made_of: Callable[[Q, Job], Any] = lambda request, job: None
    tables: Callable[[Q], Iterable[Path]] = lambda request: ()

    def folder(self, request: Q) -> OutputFolder:
        """The folder of a request's results."""
        path, name = request.place()
        verb = self.home.partition(":")[0].rpartition(".")[2]
        return OutputFolder(path, f"{verb}-{name}" if name else verb)

    def known(self, request: Q, job: Job) -> dict[str, Task]:
        """Key -> task."""
        return job.keep(
            f"tasks of {self.home}", lambda: {task.key: task for task in self.tasks(request, job)}
        )


def run_batch(batch: Batch[Q, R], request: Q, job: Job) -> R:
    """Do all tasks of a request, as many as are not done, and gather what they brought.

    A task that fails is named and does not stop the others.

    Raises
    ------
    OutputError
        If an output would overwrite an input, or the folder cannot be written.
    """
    tasks = batch.known(request, job)
    with protected(_read_by(tasks)), executor_for(request.on) as executor:
        for output in (*(path for task in tasks.values() for path in task.outputs),
                       *batch.tables(request)):  # fmt: skip
            require_free(output)
        folder = batch.folder(request)
        if not request.resume and (words := folder.earlier(request.signature(), tasks)):
            job.warn(words)
        before = [folder.record(key) for key in tasks] if request.resume else []
        before = done(filter(None, before))
        always = "resume" in getattr(request, "NO_FLAG", ())
        with folder.opened(request.signature(), resume="always" if always else request.resume):
            found: dict[str, Record] = {}
            if executor is None:
                coming = _here(batch, request, list(tasks), folder, job)
            else:
                coming = _spread(batch, request, list(tasks), folder, job, executor)
            with closing(coming):
                for number, record in enumerate(coming):
                    found[record.key] = record
                    job.progress(batch.stage, number + 1, len(tasks), f"{number + 1}/{len(tasks)}")
                    if executor is not None:
                        for sentence in record.warnings:
                            job.warn(sentence, record.key)
            _finish(batch, request, folder, job, found)
            if [found[key] for key in tasks] == before:
                job.progress(batch.stage, 1, 1, "nothing left to do")
            return batch.gather(request, [found[key] for key in tasks], folder, job)


def _read_by(tasks: Mapping[str, Task]) -> list[Path]:
    """The inputs of all tasks, and what lies beside them."""
    return [path for task in tasks.values() for path in (*task.inputs, *task.beside)]


def _finish(
    batch: Batch[Q, Any], request: Q, folder: OutputFolder, job: Job, found: dict[str, Record]
) -> None:
    """Wait for the tasks that other processes work on; do those whose process has died."""
    missing = [key for key in batch.known(request, job) if key not in found]
    while missing:
        for key in list(missing):
            job.check()
            claim = folder.claim(key)
            if claim is None:  # its owner is alive
                continue
            claim.release()
            record = _do(batch, request, batch.known(request, job)[key], folder, job)
            if record is not None:
                found[key] = record
                missing.remove(key)
        if missing:
            time.sleep(WAIT_SECONDS)


def _here(
    batch: Batch[Q, Any], request: Q, keys: Sequence[str], folder: OutputFolder, job: Job
) -> Generator[Record]:
    """The tasks one by one: the next is read while one is computed and the last one written."""
    tasks = batch.known(request, job)
    with ThreadPoolExecutor(1, "reading") as reader, ThreadPoolExecutor(1, "writing") as writer:
        coming: list[Future[_Turn[Q]]] = []
        written: list[Future[Record | None]] = []
        turns = iter([_Turn(batch, request, tasks[key], folder, job.for_case(key)) for key in keys])

        def read_next() -> None:
            turn = next(turns, None)
            if turn is not None:
                coming.append(reader.submit(in_context(turn.begin)))

        read_next()
        number = 0
        try:
            while coming:
                turn = coming.pop(0).result()
                read_next()
                turn.compute(job.share(number, len(keys), batch.stage))
                number += 1
                before, written = written, [writer.submit(in_context(turn.end))]
                yield from _ready(before)
            yield from _ready(written)
        finally:
            for future in coming:  # claims that nobody will use
                with suppress(BaseException):  # then it has given its claim back itself
                    future.result().abandon()


def _ready(written: list[Future[Record | None]]) -> Iterator[Record]:
    while written:
        record = written.pop(0).result()
        if record is not None:
            yield record


class _Turn(Generic[Q]):
    """One task on its way: claimed and read, computed, written and recorded."""

    def __init__(
        self, batch: Batch[Q, Any], request: Q, task: Task, folder: OutputFolder, job: Job
    ):
        self.batch, self.request, self.task, self.folder = batch, request, task, folder
        self.job = job
        self.claim: Claim | None = None
        self.record: Record | None = None
        self.found: Any = None
        self.made_of = ""

    def begin(self) -> _Turn[Q]:
        """Claim the task and read what it needs, unless it is done or another process has it."""
        with self._failing():
            more = self.job.keep(
                f"made of {self.batch.home}",
                lambda: [self.request.signature(), self.batch.made_of(self.request, self.job)],
            )
            self.made_of = content_hash(self.task.inputs, more)
            self.record = self.folder.finished(self.task.key, self.made_of)
            if self.record is not None:
                return self
            self.claim = self.folder.claim(self.task.key)
            if self.claim is None:
                return self
            self.record = self.folder.finished(self.task.key, self.made_of)  # meanwhile
            if self.record is None and self.claim.is_hopeless:
                self._fail(
                    "it was begun twice and the process was killed each time, as happens where "
                    "memory runs out: give it more memory, or leave it out"
                )
            elif self.record is None:
                self.claim.begin()
                self.found = self.batch.read(self.request, self.task, self.job)
        return self

    @property
    def is_open(self) -> bool:
        """Whether there is still something to do."""
        return self.claim is not None and self.record is None

    def compute(self, tell: Callable[[float], None]) -> None:
        """Compute what was read."""
        if self.is_open:
            with self._failing():
                self.job.tell = tell
                self.found = self.batch.compute(self.request, self.task, self.found, self.job)

    def end(self) -> Record | None:
        """Write what was computed, and the record; None where another process has the task."""
        try:
            if self.is_open:
                with self._failing():
                    done = self.batch.write(self.request, self.task, self.found, self.job)
                    record = Record(
                        key=self.task.key,
                        made_of=self.made_of,
                        outputs=self.folder.hashes(done.outputs),
                        warnings=self._said(),
                        data=dict(done.data),
                    )
                    self.record = self.folder.keep(record)
            return self.record
        finally:
            self.found = None
            if self.claim is not None:
                self.claim.end()

    def abandon(self) -> None:
        """Give the claim back: the batch ends before the task was computed."""
        if self.claim is not None:
            self.claim.end()

    def _said(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each.sentence for each in self.job.warnings))

    def _fail(self, reason: str, error: str = "") -> None:
        self.record = Record(
            key=self.task.key, state="failed", reason=reason, warnings=self._said(),
            made_of=self.made_of, data={"error": error},
        )  # fmt: skip
        with suppress(OutputError):  # where the disk is full, it is known to this process alone
            self.folder.keep(self.record)

    @contextmanager
    def _failing(self) -> Generator[None]:
        """What goes wrong with the task is its record; a folder that cannot be written is not."""
        try:
            with self.job.active():
                yield
        except (Cancelled, TrainingPaused):
            self.abandon()
            raise
        except CondyleError as error:
            self._fail(str(error), type(error).__name__)
        except (MemoryError, RuntimeError) as error:  # torch says RuntimeError where memory ends
            words = str(error).splitlines() or [""]
            self._fail(f"{type(error).__name__}: {words[0]}", "CondyleError")
        except BaseException:  # Ctrl-C is nothing that the task has done
            self.abandon()
            raise


def _do(
    batch: Batch[Q, Any], request: Q, task: Task, folder: OutputFolder, job: Job
) -> Record | None:
    """Do one task from its beginning to its record; None where another process has it."""
    turn = _Turn(batch, request, task, folder, job.for_case(task.key)).begin()
    turn.compute(lambda part: None)
    return turn.end()


def do_elsewhere(home: str, request: str, key: str) -> str:
    """Do a task in a worker process: its record as JSON, '' where another process has it."""
    module, _, name = home.partition(":")
    batch: Batch[Any, Any] = getattr(import_module(module), name)
    asked = batch.request.model_validate_json(request)  # type: ignore[attr-defined]
    job = _WORKER.setdefault(f"{home} {request}", Job())
    with job.active():
        tasks = batch.known(asked, job)
        with protected([*asked.inputs(), *_read_by(tasks)]):
            record = _do(batch, asked, tasks[key], batch.folder(asked), job)
    return record.model_dump_json() if record is not None else ""


_WORKER: dict[str, Job] = {}
"""Of a worker process: the job of each batch that it works for, which keeps loaded weights."""


def _spread(
    batch: Batch[Q, Any], request: Q, keys: Sequence[str], folder: OutputFolder, job: Job,
    executor: Executor,
) -> Generator[Record]:  # fmt: skip
    """The tasks, spread over an executor's workers, in the order in which they end."""
    text = request.model_dump_json()
    job.check()  # before a worker has begun
    futures = {executor.submit(do_elsewhere, batch.home, text, key): key for key in keys}
    waiting = set(futures)
    while waiting:
        ended, waiting = wait(waiting, WAIT_SECONDS, FIRST_COMPLETED)
        job.check()
        for future in ended:
            key = futures[future]
            try:
                said = future.result()
            except WorkerDied as error:
                yield folder.keep(Record(key=key, state="failed", reason=str(error)))
                continue
            if said:
                yield Record.model_validate_json(said)
