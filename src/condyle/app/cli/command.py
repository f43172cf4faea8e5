"""A request becomes a command: its fields are the flags, and what it names is run and shown."""

from __future__ import annotations

import inspect
import json as json_text
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import reduce
from importlib import import_module
from operator import or_
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from condyle.app.cli.terminal import bars, complain, hushed, say_json
from condyle.config.experiment import Experiment
from condyle.config.request import BatchRequest
from condyle.config.requests import Request, TrainRequest
from condyle.errors import Cancelled, CondyleError, ConfigError
from condyle.jobs.job import Job, Progress
from condyle.runs.folds import FILE as FOLDS

__all__ = ["Command", "as_flags", "command_in", "command_of", "flags_of", "plain"]

JSON = Annotated[
    bool,
    Parameter(
        negative=(),
        show_default=False,
        help="Print the result as JSON on stdout, and nothing else there.",
    ),
]


@dataclass(frozen=True)
class Command:
    """What a command does.

    Parameters
    ----------
    request : the type of its request.
    work : 'module:function' of what does it.
    show : prints what came out; gives the exit code, if that is not 0.
    prepare : changes the request before it is done.
    """

    request: type[Request]
    work: str
    show: Callable[[Any, Any], int | None]
    prepare: Callable[[Any], Any]

    def do(self, request: Request, job: Job) -> Any:
        """The result of the work on a request that was prepared."""
        from condyle.workflows.preflight import preflight

        module, _, name = self.work.partition(":")
        preflight(request)
        return getattr(import_module(module), name)(request, job)


def command_in(function: Callable[..., int]) -> Command:
    """What the function of a command does."""
    return function.command  # type: ignore[attr-defined]


def command_of(
    request: type[Request],
    work: str,
    show: Callable[[Any, Any], int | None],
    prepare: Callable[[Any], Any] = lambda request: request,
) -> Callable[..., int]:
    """The function of a command, whose parameters are the fields of a request.

    Parameters
    ----------
    work : 'module:function' of what does it, imported when the command is run.
    show : prints what came out, for people; gives the exit code, if that is not 0.
    prepare : changes the request before it is done.
    """

    def run(*args: Any, **given: Any) -> int:
        bound = signature.bind(*args, **given)
        asked = {k: v for k, v in bound.arguments.items() if v is not None}
        json = bool(asked.pop("json", False))
        try:
            made = prepare(request.model_validate(asked))
        except ValidationError as error:
            raise ConfigError(as_flags(str(request.complaint(error)), names)) from error
        seen = _Seen()
        try:
            with bars() as (on_progress, on_warning):
                job = Job(
                    on_progress=seen.through(on_progress),
                    on_news=lambda sentence: complain(as_flags(sentence, names)),
                    on_warning=lambda w: on_warning(
                        replace(w, sentence=as_flags(w.sentence, names))
                    ),
                )
                done = command.do(made, job)
        except KeyboardInterrupt as error:
            raise Cancelled(seen.stopped(made)) from error
        except CondyleError as error:
            error.args = (as_flags(str(error), names),)
            raise
        if not json:
            return show(made, done) or 0
        with hushed():  # what `show` prints is for people: only its exit code counts
            code = show(made, done) or 0
        say_json(json_text.dumps(plain(done), allow_nan=False))
        return code

    names = flags_of(request)
    command = Command(request, work, show, prepare)

    signature = _signature(request)
    run.command = command  # type: ignore[attr-defined]
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    run.__doc__ = request.__doc__
    run.__name__ = run.__qualname__ = work.rpartition(":")[2]
    return run


