"""The command `condyle doctor`."""

from __future__ import annotations

from typing import Any

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import show_table
from condyle.config.requests import DoctorRequest

__all__ = ["command"]


def show(request: DoctorRequest, rows: list[dict[str, Any]]) -> None:
    """Print what this machine has."""
    show_table("this machine", rows)


command = command_of(DoctorRequest, "condyle.workflows.doctor:doctor", show)
