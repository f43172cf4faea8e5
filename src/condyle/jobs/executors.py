"""Where tasks run: in this process, or in several on this machine that survive each other."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import IO, Any

from condyle.errors import ConfigError, UnknownName, WorkerDied

__all__ = ["LocalProcesses", "executor_for"]

MOST_DEATHS = 3
"""Workers that may die over one call before it is given up."""
KINDS = ("local:N",)


@contextmanager
def executor_for(on: str) -> Generator[Executor | None]:
    """The executor of this name, closed in the end; None for this process itself (local:1).

    Raises
    ------
    ConfigError
        If there is no such executor.
    """
    kind, _, count = on.partition(":")
    if kind != "local":
        raise UnknownName("executor for `on`", on, KINDS)
    if not count.isdecimal() or int(count) < 1:
        raise ConfigError(f"`on` = {on!r} does not say how many processes: write local:3")
    if int(count) == 1:
        yield None
        return
    executor = LocalProcesses(int(count))
    try:
        yield executor
    except BaseException:
        executor.end()
        raise
    executor.shutdown(cancel_futures=True)


@dataclass
class _Call:
    """A function to call, and whom to tell what came of it."""

    work: Callable[..., Any]
    args: tuple[Any, ...]
    more: dict[str, Any]
    future: Future[Any] = field(default_factory=Future[Any])


class LocalProcesses(Executor):
    """Processes on this machine. One that is killed is replaced, and its call tried again.

    Parameters
    ----------
    count : of the processes. They share the machine's cores.

    Examples
    --------
    >>> with LocalProcesses(2) as executor:
    ...     executor.submit(divmod, 7, 3).result()
    (2, 1)
    """

    def __init__(self, count: int):
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._closed, self._ended = threading.Event(), threading.Event()
        self._workers: list[_Worker] = []
        self._threads = [
            threading.Thread(target=self._serve, args=(count,), daemon=True) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function that can be imported in one of the processes."""
        if self._closed.is_set():
            raise RuntimeError("the executor is closed")
        call = _Call(fn, args, kwargs)
        self._calls.put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once their calls are done, or at once those that have not begun."""
        if not self._closed.is_set():
            self._closed.set()
            if cancel_futures:
                with suppress(Empty):
                    while (call := self._calls.get_nowait()) is not None:
                        call.future.cancel()
            for _ in self._threads:
                self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _serve(self, count: int) -> None:
        """One process, and the calls that it gets, one after the other."""
        worker: _Worker | None = None
        while (call := self._calls.get()) is not None:
            if call.future.set_running_or_notify_cancel():
                worker = self._done(call, worker, count)
        if worker is not None:
            worker.close()

    def _done(self, call: _Call, worker: _Worker | None, count: int) -> _Worker | None:
        """Do a call, again where its process dies; gives the process that did it."""
        died: Exception | None = None
        for _ in range(MOST_DEATHS):
            if self._ended.is_set():
                break
            try:
                worker = worker or self._started(count)
                ok, result = worker.answer(call)
            except _Died as error:
                worker, died = None, error
                continue
            except Exception as error:  # of a call that cannot be sent; the process knows nothing
                ok, result = False, error
            call.future.set_result(result) if ok else call.future.set_exception(result)
            return worker
        reason = f"died {MOST_DEATHS} times ({died})"
        if self._ended.is_set():
            reason = "was ended"
        call.future.set_exception(WorkerDied(f"its process {reason}"))
        return worker

    def _started(self, count: int) -> _Worker:
        worker = _Worker.started(count)
        self._workers.append(worker)
        if self._ended.is_set():  # meanwhile
            worker.interrupt()
        return worker

    def end(self) -> None:
        """End the processes now, as by Ctrl-C, whatever they do; nothing is tried again."""
        self._ended.set()
        for worker in self._workers:
            worker.interrupt()
        self.shutdown(cancel_futures=True)


class _Died(Exception):
    """A worker process that is gone."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]

    @classmethod
    def started(cls, count: int) -> _Worker:
        """A new process: this Python, which never looks for modules in the working directory."""
        threads = str(max((os.cpu_count() or 1) // count, 1))
        path = os.pathsep.join(entry for entry in sys.path if entry)
        given = os.environ | {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads), "PYTHONPATH": path,
        }  # fmt: skip
        command = [sys.executable, "-P", "-m", "condyle.jobs.worker"]
        pipe = subprocess.PIPE
        worker = cls(subprocess.Popen(command, stdin=pipe, stdout=pipe, env=given))
        worker.heard()  # from now on it ends by Ctrl-C, whatever the shell does with that
        return worker

    def answer(self, call: _Call) -> tuple[bool, Any]:
        """Whether a call went well, and what it gave or raised. `_Died` if the process dies."""
        assert self.process.stdin is not None
        try:
            send(self.process.stdin, (call.work, call.args, call.more))
        except OSError as error:
            raise _Died(self._ending()) from error
        return self.heard()

    def heard(self) -> Any:
        """What it says next. `_Died` if it dies first."""
        assert self.process.stdout is not None
        try:
            return receive(self.process.stdout)
        except (OSError, EOFError) as error:
            raise _Died(self._ending()) from error

    def _ending(self) -> str:
        self.close()
        code = self.process.returncode
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def interrupt(self) -> None:
        """Let it end as by Ctrl-C: it gives back what it has claimed."""
        with suppress(OSError):
            self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Let it end, and close what it was spoken to by."""
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self.process.wait()


def send(stream: IO[bytes], thing: Any) -> None:
    """Write a thing, its length first."""
    content = pickle.dumps(thing)
    stream.write(struct.pack("!Q", len(content)) + content)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read what `send` wrote; `EOFError` where the other end is gone."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("!Q", head)
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return pickle.loads(content)
