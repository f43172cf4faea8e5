"""Every step on phantoms: what a newcomer sees first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condyle.config.requests import CheckRequest, DemoRequest, MeshRequest
from condyle.core import Fold
from condyle.errors import OutputError
from condyle.io import write_splits
from condyle.jobs.job import Job, verb
from condyle.phantom import write_cohort
from condyle.runs.folder import RunFolder
from condyle.workflows.check import check
from condyle.workflows.mesh import mesh
from condyle.workflows.training.train import train

__all__ = ["Demonstrated", "demo"]

PHANTOMS = 12
HELD_OUT = 3


@dataclass(frozen=True)
class Demonstrated:
    """What the demo made: the held-out scores and the page that shows them."""

    summary: list[dict[str, Any]]
    report: Path


@verb
def demo(request: DemoRequest, job: Job) -> Demonstrated:
    """Make phantoms, check them, train, score on test phantoms, and make surfaces.

    Raises
    ------
    OutputError
        If the folder holds an earlier demo.
    ConfigError
        If the budget is no duration.
    """
    out, training = request.out, request.training()
    training.experiment()  # a wrong budget is said before minutes are spent on phantoms
    if training.out.exists() or (out / "phantoms").exists():
        raise OutputError(f"{out} holds an earlier demo: delete it, or choose another `out`")
    job.progress("making phantoms", 0)
    dataset = write_cohort(out / "phantoms", PHANTOMS)
    names = [f"leg_{n:03d}" for n in range(PHANTOMS)]
    fold = Fold(tuple(names[:-HELD_OUT]), tuple(names[-HELD_OUT:]))
    write_splits(dataset / "splits_final.json", [fold])
    job.progress("making phantoms", 1, words=f"{PHANTOMS} legs")
    check(CheckRequest(dataset=dataset), job)
    done = train(training, job)
    run = RunFolder(training.out)
    mesh(MeshRequest(labelmaps=(run.predictions,), out=out / "surfaces"), job)
    return Demonstrated(done.summary, run.report)
