"""The command `condyle train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import as_flags, command_of, flags_of
from condyle.app.cli.terminal import say, show_summary
from condyle.config.requests import TrainRequest
from condyle.runs.folder import RunFolder
from condyle.runs.folds import FILE as FOLDS

if TYPE_CHECKING:
    from condyle.workflows.training.train import Run

__all__ = ["command"]


def show(request: TrainRequest, done: Run) -> None:
    """Print the test scores, if any scan judged, and what to do next."""
    if not any(row.get("n") for row in done.summary):
        say(f"no scan judged: there are no scores; more in {request.out / 'report.html'}")
    elif request.folds or (request.out / FOLDS).is_file():
        show_summary(done.summary, request.out / "summary.md")
    else:
        show_summary(done.summary, request.out / "report.html")
    for sentence in RunFolder(request.out).advice():
        say(f"advice: {as_flags(sentence, flags_of(TrainRequest))}")


command = command_of(TrainRequest, "condyle.workflows.training.train:train", show)
