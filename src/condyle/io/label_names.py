"""What the numbers of a label map stand for: the names in its file, or beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from condyle.core import LabelScheme
from condyle.core.labels import SCHEMES, default_colour
from condyle.errors import (
    CondyleError,
    ConfigError,
    DatasetError,
    MissingFile,
    UnknownName,
    UnreadableFile,
)
from condyle.io.texts import read_json

__all__ = [
    "NAMES",
    "colours_in",
    "colours_told",
    "json_tree",
    "names_beside",
    "scheme_named",
    "scheme_of_table",
]

NAMES = "labels.json"
"""The file of a folder of label maps that says what their numbers stand for: {"name": number}."""


def names_beside(path: Path) -> LabelScheme | None:
    """The names that lie beside a label map's file; None where there are none.

    They are in labels.json, in the dataset.json that nnU-Net writes into a folder of predictions,
    or in that of the data set, or in the segmenter of the run, whose folder this is.

    Raises
    ------
    ConfigError
        If labels.json is no table of names.
    """
    folder = Path(path).parent
    if (folder / NAMES).is_file():
        try:
            return LabelScheme.of(read_json(folder / NAMES))
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f'{folder / NAMES} is not a table of names: write {{"femur": 1}}'
            ) from error
    files = [folder / "dataset.json", folder.parent / "segmenter" / "segmenter.json"]
    if folder.name.startswith("labels"):
        files.append(folder.parent / "dataset.json")
    for file in files:
        if file.is_file():
            try:
                tree = json_tree(file, dict)
                labels, colours = tree.get("labels"), tree.get("colours")
                if isinstance(labels, list):  # of a segmenter
                    labels = {row["name"]: row["id"] for row in cast(list[Any], labels)}
                return scheme_of_table(file, labels, colours)
            except (DatasetError, KeyError, TypeError):
                continue  # regions of nnU-Net, or a file of something else
    return None


def scheme_named(name: str) -> LabelScheme | None:
    """A built-in scheme, one from a JSON file, or None for ''.

    The file has a number for each name, {"tibia": 1}, or its number and colour,
    {"tibia": {"number": 1, "colour": "#00ff00"}}.

    Raises
    ------
    UnknownName, MissingFile, ConfigError
        If there is no such scheme or file, or the file holds something else.
    """
    if not name:
        return None
    if name in SCHEMES:
        return SCHEMES[name]
    if not Path(name).suffix:
        raise UnknownName("scheme", name, [*SCHEMES, "or a JSON file"])
    if not Path(name).exists():
        raise MissingFile(f"the scheme {name} is not there")
    try:
        table = dict[str, Any](read_json(Path(name)))
        rows = {key: cast(dict[str, Any], row) for key, row in table.items() if type(row) is dict}
        if strange := sorted({key for row in rows.values() for key in row} - {"number", "colour"}):
            raise ValueError(f"{strange[0]} is neither number nor colour")
        numbers = {key: rows[key]["number"] if key in rows else row for key, row in table.items()}
        colours = {key: row["colour"] for key, row in rows.items() if "colour" in row}
        return LabelScheme.of(numbers, colours_in(colours))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        reason = f" ({error})" if str(error) else ""
        raise ConfigError(
            f'{name} is no scheme{reason}: write {{"tibia": 1, "femur": 2}}, or with colours '
            '{"tibia": {"number": 1, "colour": "#00ff00"}}', setting="scheme",
        ) from error  # fmt: skip


def colours_in(table: Mapping[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Name -> red, green and blue (0 to 255), of texts such as #00ff00.

    Raises
    ------
    ValueError
        If a text is no such colour.
    """
    found: dict[str, tuple[int, int, int]] = {}
    for name, text in table.items():
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", str(text)):
            raise ValueError(f"the colour {text!r} of {name} is not one such as '#00ff00'")
        red, green, blue = bytes.fromhex(str(text)[1:])
        found[name] = (red, green, blue)
    return found


def colours_told(scheme: LabelScheme) -> dict[str, str]:
    """Name -> #rrggbb, of the structures that have another colour than their number's own."""
    return {
        label.name: "#" + bytes(label.colour).hex()
        for label in scheme.labels
        if label.colour != default_colour(label.id)
    }


def scheme_of_table(
    path: Path, labels: object, colours: Mapping[str, Any] | None = None
) -> LabelScheme:
    """The scheme of a table name -> number, or (nnU-Net v1, Decathlon) number -> name.

    Raises
    ------
    DatasetError
        If it is not such a table; the path is that of its file.
    """
    try:
        table = cast(dict[str, Any], labels).items()
        regions = [str(name) for name, number in table if isinstance(number, list)]
        if regions:
            raise DatasetError(
                f"{path}: {regions[0]} is a region of several labels, and Condyle trains on labels "
                "alone: give each structure a number of its own"
            )
        if all(str(key).isdigit() for key, _ in table):
            return LabelScheme.of({str(name): int(number) for number, name in table})
        return LabelScheme.of(
            {name: int(number) for name, number in table}, colours_in(colours or {})
        )
    except DatasetError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        reason = f" ({error})" if isinstance(error, CondyleError) else ""
        raise DatasetError(
            f'{path}: its labels are not a table like {{"background": 0, "femur": 1}}{reason}'
        ) from error


def json_tree(path: Path, kind: type) -> Any:
    """What a JSON file holds, which must be of this kind.

    Raises
    ------
    DatasetError
        If it is not.
    """
    try:
        found = read_json(path)
    except (ValueError, UnreadableFile) as error:
        raise DatasetError(f"{path} is not a JSON file ({error})") from error
    if not isinstance(found, kind):
        raise DatasetError(f"{path} holds no {kind.__name__}")
    return found
