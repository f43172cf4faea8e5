"""The command `condyle refine`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import complain, say, show_table, written
from condyle.config.requests import RefineRequest
from condyle.jobs.job import count_of
from condyle.runs.folder import RunFolder

if TYPE_CHECKING:
    from condyle.workflows.refine import Chosen, Refined

__all__ = ["command"]


def show(request: RefineRequest, done: Refined | Chosen) -> int:
    """Print how many label maps were refined, or which steps were chosen; 2 if one failed."""
    from condyle.workflows.refine import Chosen

    if isinstance(done, Chosen):
        _show_chosen(request, done)
        return 0
    say(f"{count_of(len(done.written), 'label map')} {written(request, 'refined')} {request.out}")
    for name, reason in done.failed.items():
        complain(f"{name} failed: {reason}")
    return 2 if done.failed else 0


def _show_chosen(request: RefineRequest, done: Chosen) -> None:
    rows = [row | {x: f"{row[x]:.4f}" for x in ("dice_before", "dice_after")} for row in done.rows]
    show_table("mean Dice over validation cases, before and after each step", rows)
    run, kept = (
        request.choose,
        [f"{r['structure']} {r['step']}" for r in done.rows if r["kept"] == "yes"],
    )
    if kept:
        say(f"the label maps of {run} will be cleaned by {', '.join(kept)}")
    else:
        say(f"No post-processing step improved validation Dice; none will be applied for {run}.")
    if run is not None:
        say(f"more in {RunFolder(run).refinement}")


command = command_of(RefineRequest, "condyle.workflows.refine:refine_or_choose", show)
