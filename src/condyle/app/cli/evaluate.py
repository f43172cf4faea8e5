"""The command `condyle evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import complain, show_summary
from condyle.config.requests import EvaluateRequest

if TYPE_CHECKING:
    from condyle.workflows.evaluate import Evaluated

__all__ = ["command"]


def show(request: EvaluateRequest, done: Evaluated) -> int:
    """Print the scores; 2 if a case could not be compared, or has no prediction."""
    cases = f"{done.cases} case{'s' * (done.cases != 1)}"
    show_summary(done.summary, request.out / "metrics.csv", cases)
    for name, reason in done.failed.items():
        complain(f"{name} was not compared: {reason}")
    return 2 if done.failed or done.missing else 0


command = command_of(EvaluateRequest, "condyle.workflows.evaluate:evaluate", show)
