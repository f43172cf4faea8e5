"""The command `condyle plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say
from condyle.config.requests import PlanRequest

if TYPE_CHECKING:
    from condyle.workflows.training.plan import TrainingPlan

__all__ = ["command"]


def show(request: PlanRequest, made: TrainingPlan) -> None:
    """Print the plan as TOML."""
    from condyle.workflows.training.plan import toml_of

    say(*toml_of(made).removesuffix("\n").split("\n"))


command = command_of(PlanRequest, "condyle.workflows.training.plan:plan", show)
