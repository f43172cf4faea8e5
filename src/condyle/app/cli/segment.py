"""The command `condyle segment`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import complain, say, written
from condyle.config.requests import SegmentRequest
from condyle.jobs.job import count_of

if TYPE_CHECKING:
    from condyle.workflows.segment import Segmented

__all__ = ["command"]


def show(request: SegmentRequest, done: Segmented) -> int:
    """Print how many scans were segmented, and why the others were not; 2 if any failed."""
    by = f", computed by {' and '.join(done.computed_by)}" if done.computed_by else ""
    say(f"{count_of(len(done.written), 'label map')} {written(request)} {request.out}{by}")
    for reasons in done.doubtful.values():
        say(f"check {reasons}")
    for name, reason in done.failed.items():
        complain(f"{name} failed: {reason}")
    return 2 if done.failed else 0


command = command_of(SegmentRequest, "condyle.workflows.segment:segment", show)
