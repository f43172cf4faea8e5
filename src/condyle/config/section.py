"""Groups of settings: frozen, validated, and read from TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from condyle.errors import ConfigError, MissingFile, UnreadableFile

__all__ = [
    "Section",
    "first_complaint",
    "flattened",
    "json_of",
    "merged",
    "parsed",
    "read_json",
    "read_toml",
    "seconds",
]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def changed(self, **settings: Any) -> Self:
        """The same settings but for those given; each is validated.

        What was not given before, and is not now, stays so (`model_fields_set`).
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate({**given, **settings})


Model = TypeVar("Model", bound=BaseModel)


def read_json(path: Path, model: type[Model]) -> Model:
    """What a JSON file of ours holds, checked.

    Raises
    ------
    MissingFile, UnreadableFile
        If it is not there; if it is damaged, or holds something else.
    """
    return parsed(json_of(path), model, path)


def json_of(path: Path) -> Any:
    """The values in a JSON file; errors as of `read_json`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingFile(f"{path} is not there") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFile(f"{path} cannot be read as JSON ({error})") from error


def parsed(tree: Any, model: type[Model], path: Path) -> Model:
    """The model of JSON values that were in a file; `UnreadableFile` if they are not of it."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise UnreadableFile(f"{path} is damaged: {first_complaint(error, model)}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableFile(f"{path} is damaged ({error})") from error


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise MissingFile(f"{path} is not there: give the path of a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read as TOML ({error.strerror})") from error


def merged(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with changes to some; neither is altered.

    A budget takes the place of epochs, and epochs that of a budget.

    Examples
    --------
    >>> merged({"training": {"epochs": 5, "rate": 0.1}}, {"training": {"budget": "5m"}})
    {'training': {'rate': 0.1, 'budget': '5m'}}
    """
    spans = {"budget", "epochs"}
    if "training" in settings and spans & changes.get("training", {}).keys():
        kept = {k: v for k, v in settings["training"].items() if k not in spans}
        settings = {**settings, "training": kept}
    return _deeply(settings, changes)


def _deeply(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    found = dict(settings)
    for key, value in changes.items():
        old: Any = found.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        found[key] = _deeply(cast(dict[str, Any], old), value) if both else value
    return found


def seconds(value: object) -> float:
    """A duration in seconds: a number, or text like '90s', '15 min', '1.5h', '1h30m'.

    Examples
    --------
    >>> seconds("15m"), seconds("2 min"), seconds("1h30m")
    (900.0, 120.0, 5400.0)
    """
    text = str(value).strip().lower()
    if re.fullmatch(r"\d+\.?\d*|\.\d+", text):
        return float(text)
    if not re.fullmatch(rf"(?:{SPAN}\s*)+", text):
        raise ValueError(f"{value!r} is not a duration: write 90s, 15m, 2h or 1h30m")
    return sum(float(number) * UNITS[unit[0]] for number, unit in re.findall(SPAN, text))


UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SPAN = (
    r"(\d+\.?\d*|\.\d+)\s*"
    r"(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
)
"""A number and a unit of time."""


def first_complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of pydantic as '[section] key: what it wants'."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = list(_settings_of(model))
        elsewhere = [name for name in known if name.split(".")[-1] == problem["loc"][-1]]
        close = (elsewhere or get_close_matches(where, known, n=1))[:1]
        return f"there is no setting {where!r}" + "".join(f": did you mean {n!r}?" for n in close)
    return f"{where} = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"


def _settings_of(model: type[BaseModel]) -> Iterator[str]:
    """All names that a setting of the model may have, with those of their sections."""
    for name, field in model.model_fields.items():
        yield name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from (f"{name}.{inner}" for inner in _settings_of(kind))


def flattened(tree: Mapping[str, Any], between: str = ".", before: str = "") -> dict[str, Any]:
    """Nested names and values as one table, with something between names.

    Examples
    --------
    >>> flattened({"fold": 0, "training": {"rate": 0.1, "loss": "dice"}})
    {'fold': 0, 'training.rate': 0.1, 'training.loss': 'dice'}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            inner: Mapping[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
            flat |= flattened(inner, between, f"{before}{name}{between}")
        else:
            flat[f"{before}{name}"] = value
    return flat
