"""What the command line prints: progress on stderr, results on stdout."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from condyle.config.request import BatchRequest
from condyle.jobs.job import Progress, Warned, shown

__all__ = [
    "bars",
    "complain",
    "hushed",
    "is_read_by_people",
    "replace_missing_letters",
    "say",
    "say_json",
    "show_summary",
    "show_table",
    "written",
]


class _Output(Console):
    """Where text goes that is shown as it is. It may lack letters, or be closed by its reader."""

    def on_broken_pipe(self) -> None:
        """Nobody reads any more (`condyle runs . | head`): the work goes on, unheard."""
        self.quiet = True
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)

    def put(self, text: str) -> None:
        """Print a line, however long, in which nothing is taken for markup."""
        self.print(Text(text), soft_wrap=True)


ERRORS = _Output(stderr=True, highlight=False)
RESULTS = _Output(highlight=False)


def replace_missing_letters() -> None:
    """From now on, a letter that the console does not have is shown as '?'."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


COLUMNS = {
    "dice": "Dice",
    "volume_similarity": "VS",
    "hd95_mm": "HD95 mm",
    "assd_mm": "ASSD mm",
    "hd95_px": "HD95 px",
    "assd_px": "ASSD px",
}
"""What the summary on the terminal shows; the files hold the rest."""


def complain(sentence: str) -> None:
    """Print why a command failed, on stderr, in one line: for grep and logs."""
    ERRORS.put(f"condyle: {shown(sentence)}")


def say(*lines: str) -> None:
    """Print results, a line each."""
    for line in lines:
        RESULTS.put(shown(line))


def written(request: BatchRequest, done: str = "written") -> str:
    """How a count of results goes on: with --resume, some were there before."""
    return "in" if request.resume else f"{done} into"


def say_json(text: str) -> None:
    """Print JSON."""
    RESULTS.put(text)


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
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=ERRORS) as drawn:
        tasks: dict[str, TaskID] = {}

        def on_progress(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = drawn.add_task(shown(progress.stage), total=1.0, words="")
            words = shown(progress.words)
            drawn.update(tasks[progress.stage], completed=progress.part, words=words)

        yield on_progress, on_warning


def _plain() -> Callable[[Progress], None]:
    """Plain lines, at each tenth of a stage."""
    before: dict[str, tuple[int, str]] = {}

    def on_progress(progress: Progress) -> None:
        tenth = int(progress.part * 10)
        now = tenth, progress.words if tenth == 10 else ""
        if before.get(progress.stage) != now:
            before[progress.stage] = now
            complain(f"{progress.stage}: {progress.part:.0%} {progress.words}".rstrip())

    return on_progress


def is_read_by_people() -> bool:
    """Whether results go to a terminal, and not into a file or another program."""
    return RESULTS.is_terminal


def show_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table: names are never broken; off a terminal, a row is one line."""
    table = Table(title=Text(shown(title)), title_justify="left")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for number, column in enumerate(columns):
        cells = [shown(column), *(shown(_cell(row.get(column, ""))) for row in rows)]
        table.add_column(
            Text(shown(column)), overflow="fold", min_width=_least_width(cells, number == 0)
        )
    for row in rows:
        table.add_row(*(Text(shown(_cell(row.get(column, "")))) for column in columns))
    RESULTS.print(table, crop=False)


LONGEST_WORD = 40
"""Longer words of a sentence, such as paths, may be broken on a terminal."""


def _least_width(cells: Sequence[str], are_names: bool) -> int:
    """Columns of the terminal that these cells take at least."""
    if are_names or not RESULTS.is_terminal:
        return max(map(cell_len, cells), default=0)
    words = [cell_len(word) for cell in cells for word in cell.split()]
    return min(max(words, default=0), LONGEST_WORD)


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
        for metric, title in (("volume_error_cm3", "ΔV cm³"), ("area_error_px", "ΔA px")):
            if f"{metric}_median" in row:
                shown[f"median {title}"] = _cell(float(row[f"{metric}_median"]))
        shown["cases"] = row.get("n", "")
        shown["failed"] = row.get("n_failed", "")
        rows.append(shown)
    if rows:
        show_table(f"{cases}, mean ± standard deviation", rows)
        say("VS (volume similarity): 1 is best; below 1 too little was segmented, above too much")
    say(f"more in {where}")
