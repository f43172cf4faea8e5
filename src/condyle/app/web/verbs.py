"""What the page can do: the requests of the shell, with ids where they have paths."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from condyle.app.cli.command import Command, command_in
from condyle.app.cli.main import VERBS, file_of
from condyle.app.web.places import Places
from condyle.config.requests import Request
from condyle.errors import ConfigError, UnknownName

__all__ = ["ID", "KINDS", "NAMES", "command_named", "paths_in", "request_of"]

ID = "id:"
"""A value that begins so is the id of a file or folder."""

KINDS = {"train": "runs", "demo": "runs", "compare": "comparisons", "import": "datasets"}
"""Verb -> the folder of the workspace for its results; the others' go to results."""

NAMES = tuple(name for verbs in VERBS.values() for name in verbs)

HERE = {"on": "local:1", "device": "auto"}
"""Settings that the page does not offer, and what they are."""


def command_named(verb: str) -> Command:
    """The command of a verb.

    Raises
    ------
    UnknownName
        If there is none.
    """
    if verb not in NAMES:
        raise UnknownName("verb", verb, NAMES)
    return command_in(import_module(f"condyle.app.cli.{file_of(verb)}").command)


def paths_in(request: type[Request]) -> dict[str, bool]:
    """The fields of a request that are paths to read -> whether there may be several."""
    found: dict[str, bool] = {}
    for name, field in request.model_fields.items():
        kinds = {field.annotation, *_inside(field.annotation)}
        if Path in kinds and name not in request.OUTPUTS:
            found[name] = any(getattr(kind, "__origin__", None) is tuple for kind in kinds)
    return found


def _inside(kind: Any) -> set[Any]:
    """The types within a type."""
    parts = {part for part in get_args(kind) if part is not Ellipsis}
    return parts.union(*map(_inside, parts))


def request_of(verb: str, given: Mapping[str, Any], places: Places) -> Request:
    """The request that a form's fields make: ids become paths, `out` a folder of the workspace.

    Raises
    ------
    ConfigError, UnknownName, MissingFile
        If a field is unknown or wrong, or names a file by anything but an id.
    """
    kind = command_named(verb).request
    paths = paths_in(kind)
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if name not in kind.model_fields or name in (*kind.NO_FLAG, *HERE):
            raise ConfigError(f"condyle {verb} has no setting {name!r} here", setting=name)
        if value in (None, "", []):
            continue
        if name in kind.OUTPUTS:
            fields[name] = _output(verb, name, str(value), places)
        elif name in paths:
            values = value if isinstance(value, list) else [value]
            read = [_read(each, name, places) for each in values]  # pyright: ignore[reportUnknownVariableType]
            fields[name] = read if paths[name] else read[0]
        else:
            fields[name] = _plain(value, name, places)
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise kind.complaint(error) from error


def _output(verb: str, name: str, value: str, places: Places) -> Path:
    if value.startswith(ID):  # what is there already: a training that goes on
        return _read(value, name, places)
    folder = places.new_folder(KINDS.get(verb, "results"), value)
    return folder / "features.csv" if verb == "features" else folder


def _read(value: Any, name: str, places: Places) -> Path:
    if not isinstance(value, str) or not value.startswith(ID):
        raise ConfigError(
            f"`{name}` takes what was chosen on the page, not {value!r}", setting=name
        )
    return places.path_of(value.removeprefix(ID))


def _plain(value: Any, name: str, places: Places) -> Any:
    """A value that is no path: text that could name a file is refused."""
    if isinstance(value, list):
        return [_plain(each, name, places) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str) and value.startswith(ID):
        return str(places.path_of(value.removeprefix(ID)))
    if isinstance(value, str) and ({"/", os.sep} & set(value) or Path(value).suffix in FILES):
        if name in ("split",):  # 24/8/8
            return value
        raise ConfigError(f"`{name}` takes no path here: choose a file on the page", setting=name)
    return value


FILES = (".csv", ".json", ".toml", ".txt", ".zip", ".pth", ".pt", ".ckpt", ".safetensors", ".xlsx")
