"""The command `condyle demo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import show_summary
from condyle.config.requests import DemoRequest

if TYPE_CHECKING:
    from condyle.workflows.demo import Demonstrated

__all__ = ["command"]


def show(request: DemoRequest, done: Demonstrated) -> None:
    """Print the test scores."""
    show_summary(done.summary, done.report)


command = command_of(DemoRequest, "condyle.workflows.demo:demo", show)
