"""The command `condyle show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say
from condyle.config.requests import ShowRequest
from condyle.jobs.job import count_of

if TYPE_CHECKING:
    from condyle.workflows.show import Shown

__all__ = ["command"]


def show(request: ShowRequest, done: Shown) -> None:
    """Print what the picture shows, and where it is."""
    if not done.slices:
        what = "surfaces"
    elif len(done.slices) == 1:
        what = f"{done.plane} slice {done.slices[0]}"
    else:
        first, last = done.slices[0], done.slices[-1]
        what = f"{count_of(len(done.slices), f'{done.plane} slice')}, {first} to {last}"
    say(f"{what} in {done.picture}")


command = command_of(ShowRequest, "condyle.workflows.show:show_scan", show)
