"""The command `condyle networks`."""

from __future__ import annotations

from typing import Any

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import is_read_by_people, say, show_table
from condyle.config.requests import NetworksRequest

__all__ = ["command"]


def show(request: NetworksRequest, rows: list[dict[str, Any]]) -> None:
    """Print a row a network; for other programs, a line each that begins with the name."""
    if is_read_by_people():
        columns = ("network", "note", "sees", "weights", "licence")
        show_table("networks", [{key: row[key] for key in columns} for row in rows])
    else:
        say(*("  ".join(str(value) for value in row.values() if value) for row in rows))


command = command_of(NetworksRequest, "condyle.workflows.doctor:list_networks", show)
