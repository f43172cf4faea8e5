"""The command `condyle compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import complain, say, show_table
from condyle.config.requests import CompareRequest

if TYPE_CHECKING:
    from condyle.workflows.compare import Compared

__all__ = ["command"]


SHOWN = ("Model", "Dice", "95 % CI", "HD95 (mm)", "Rank", "p to the best", "Failed", "Training")


def show(request: CompareRequest, done: Compared) -> int:
    """Print the main table, and which trainings failed and why; 2 if any did."""
    from condyle.report.tables import shown

    known = [key for key in SHOWN if any(row.get(key) is not None for row in done.rows)]
    rows = [{key: shown(row.get(key)) for key in known} for row in done.rows]
    show_table("the same patients, mean ± standard deviation", rows)
    if done.too_few:
        say(done.too_few)
    say(f"more in {request.out / 'report.html'}")
    for name, reason in done.failed.items():
        complain(f"{name} failed: {reason}")
    return 2 if done.failed else 0


command = command_of(CompareRequest, "condyle.workflows.compare:compare", show)
