"""A request as fields of a form: what may be chosen, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from condyle.app.web.verbs import HERE, command_named, paths_in

__all__ = ["FormField", "fields_of"]

PICKS: dict[str, str] = {
    "run": "run", "also": "run", "specialist": "run", "choose": "run",
    "dataset": "dataset", "calibrate": "dataset",
    "labelmaps": "labels scan", "predictions": "labels", "labels": "labels dataset scan",
    "labelmap": "labels scan", "truth": "labels scan dataset",
}  # fmt: skip
"""Field -> the kinds of things that it takes; others take scans."""


@dataclass(frozen=True)
class FormField:
    """One field.

    Parameters
    ----------
    kind : 'pick' or 'picks' (of what the catalogue has), 'out', 'choice', 'flag', 'number', 'text'.
    choices : values of a 'choice'; kinds of things for 'pick' and 'picks'.
    """

    name: str
    kind: Literal["pick", "picks", "out", "choice", "flag", "number", "text"]
    help: str
    required: bool = False
    default: Any = ""
    choices: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Its name in words."""
        return self.name.replace("_", " ")


def fields_of(verb: str, defaults: Mapping[str, Any] | None = None) -> dict[str, FormField]:
    """Name -> field, of all that the page can set of a verb.

    Parameters
    ----------
    defaults : other defaults than the shell's.
    """
    request = command_named(verb).request
    paths = paths_in(request)
    found: dict[str, FormField] = {}
    for name, field in request.model_fields.items():
        if name in (*request.NO_FLAG, *HERE, "resume"):
            continue
        words = " ".join((field.description or "").split()).replace("`", "")
        kind, choices = _kind(name, field, paths, request.OUTPUTS)
        plain = field.default not in (None, PydanticUndefined, ())
        default = (defaults or {}).get(name, field.default if plain else "")
        found[name] = FormField(name, kind, words, field.is_required(), default, choices)
    return found


def _kind(
    name: str, field: FieldInfo, paths: Mapping[str, bool], outputs: tuple[str, ...]
) -> tuple[Any, tuple[str, ...]]:
    if name in outputs:
        return "out", ()
    if name in paths:
        return "picks" if paths[name] else "pick", tuple(PICKS.get(name, "scan").split())
    kinds = _types(field.annotation)
    literals = [kind for kind in kinds if getattr(kind, "__origin__", None) is Literal]
    if literals and not any(getattr(k, "__origin__", None) is tuple for k in kinds):
        return "choice", tuple(str(v) for kind in literals for v in get_args(kind))
    if bool in kinds:
        return "flag", ()
    if kinds & {int, float} and str not in kinds and tuple not in {
        getattr(k, "__origin__", None) for k in kinds
    }:  # fmt: skip
        return "number", ()
    return "text", ()


def _types(kind: Any) -> set[Any]:
    """A type and those within it, but for None."""
    parts: set[Any] = {kind}
    if getattr(kind, "__origin__", None) is not Literal:
        for part in get_args(kind):
            if part not in (Ellipsis, NoneType):
                parts |= _types(part)
    return parts
