"""The command `condyle inflate check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say, show_table
from condyle.config.requests import CheckInflationRequest

if TYPE_CHECKING:
    from condyle.workflows.check_inflation import InflationCheck

__all__ = ["command"]


def show(request: CheckInflationRequest, done: InflationCheck) -> int:
    """Print how far the 2D and 3D outputs are apart; 1 if they are not the same."""
    title = f"{request.encoder}, 2D and 3D, on an input that is the same in every slice"
    show_table(title, done.rows)
    if request.out is not None:
        say(f"kernels drawn in {request.out}")
    return 1 if any("NOT" in row["verdict"] for row in done.rows) else 0


command = command_of(
    CheckInflationRequest, "condyle.workflows.check_inflation:check_inflation", show
)
