"""What the command line prints: progress on stderr, results on stdout."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from condyle.jobs.job import Progress, Warned, shown

__all__ = [
    "bars",
    "complain",
    "hushed",
    "say",
    "show_summary",
    "show_table",
]

ERRORS = Console(stderr=True, highlight=False)
RESULTS = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

COLUMNS = {
    "dice": "Dice",
    "volume_similarity": "VS",
    "hd95_mm": "HD95 mm",
    "assd_mm": "ASSD mm",
}
"""What the summary on the terminal shows; the files hold the rest."""


def complain(sentence: str) -> None:
    """Print why a command failed, on stderr."""
    print(f"condyle: {shown(sentence)}", file=sys.stderr)  # noqa: T201  not wrapped, for grep and logs


def say(text: str) -> None:
    """Print a result."""
    RESULTS.print(text, markup=False, soft_wrap=True)


@contextmanager
def hushed() -> Generator[None]:
    """Meanwhile results are not printed."""
    before = RESULTS.quiet
    RESULTS.quiet = True
    try:
        yield
    finally:
        RESULTS.quiet = before


Listeners = tuple[Callable[[Progress], None], Callable[[Warned], None]]


@contextmanager
def bars() -> Generator[Listeners]:
    """What shows a job's progress and warnings: a bar a stage, or plain lines off a terminal."""
    said: set[Warned] = set()

    def on_warning(warned: Warned) -> None:
        if warned not in said:
            said.add(warned)
            about = f"{warned.about}: " if warned.about not in warned.sentence else ""
            complain(f"warning: {about}{warned.sentence}")

    if not ERRORS.is_terminal:
        yield _plain(), on_warning
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=ERRORS) as drawn:
        tasks: dict[str, TaskID] = {}

        def on_progress(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = drawn.add_task(escape(progress.stage), total=1.0, words="")
            words = escape(shown(progress.words))
            drawn.update(tasks[progress.stage], completed=progress.part, words=words)

        yield on_progress, on_warning


def _plain() -> Callable[[Progress], None]:
    """Plain lines, at each tenth of a stage."""
    before: dict[str, int] = {}

    def on_progress(progress: Progress) -> None:
        tenth = int(progress.part * 10)
        if before.get(progress.stage) != tenth:
            before[progress.stage] = tenth
            complain(f"{progress.stage}: {progress.part:.0%} {progress.words}".rstrip())

    return on_progress


def show_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(title=Text(shown(title)), title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(Text(shown(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(_cell(row.get(column, "")))) for column in columns))
    RESULTS.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return str(value)


def show_summary(
    summary: Sequence[dict[str, Any]], where: Path, cases: str = "held-out cases"
) -> None:
    """Print mean ± standard deviation a structure over such cases, and where the rest is."""
    rows: list[dict[str, Any]] = []
    for row in summary:
        shown: dict[str, Any] = {"structure": row["structure"]}
        for metric, title in COLUMNS.items():
            mean, sd = row.get(f"{metric}_mean"), row.get(f"{metric}_sd")
            if mean is not None:
                shown[title] = f"{mean:.3f}" + (
                    "" if sd is None or math.isnan(sd) else f" ± {sd:.3f}"
                )
        error = row.get("volume_error_cm3_median")
        shown["median ΔV cm³"] = "" if error is None else f"{error:.3f}"
        shown["cases"] = row.get("n", "")
        shown["failed"] = row.get("n_failed", "")
        rows.append(shown)
    if rows:
        show_table(f"{cases}, mean ± standard deviation", rows)
        say("VS (volume similarity): 1 is best; below 1 too little was segmented, above too much")
    say(f"more in {where}")
