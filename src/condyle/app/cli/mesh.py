"""The command `condyle mesh`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import complain, say, written
from condyle.config.requests import MeshRequest
from condyle.jobs.job import count_of

if TYPE_CHECKING:
    from condyle.workflows.mesh import Surfaces

__all__ = ["command"]


def show(request: MeshRequest, done: Surfaces) -> int:
    """Print how many surfaces were written; 2 if a label map failed."""
    say(f"{count_of(len(done.written), 'surface')} {written(request)} {request.out}")
    if done.written:
        say(f"volumes, areas, extents and axes in {request.out / 'surfaces.csv'}")
    for name, reason in done.failed.items():
        complain(f"{name} failed: {reason}")
    return 2 if done.failed else 0


command = command_of(MeshRequest, "condyle.workflows.mesh:mesh", show)
