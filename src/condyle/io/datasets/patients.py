"""Whose scan each case is, without names: patient_001, patient_002, ..."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from condyle.errors import ConfigError, DatasetError, MissingFile
from condyle.io.datasets.layouts import read_patients
from condyle.jobs.tables import table_text

__all__ = ["numbered", "patients_csv", "patients_given"]


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
    found = read_patients(path)
    missing = [case for case in cases if case not in found]
    if missing:
        raise DatasetError(f"{path} has no patient for {', '.join(missing[:5])}: add a row each")
    return {case: found[case] for case in cases}


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
