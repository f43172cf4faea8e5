"""The command `condyle networks`."""

from __future__ import annotations

from typing import Any

from condyle.app.cli.command import command_of
from condyle.app.cli.show import show_table
from condyle.config.requests import NetworksRequest

__all__ = ["command"]


def show(request: NetworksRequest, rows: list[dict[str, Any]]) -> None:
    """Print a row a network."""
    show_table("networks", rows)


command = command_of(NetworksRequest, "condyle.workflows.doctor:list_networks", show)
