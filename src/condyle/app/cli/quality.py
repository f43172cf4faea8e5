"""The command `condyle quality`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say, show_table
from condyle.config.requests import QualityRequest

if TYPE_CHECKING:
    from condyle.workflows.quality import CalibrationSummary

__all__ = ["command"]


def show(request: QualityRequest, done: CalibrationSummary) -> None:
    """Print the calibration."""
    show_table("expected Dice, from test cases and damaged copies of them", done.rows)
    say(f"stored with the segmenter of {request.run}: `condyle segment --quality` uses it")


command = command_of(QualityRequest, "condyle.workflows.quality:quality", show)
