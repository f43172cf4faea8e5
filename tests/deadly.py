"""A batch whose tasks write their names, warn, and kill the process that does them, if asked."""

import importlib
import os
import signal
from pathlib import Path

from condyle.config.request import BatchRequest
from condyle.errors import LabelError
from condyle.jobs.batch import Batch, Done, Task
from condyle.jobs.job import note, warn
from condyle.jobs.outputs import write_csv, write_text


class DeadlyRequest(BatchRequest):
    """What is asked of the batch: `deadly` kills its process, `times` times."""

    out: Path
    names: tuple[str, ...] = tuple("abcdefghijkl")
    deadly: str = ""
    times: int = 10**6
    wrong: str = ""
    marks: Path | None = None
    """Where deaths are counted: outside the results."""
    ELSEWHERE = ("out", "on", "resume", "deadly", "times", "marks")


def _compute(request, task, found, job):
    if task.key == request.deadly:
        deaths = len(list(request.marks.iterdir()))
        if deaths < request.times:
            (request.marks / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if task.key == request.wrong:
        raise LabelError(f"{task.key} is wrong")
    warn(f"{task.key} was done")
    note("this goes to the log")
    print("what a library says")  # noqa: T201
    return task.key.upper()


def _write(request, task, found, job):
    return Done((write_text(task.outputs[0], found),), {"long": len(found)})


def _gather(request, records, folder, job):
    done = [record for record in records if record.state == "done"]
    table = write_csv(folder.path / "table.csv", [{"name": r.key, **r.data} for r in done])
    folder.write_manifest(done, [table])
    return {record.key: record.reason for record in records if record.state == "failed"}


def _tasks(request, job):
    return [Task(name, (), (request.out / f"{name}.txt",)) for name in request.names]


BATCH = Batch(
    home="deadly:BATCH", stage="writing", request=DeadlyRequest, tasks=_tasks, compute=_compute,
    write=_write, gather=_gather,
)  # fmt: skip


def same(thing):
    """The thing."""
    return thing


def imported(names):
    """Whether all modules of these names can be imported."""
    return all(importlib.import_module(name) for name in names)


def unlucky(reason):
    """An error that cannot be made from its words alone."""

    class Own(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} {b}")

    raise Own(reason, "twice")
