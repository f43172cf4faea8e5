"""The command `condyle train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.show import show_summary
from condyle.config.requests import TrainRequest

if TYPE_CHECKING:
    from condyle.workflows.training.train import Run

__all__ = ["command"]


def show(request: TrainRequest, done: Run) -> None:
    """Print the test scores."""
    if done.summary:
        show_summary(done.summary, request.out / "report.html")


command = command_of(TrainRequest, "condyle.workflows.training.train:train", show)
