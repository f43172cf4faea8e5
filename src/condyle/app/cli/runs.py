"""The command `condyle runs`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say, show_table
from condyle.config.requests import RunsRequest
from condyle.jobs.job import count_of

if TYPE_CHECKING:
    from condyle.workflows.runs import Listed

__all__ = ["command"]


def show(request: RunsRequest, done: Listed) -> None:
    """Print the runs, or their differences, unless they were written into a file."""
    if request.out:
        say(f"written into {request.out}")
    elif request.differences:
        show_table("where the runs differ, and their scores", done.rows)
    else:
        shown, alike = _short(done.rows)
        say(f"{count_of(len(done.rows), 'run')}{alike}; --out FILE.csv holds more of each")
        show_table("", shown)


def _short(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """What fits on a terminal, and in words what is the same in all rows."""
    from condyle.report.tables import duration

    parents = [Path(row["run"]).parent for row in rows]
    top = os.path.commonpath(parents) if len({p.is_absolute() for p in parents}) == 1 else ""
    columns = ("state", "dataset", "fold", "seed", "network", "epochs", "loss", "batch")
    table: list[dict[str, Any]] = []
    for row in rows:
        cases = [row[part] for part in ("train", "validation", "test")]
        seconds, dice = row["seconds"], row["dice"]
        shown = {"run": os.path.relpath(row["run"], top) if top else row["run"]}
        shown |= {key: "" if row[key] is None else row[key] for key in columns}
        shown["cases"] = "/".join(str(n) for n in cases) if None not in cases else ""
        shown["time"] = duration(seconds) if seconds is not None else ""
        table.append(shown | {"Dice": dice if dice is not None else ""})
    same = [key for key in columns if len({str(row[key]) for row in table}) == 1 < len(table)]
    alike = [f"{key} {table[0][key]}" for key in same if table[0][key] != ""]
    kept = [{key: value for key, value in row.items() if key not in same} for row in table]
    where = f" in {top}" if top else ""
    return kept, where + (f", all of {', '.join(alike)}" if alike else "")


command = command_of(RunsRequest, "condyle.workflows.runs:runs", show)
