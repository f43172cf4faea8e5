"""Another program's Python in a process of its own: progress in, one sentence out when it fails."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

from condyle.errors import ConfigError, EngineFailed, MissingExtra, OutOfMemory
from condyle.jobs.job import Job, Progress
from condyle.jobs.outputs import write_text

__all__ = ["Child", "fitted", "python", "require", "versions"]

CHILDREN = Path(__file__).with_name("children")
SAFE = {"PYTHONSAFEPATH": "1"}
"""A child never looks for modules in the folder it was started in."""
MARK = "condyle: "
IDLE_SECONDS = 600.0
"""A child that says nothing and computes nothing for so long hangs."""
SILENT_SECONDS = 3600.0
"""One that computes, but says nothing for so long, hangs as well."""
TAIL = 40
"""Lines of a failed child's output that are kept with the error."""
GIB_A_WORKER = 3.0


def python() -> str:
    """The Python that has the engines: CONDYLE_ENGINES_PYTHON if that is set, else this one."""
    return os.environ.get("CONDYLE_ENGINES_PYTHON") or sys.executable


@cache
def versions(interpreter: str) -> Mapping[str, str]:
    """The engines' packages that a Python has, and their versions.

    Raises
    ------
    ConfigError
        If there is no such Python.
    """
    code = (
        "import json, sys\nfrom importlib.metadata import distributions\n"
        "names = {'nnunetv2', 'totalsegmentator', 'torch'}\n"
        "print(json.dumps({d.name.lower(): d.version for d in distributions() "
        "if (d.name or '').lower() in names}))"
    )
    try:
        done = subprocess.run(
            [interpreter, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, **SAFE},
        )
        return cast(Mapping[str, str], json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ConfigError(
            f"CONDYLE_ENGINES_PYTHON = {interpreter} is not a Python interpreter that runs "
            f"({error})"
        ) from error


def require(package: str) -> str:
    """The Python that has an engine's package.

    Raises
    ------
    MissingExtra
        If it has not; the sentence says how to get it.
    """
    found = python()
    if package.lower() not in versions(found):
        raise MissingExtra(
            f"{package} is not installed: pip install 'condyle[engines]', or set "
            "CONDYLE_ENGINES_PYTHON to a Python that has it"
        )
    return found


def fitted(given: Mapping[str, str], device: str = "auto") -> dict[str, str]:
    """nnU-Net's settings for its workers, for the cores and the memory of this machine.

    What the environment says already is honoured. With few cores nothing is augmented in other
    processes: none can die unseen, and the cores are busy with the network.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    room = max(1, int(memory_gib() // GIB_A_WORKER))
    augmenting = 0 if cores <= 4 or device == "cpu" else min(12, cores - 2, room)
    wanted = {
        "nnUNet_n_proc_DA": str(augmenting),
        "nnUNet_def_n_proc": str(max(1, min(8, cores, room))),
        "nnUNet_compile": "f",
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads take the cores from others
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return {name: given.get(name, value) for name, value in wanted.items()}


def memory_gib() -> float:
    """Memory of this machine that is free for programs, in GiB; 8 where that is unknown."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("MemAvailable")) / 2**20
    return 8.0


@dataclass
class Child:
    """One script under an engine's Python.

    Parameters
    ----------
    engine : its name, for messages.
    script : of `engines/children`, or a path.
    folder : where its job, its result and what it says (`engine.log`) lie.
    environment : what is set for it beside what is set here.
    idle, silent : seconds after which it hangs.
    """

    engine: str
    script: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    interpreter: str = field(default_factory=python)
    idle: float = IDLE_SECONDS
    silent: float = SILENT_SECONDS
    most_bytes: int = field(default=0, init=False)
    lines: list[str] = field(default_factory=list[str], init=False)
    reason: str = field(default="", init=False)

    def run(self, asked: Mapping[str, Any], job: Job) -> dict[str, Any]:
        """What became of what was asked; the child, and all that it started, has ended then.

        Raises
        ------
        EngineFailed, OutOfMemory
            If it crashed, hung or was killed: the sentence gives the reason.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder.resolve() / f"{asked.get('do', 'job')}.json"
        write_text(file, json.dumps(asked, indent=1))
        result = self.folder / "result.json"
        result.unlink(missing_ok=True)
        words = [self.interpreter, str(CHILDREN / self.script), str(file)]
        with self._started(words) as (process, said):
            self._listen(process, said, job)
            code = process.wait() if not self.reason.startswith("hung") else -1
        if code or not result.is_file():
            raise self._failure(code)
        return cast(dict[str, Any], json.loads(result.read_text(encoding="utf-8")))

    @contextlib.contextmanager
    def _started(
        self, words: list[str]
    ) -> Generator[tuple[subprocess.Popen[str], SimpleQueue[str | None]]]:
        """The first process of a session, and its lines; at the end none of them is left."""
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", env={**os.environ, **SAFE, **self.environment},
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise EngineFailed(f"{self.engine} could not be started ({error})") from error
        said: SimpleQueue[str | None] = SimpleQueue()
        reader = threading.Thread(target=_read, args=(process, said), daemon=True)
        reader.start()
        try:
            yield process, said
        finally:
            with contextlib.suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()
            process.wait()
            reader.join(timeout=10)

    def _listen(
        self, process: subprocess.Popen[str], said: SimpleQueue[str | None], job: Job
    ) -> None:
        """Hand on what the child tells, until it ends or hangs."""
        spoken = busy = time.monotonic()
        used = 0.0
        with (self.folder / "engine.log").open("a", encoding="utf-8") as log:
            while True:
                job.check()
                try:
                    line = said.get(timeout=1.0)
                except Empty:
                    now, (seconds, held) = time.monotonic(), _consumed(process.pid)
                    self.most_bytes = max(self.most_bytes, held)
                    if process.poll() is not None:
                        return  # its pipe is held open by what it left behind
                    if seconds - used > 0.02 * (now - busy):
                        busy, used = now, seconds
                    if now - max(spoken, busy) > self.idle or now - spoken > self.silent:
                        minutes = (now - spoken) / 60
                        self.reason = f"hung: it printed nothing for {minutes:.3g} min"
                        return
                    continue
                if line is None:
                    return
                spoken = time.monotonic()
                self._hear(line, job)
                if not line.startswith(MARK):
                    log.write(line + "\n")
                    log.flush()

    def _hear(self, line: str, job: Job) -> None:
        """One line: progress, the reason of a failure, or talk."""
        if not line.startswith(MARK):
            self.lines = [*self.lines[1 - TAIL :], line] if line.strip() else self.lines
            return
        with contextlib.suppress(ValueError, KeyError, TypeError):
            message: dict[str, Any] = json.loads(line.removeprefix(MARK))
            if "failed" in message:
                self.reason = str(message["failed"])
            else:
                job.say(
                    Progress(message["stage"], float(message["done"]), words=str(message["words"]))
                )

    def _failure(self, code: int) -> EngineFailed | OutOfMemory | ConfigError:
        """The error of a child that did not come to its end."""
        reason = self.reason or (self.lines[-1] if self.lines else f"exit code {code}")
        error: EngineFailed | OutOfMemory | ConfigError
        if reason.startswith("hung"):
            error = EngineFailed(
                f"{self.engine} {reason}, and was stopped; its last output was {self._last_words()}"
            )
        elif code < 0:
            error = EngineFailed(f"{self.engine} {self._killed(-code)}")
        elif reason.startswith("TooLittleTime"):
            error = ConfigError(f"{reason.partition(': ')[2]}: give more time")
        elif reason.startswith("Refused: "):
            error = ConfigError(reason.removeprefix("Refused: "))
        elif found := next((s for mark, s in KNOWN.items() if re.search(mark, reason)), ""):
            error = OutOfMemory(f"{self.engine} {found} ({self._held()})")
        else:
            error = EngineFailed(f"{self.engine} failed: {reason}")
        error.add_note("\n".join(self.lines))
        return error

    def _killed(self, number: int) -> str:
        with contextlib.suppress(ValueError):
            name = signal.Signals(number).name
            if name != "SIGKILL":
                return f"was ended by {name}: {self._last_words()}"
        return (
            f"was killed by the system, probably because memory ran out ({self._held()}): "
            "close other programs, or take a machine with more memory"
        )

    def _held(self) -> str:
        held = f"its processes held up to {self.most_bytes / 2**30:.1f} GiB"
        return f"{held}, {memory_gib():.1f} GiB are free now"

    def _last_words(self) -> str:
        return repr(self.lines[-1][:200]) if self.lines else "nothing"


KNOWN = {
    r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED": (
        "found too little memory on the GPU: take `device` cpu, or a smaller configuration"
    ),
    r"background workers? (are|is)|6 feet under|[Ww]orkers? .*(died|no longer alive)": (
        "lost one of its worker processes, probably because memory ran out: close other programs, "
        "or set nnUNet_n_proc_DA=0 and nnUNet_def_n_proc=1"
    ),
    r"MemoryError|Cannot allocate memory|can't allocate memory|bad_alloc": (
        "found too little memory: close other programs, or set nnUNet_def_n_proc=1"
    ),
}
"""What an engine's last words look like -> what they mean, and what to do."""


def _read(process: subprocess.Popen[str], said: SimpleQueue[str | None]) -> None:
    """Put each line that a process says into the queue, and None at the end."""
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError), process.stdout as stream:
        for line in stream:
            said.put(line.rstrip("\n"))
    said.put(None)


def _consumed(session: int) -> tuple[float, int]:
    """Seconds of processor time and bytes of memory of all processes in a session; 0 unknown."""
    ticks = pages = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session:
                ticks += sum(int(x) for x in fields[11:15])
                pages += int(fields[21])
    if not ticks:
        return 0.0, 0
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")
