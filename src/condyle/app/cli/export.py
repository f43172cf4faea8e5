"""The command `condyle export`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say
from condyle.config.requests import ExportRequest

if TYPE_CHECKING:
    from condyle.workflows.export import Exported

__all__ = ["command"]


def show(request: ExportRequest, done: Exported) -> None:
    """Print where it is."""
    say(f"{request.run} written for {request.to} into {done.folder}")


command = command_of(ExportRequest, "condyle.workflows.export:export", show)
