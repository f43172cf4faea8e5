"""Tables as comma-separated text: no cell that a spreadsheet would compute, and the way back."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["cell", "table_text", "text_of_cell"]

FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
"""The beginning of a text that a spreadsheet computes, or of one that was kept from that."""
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
FIGURES = re.compile(
    rf"(?:{NUMBER}|[-+]?(?:inf|nan))(?: (?:±|to) {NUMBER})?(?: \({NUMBER} to {NUMBER}\))?"
)
"""Numbers as tables show them: -3.2, -0.31 ± 0.05, -0.3 (-0.5 to 0.1)."""


def cell(value: Any) -> Any:
    """A value as tables hold it: a text that a spreadsheet would compute gets an apostrophe.

    Examples
    --------
    >>> cell("=HYPERLINK(1)"), cell("-3.2"), cell(-3.2), cell("femur")
    ("'=HYPERLINK(1)", '-3.2', -3.2, 'femur')
    """
    computed = isinstance(value, str) and FORMULA.match(value) and not FIGURES.fullmatch(value)
    return f"'{value}" if computed else value


def text_of_cell(text: str) -> str:
    """The text that `cell` has made a cell of.

    Examples
    --------
    >>> text_of_cell("'=HYPERLINK(1)"), text_of_cell("-3.2")
    ('=HYPERLINK(1)', '-3.2')
    """
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Comma-separated text with a line of headings: a column for every key that any row has.

    Texts that a spreadsheet would take for a formula get an apostrophe before them.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return "".join(_line([cell(value) for value in line]) for line in (
        columns, *([row.get(column) for column in columns] for row in rows)
    ))  # fmt: skip


def _line(cells: Sequence[Any]) -> str:
    """A line of a table, with Unix's end; a cell with any line end in it is quoted."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"
