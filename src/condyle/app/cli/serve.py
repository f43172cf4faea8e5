"""The command `condyle serve`."""

from __future__ import annotations

from condyle.app.cli.command import command_of
from condyle.config.requests import ServeRequest

__all__ = ["command"]


def show(request: ServeRequest, done: None) -> int:
    """Print nothing: the link was printed when the server began."""
    return 0


command = command_of(ServeRequest, "condyle.app.web.server:serve", show)
