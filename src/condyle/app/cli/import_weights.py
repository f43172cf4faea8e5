"""The command `condyle import-weights`."""

from __future__ import annotations

from typing import Any

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say, show_table
from condyle.config.requests import ImportWeightsRequest

__all__ = ["command"]


def show(request: ImportWeightsRequest, done: Any) -> None:
    """Print the tensors, or what the model finds."""
    from condyle.workflows.import_weights import ImportedModel

    if isinstance(done, ImportedModel):
        say(f"{done.name}, which finds {', '.join(done.structures)}, written into {done.folder}")
        return
    show_table("tensors", done.rows)
    say(f"{done.summary} (SHA-256 of what was read: {done.sha256})")


command = command_of(ImportWeightsRequest, "condyle.workflows.import_weights:import_weights", show)
