"""What the numbers of a label map stand for: the names in its file, or beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from condyle.core import LabelScheme
from condyle.errors import CondyleError, ConfigError, DatasetError, UnreadableFile
from condyle.io.texts import read_json

__all__ = ["NAMES", "json_tree", "names_beside", "scheme_of_table"]

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
                labels = json_tree(file, dict).get("labels")
                if isinstance(labels, list):  # of a segmenter
                    labels = {row["name"]: row["id"] for row in cast(list[Any], labels)}
                return scheme_of_table(file, labels)
            except (DatasetError, KeyError, TypeError):
                continue  # regions of nnU-Net, or a file of something else
    return None


def scheme_of_table(path: Path, labels: object) -> LabelScheme:
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
        return LabelScheme.of({name: int(number) for name, number in table})
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