@dataclass
class _Seen:
    """How far a job was, for the sentence of Ctrl-C."""

    last: Progress | None = None

    def through(self, listener: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """A listener that also keeps what it hears."""

        def hear(progress: Progress) -> None:
            self.last = progress
            listener(progress)

        return hear

    def stopped(self, request: Request) -> str:
        """Where the work was stopped, and how to go on."""
        last = self.last
        if last is None:
            where = "stopped before anything was done"
        elif last.place:
            where = f"stopped in {last.place}"
        elif isinstance(request, BatchRequest) and last.total > 1:
            where = f"stopped with {int(last.done)} of {last.total:.0f} done"
        else:
            where = f"stopped while {last.stage}"
        return f"{where}{_way_on(request)}"


def _way_on(request: Request) -> str:
    """How to go on with a verb that was stopped; '' where it can only be started again."""
    if isinstance(request, TrainRequest):
        begun = any((request.out / name).is_file() for name in (Experiment.FILE, FOLDS))
        data = "" if begun or request.dataset is None else f"{quote(str(request.dataset))} "
        return f"; go on: condyle train {data}--out {quote(str(request.out))} --resume"
    if "resume" in request.NO_FLAG:
        return "; go on with the same command: what is finished is not done again"
    return "; go on with the same command and --resume" if hasattr(request, "resume") else ""


def _signature(request: type[Request]) -> inspect.Signature:
    parameters: list[inspect.Parameter] = []
    ordered = [
        *request.POSITIONAL,
        *(n for n in request.model_fields if n not in request.POSITIONAL),
    ]
    for name in ordered:
        field = request.model_fields[name]
        if name in request.NO_FLAG:
            continue
        positional = name in request.POSITIONAL
        kind = inspect.Parameter
        if field.is_required():
            default: Any = kind.empty
        else:
            default = None if field.default is PydanticUndefined else field.default
        flag = Parameter(
            help=" ".join((field.description or "").split()),
            consume_multiple=True, negative=() if name not in NEGATIVE else None,
            show_default=bool(default) and default is not None,
        )  # fmt: skip
        parameters.append(
            kind(
                name,
                kind.POSITIONAL_OR_KEYWORD if positional else kind.KEYWORD_ONLY,
                default=default,
                annotation=Annotated[_listed(field.annotation), flag],
            )
        )
    parameters.append(
        inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JSON)
    )
    return inspect.Signature(parameters)


NEGATIVE = ("smooth",)
"""Flags that are on by themselves, and have a --no- form."""


def _listed(kind: Any) -> Any:
    """A type as the command line has it: tuples of any length are lists."""
    origin: Any = getattr(kind, "__origin__", None)
    inside: tuple[Any, ...] = getattr(kind, "__args__", ())
    if origin is tuple and inside[-1] is Ellipsis:
        return list[inside[0]]
    if inside and type(None) in inside:
        others = [_listed(each) for each in inside if each is not type(None)]
        return reduce(or_, others) | None
    return kind


def flags_of(request: type[Request]) -> dict[str, str]:
    """A setting's name, as sentences have it -> the flag that sets it."""
    flags = {name: f"--{name.replace('_', '-')}" for name in request.model_fields}
    flags |= {name: name.upper() for name in request.POSITIONAL}
    short: Mapping[str, str] = getattr(request, "SHORT", {})
    return flags | {setting: flags[name] for name, setting in short.items()}


def as_flags(sentence: str, flags: Mapping[str, str]) -> str:
    """A sentence in which settings between backticks are written as the flags of a command.

    Examples
    --------
    >>> as_flags("give `near_slice` or `training.patch`", {"near_slice": "--near-slice"})
    'give --near-slice or training.patch'
    """
    return re.sub(r"`([\w.]+)`", lambda match: flags.get(match[1], match[1]), sentence)


def plain(thing: Any) -> Any:
    """A result as JSON values: networks and arrays are left out; NaN becomes null."""
    if isinstance(thing, BaseModel):
        return plain(thing.model_dump(mode="json"))
    if is_dataclass(thing):
        return plain({each.name: getattr(thing, each.name) for each in fields(thing)})
    if isinstance(thing, Mapping):
        return {str(k): plain(v) for k, v in thing.items() if _is_data(v)}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(thing, list | tuple | set | frozenset):
        return [plain(value) for value in thing if _is_data(value)]  # pyright: ignore[reportUnknownVariableType]
    value = thing.item() if isinstance(thing, np.generic) else thing
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def _is_data(value: Any) -> bool:
    """Whether a value can be written as JSON."""
    return isinstance(value, KINDS) or is_dataclass(value)


KINDS = (
    str,
    int,
    float,
    type(None),
    Path,
    Mapping,
    list,
    tuple,
    set,
    frozenset,
    BaseModel,
    np.generic,
)
"""What can be written as JSON, besides dataclasses."""
