"""The whole road on phantoms: what a newcomer sees first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condyle.config import Experiment, seconds
from condyle.core import Fold
from condyle.errors import OutputError
from condyle.io import write_splits
from condyle.jobs.progress import Tell, silent
from condyle.phantom import write_cohort
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


def demo(out: Path, *, budget: str = "5m", tell: Tell = silent) -> Demonstrated:
    """Make phantoms, check them, train, judge on held-out phantoms, and make surfaces."""
    out = Path(out)
    if (out / "run").exists() or (out / "phantoms").exists():
        raise OutputError(f"{out} holds an earlier demo: delete it, or choose another --out")
    tell("making phantoms", 0.0, "")
    dataset = write_cohort(out / "phantoms", PHANTOMS)
    names = [f"leg_{n:03d}" for n in range(PHANTOMS)]
    fold = Fold(tuple(names[:-HELD_OUT]), tuple(names[-HELD_OUT:]))
    write_splits(dataset / "splits_final.json", [fold])
    tell("making phantoms", 1.0, f"{PHANTOMS} legs")
    check(dataset, tell=tell)
    experiment = Experiment.parse(
        {"dataset": str(dataset), "training": {"budget": seconds(budget)}}
    )
    run = train(experiment, out / "run", tell=tell)
    mesh([out / "run" / "predictions"], out / "surfaces", tell=tell)
    return Demonstrated(run.summary, out / "run" / "report.html")
