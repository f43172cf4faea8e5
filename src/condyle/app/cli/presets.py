"""The command `condyle presets`."""

from __future__ import annotations

from typing import Any

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import show_table
from condyle.config.requests import PresetsRequest

__all__ = ["command"]


def show(request: PresetsRequest, rows: list[dict[str, Any]]) -> None:
    """Print a row a preset, or a row a number of one's study."""
    show_table(f"the numbers of {request.name}'s study" if request.name else "presets", rows)


command = command_of(PresetsRequest, "condyle.workflows.doctor:list_presets", show)
