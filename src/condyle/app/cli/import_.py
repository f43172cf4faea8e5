"""The command `condyle import`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say
from condyle.config.requests import ImportRequest

if TYPE_CHECKING:
    from condyle.workflows.importing.import_scans import ImportedDataset

__all__ = ["command"]


def show(request: ImportRequest, done: ImportedDataset) -> None:
    """Print what was done."""
    say(*done.said)


command = command_of(ImportRequest, "condyle.workflows.importing.import_scans:import_scans", show)
