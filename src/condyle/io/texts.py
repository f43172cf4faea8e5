"""Texts that people and their programs write: tables, lists and JSON, in any common encoding."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from condyle.core.case import repeated
from condyle.errors import DatasetError, UnreadableFile
from condyle.jobs.tables import text_of_cell

__all__ = ["read_json", "read_lines", "read_table", "read_text"]

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may part the columns of a table, and its name."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""What a text may begin with -> its encoding."""


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, in UTF-16, or, where it can be neither, in Windows-1252.

    Raises
    ------
    UnreadableFile
        If the file cannot be opened, or holds no text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror})") from error
    marked = [encoding for mark, encoding in MARKS if data.startswith(mark)]
    encodings = (*marked, *_wide(data), "utf-8", "cp1252", "latin-1")
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeError:
            continue
        if "\0" not in text:
            return text
    raise UnreadableFile(f"{path} is not a text")


def _wide(data: bytes) -> tuple[str, ...]:
    """UTF-16 without its mark: every other byte of plain letters is 0."""
    start = data[:1000]
    if len(data) % 2 or 0 not in start:
        return ()
    return ("utf-16-le",) if start[1::2].count(0) > start[::2].count(0) else ("utf-16-be",)


def read_lines(path: Path) -> list[str]:
    """The lines of a list that hold anything, without space and quotes around them."""
    lines = (line.strip().strip('"').strip() for line in re.split(r"\r\n|\r|\n", read_text(path)))
    return [line for line in lines if line]


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises
    ------
    UnreadableFile, ValueError
        If the file is not a text, or not JSON.
    """
    return json.loads(read_text(path))


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    r"""The rows of a table, as its columns' names in lower case -> trimmed text; no empty rows.

    Columns are parted by commas, semicolons, tabs or bars, whichever gives those that are needed.
    An apostrophe that keeps a spreadsheet from computing a text is no part of it.

    Raises
    ------
    UnreadableFile, DatasetError
        If it is not a text, a column is missing or there twice, or a row has more fields than the
        header.

    Examples
    --------
    >>> import tempfile
    >>> from condyle.jobs.outputs import write_text
    >>> table = Path(tempfile.mkdtemp()) / "patients.csv"
    >>> read_table(write_text(table, "Case ; Patient\na;Ann\n"), ["case", "patient"])
    [{'case': 'a', 'patient': 'Ann'}]
    """
    text = read_text(path).lstrip("\r\n")
    said = re.match(r'"?sep=(.)"?\s*[\r\n]+', text)  # Excel's own way to name the delimiter
    text = text[said.end() :] if said else text
    tries = [_rows(text, mark) for mark in ([said[1]] if said else DELIMITERS)]
    rows = max(tries, key=lambda rows: len(set(columns) & set(_header(rows))))
    header = _header(rows)
    if missing := [name for name in columns if name not in header]:
        shown = ", ".join(repr(name) for name in header if name) or "empty"
        raise DatasetError(
            f"{path} needs the columns {' and '.join(columns)}: there is no "
            f"{' and no '.join(missing)}, its first line is {shown}, and columns may be parted by "
            f"{', '.join(DELIMITERS.values())}"
        )
    if twice := [name for name in repeated(header) if name in columns]:
        raise DatasetError(f"{path} has more than one column {twice[0]}")
    found: list[dict[str, str]] = []
    for number, row in enumerate(rows[1:], 2):
        fields = [text_of_cell(cell.strip()) for cell in row]
        if any(fields[len(header) :]):
            raise DatasetError(
                f"{path}: row {number} has {len(fields)} fields, the header {len(header)}: put "
                "what holds a delimiter in quotes"
            )
        if any(fields):
            fields += [""] * (len(header) - len(fields))
            found.append(dict(zip(header, fields, strict=False)))
    return found


def _rows(text: str, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _header(rows: Sequence[Sequence[str]]) -> list[str]:
    return [name.strip().casefold() for name in rows[0]] if rows else []
