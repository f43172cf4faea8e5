"""What masks and segments are called, and what they are to be called: `rename`, and names.csv."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from condyle.core.relabel import listed
from condyle.errors import ConfigError, MissingFile
from condyle.io.paths import spelled
from condyle.io.texts import read_table
from condyle.jobs.tables import table_text

__all__ = ["NAMES", "names_csv", "renaming", "require_met"]

NAMES = "names.csv"
"""The table, in the data set, of the names that an import met."""


def renaming(given: Sequence[str]) -> dict[str, str]:
    """Name -> structure, of NAME=STRUCTURE and of tables with the columns name and structure.

    An empty structure leaves out what has this name.

    Raises
    ------
    ConfigError, MissingFile, DatasetError
        If one is neither, a table is not there or lacks a column, or a name is given twice.

    Examples
    --------
    >>> renaming(["Femur links=femur_left", "L5="])
    {'Femur links': 'femur_left', 'L5': ''}
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, structure = one.rpartition("=")
        if equals:
            rows = [(name, structure)]
        elif one.lower().endswith((".csv", ".tsv", ".txt")):
            if not Path(one).is_file():
                raise MissingFile(f"the table of names {one} is not there")
            table = read_table(Path(one), ["name", "structure"])
            rows = [(row["name"], row["structure"]) for row in table]
        else:
            raise ConfigError(
                f"`rename` {one!r} is neither NAME=STRUCTURE nor a .csv table with the columns "
                "name and structure"
            )
        for name, structure in rows:
            key, value = spelled(name.strip()), spelled(structure.strip())
            if not key:
                raise ConfigError(f"`rename` {one!r} says no name before '='")
            if found.setdefault(key, value) != value:
                raise ConfigError(f"`rename` calls {key} both {found[key]!r} and {value!r}")
    return found


def require_met(given: Sequence[str], met: Collection[str]) -> None:
    """Raise `ConfigError` if NAME=STRUCTURE has a name that nothing has; tables may have more."""
    asked = [spelled(one.rpartition("=")[0].strip()) for one in given if "=" in one]
    lost = [name for name in asked if name not in {*met, *(f"label_{n}" for n in met)}]
    if lost:
        raise ConfigError(
            f"`rename`: no mask is called {listed(lost)}; those given are called "
            f"{', '.join(sorted(met))}"
        )


def names_csv(met: Mapping[str, str]) -> str:
    """The text of names.csv, which `rename` reads: what is called so -> its structure."""
    return table_text([{"name": name, "structure": met[name]} for name in sorted(met)])
