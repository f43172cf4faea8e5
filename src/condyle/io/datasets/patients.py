"""Whose scan each case is, without names: patient_001, patient_002, ..."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from condyle.errors import ConfigError, DatasetError, MissingFile
from condyle.io.paths import case_of, ending_of, spelled
from condyle.io.texts import read_table
from condyle.jobs.job import warn
from condyle.jobs.tables import table_text

__all__ = ["numbered", "patients_beside", "patients_csv", "patients_given"]


def patients_given(how: str, cases: Sequence[str]) -> dict[str, str]:
    """Case -> patient, from a table (a .csv with the columns case and patient) or a pattern.

    A pattern is a regular expression that fits the whole case name; its first group is the
    patient.

    Raises
    ------
    MissingFile, ConfigError, DatasetError
        If the table is not there or lacks a column, the pattern is none, or a case gets no patient.

    Examples
    --------
    >>> patients_given("(.+)_(left|right)", ["p1_left", "p1_right"])
    {'p1_left': 'p1', 'p1_right': 'p1'}
    """
    return (_tabled if how.lower().endswith(".csv") else _matched)(how, cases)


def _tabled(table: str, cases: Sequence[str]) -> dict[str, str]:
    path = Path(table)
    if not path.is_file():
        raise MissingFile(f"the table of patients {path} is not there")
    found, strangers = _read(path, cases)
    missing = [case for case in cases if case not in found]
    if missing:
        no_scan = f" (its {', '.join(strangers[:5])} fits no scan)" if strangers else ""
        raise DatasetError(
            f"{path} has no patient for {', '.join(missing[:5])}{no_scan}: add a row each"
        )
    if strangers:
        warn(f"{path}: rows of no scan were ignored: {', '.join(strangers[:5])}")
    return {case: found[case] for case in cases}


def patients_beside(path: Path, cases: Sequence[str]) -> dict[str, str]:
    """Case -> patient, of the patients.csv of a data set; a case without a patient is left out.

    Raises
    ------
    DatasetError
        If a column is missing, or a row is of no case: then its patient could be on both sides
        of a split.
    """
    found, strangers = _read(path, cases)
    if strangers:
        raise DatasetError(
            f"{path} names what is no case of the data set: {', '.join(strangers[:5])}; correct "
            "or remove these rows"
        )
    missing = [case for case in cases if case not in found]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        warn(
            f"{path} names no patient for {', '.join(missing[:5])}{more}: each counts as a patient "
            "of its own"
        )
    return found


def _read(path: Path, cases: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Case -> patient of a table, and its rows that are of no case."""
    known, found, strangers = set(cases), dict[str, str](), list[str]()
    for row in read_table(path, ["case", "patient"]):
        case = _case_in(row["case"], known)
        if case not in known:
            strangers.append(row["case"])
        elif row["patient"] and found.setdefault(case, row["patient"]) != row["patient"]:
            raise DatasetError(f"{path} gives {case} two patients: keep one row of it")
    return found, strangers


def _case_in(cell: str, cases: Collection[str]) -> str:
    """The case that a table's cell is of: it may be a file's name, with its ending and channel."""
    name = spelled(cell)
    file = name.replace("\\", "/").rpartition("/")[2]
    for one in (name, file, file[: len(file) - len(ending_of(Path(file)))]):
        if case_of(one, cases) in cases:
            return case_of(one, cases)
    return name


def _matched(pattern: str, cases: Sequence[str]) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"`patients` {pattern!r} is neither a .csv table nor a regular expression ({error})"
        ) from error
    if not expression.groups:
        raise ConfigError(
            f"`patients` {pattern!r} has no group that is the patient: write '(.+)_(left|right)', "
            "or give a .csv table"
        )
    found: dict[str, str] = {}
    for case in cases:
        match = expression.fullmatch(case)
        if not match or not match[1]:
            raise DatasetError(f"`patients` {pattern!r} finds no patient in the case name {case}")
        found[case] = match[1]
    return found


def numbered(known: Mapping[str, str]) -> dict[str, str]:
    """Case -> patient_001, ... in order of first appearance; cases of '' are left out.

    Examples
    --------
    >>> numbered({"a": "Smith", "b": "", "c": "Jones", "d": "Smith"})
    {'a': 'patient_001', 'c': 'patient_002', 'd': 'patient_001'}
    """
    order = {name: n for n, name in enumerate(dict.fromkeys(filter(None, known.values())), 1)}
    return {case: f"patient_{order[name]:03d}" for case, name in known.items() if name}


def patients_csv(patients: Mapping[str, str]) -> str:
    """The text of patients.csv."""
    return table_text([{"case": case, "patient": whose} for case, whose in patients.items()])
