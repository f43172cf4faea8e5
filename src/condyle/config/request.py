"""What all requests have in common: what is given, what decides the results, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import ConfigDict, ValidationError

from condyle.config.section import Section, first_complaint
from condyle.errors import ConfigError

__all__ = ["BatchRequest", "Request"]


class Request(Section):
    """The settings of a verb."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())

    POSITIONAL: ClassVar[tuple[str, ...]] = ()
    NO_FLAG: ClassVar[tuple[str, ...]] = ()
    """Fields for Python and TOML alone."""
    ELSEWHERE: ClassVar[tuple[str, ...]] = ("out", "on", "resume")
    """Fields that say where and how the work is done, and do not decide its results."""

    def __init__(self, **fields: Any):
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise self.complaint(error) from error

    @classmethod
    def complaint(cls, error: ValidationError) -> ConfigError:
        """The sentence for a field that is wrong: its value, what it must be, what it means."""
        name = str(error.errors()[0]["loc"][0]) if error.errors()[0]["loc"] else ""
        said = first_complaint(error, cls).replace(name, f"`{name}`", 1) if name else str(error)
        field = cls.model_fields.get(name)
        means = " ".join((field.description or "").split()) if field else ""
        return ConfigError(f"{said}; {means}" if means else said, setting=name)

    def signature(self) -> dict[str, Any]:
        """All that decides the results, as JSON values; paths as they are from the root."""
        tree = self.model_dump(mode="python", exclude=set(self.ELSEWHERE))
        return {name: _absolute(value) for name, value in tree.items()}

    OUTPUTS: ClassVar[tuple[str, ...]] = ("out", "fix")
    """Fields that say where results go."""

    def inputs(self) -> list[Path]:
        """The files that the settings name, by a path or a text: no result may overwrite one."""
        found: list[Path] = []
        for name in type(self).model_fields.keys() - set(self.OUTPUTS):
            value = getattr(self, name)
            several = cast(tuple[Any, ...], value) if isinstance(value, tuple) else (value,)
            paths = [Path(each) for each in several if isinstance(each, str | Path) and each]
            found += [path for path in paths if _is_file(path)]
        return found

    def given(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {
            name: value
            for name, field in type(self).model_fields.items()
            if (value := getattr(self, name)) != field.get_default(call_default_factory=True)
        }

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Raise where a field is given that cannot be used.

        Parameters
        ----------
        reasons : field -> why not.

        Raises
        ------
        ConfigError
            It names all such fields, and says why for the first.
        """
        names = [name for name in self.given() if name in reasons]
        if names:
            listed = ", ".join(f"`{name}`" for name in names)
            raise ConfigError(
                f"{listed} cannot be used here: {reasons[names[0]]}", setting=names[0]
            )


def _absolute(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return [_absolute(each) for each in value] if isinstance(value, tuple) else value


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a text that no path can be
        return path.is_file()
    return False


class BatchRequest(Request):
    """The settings of a verb that works through many files."""

    on: str = "local:1"
    """Where it runs: local:N for N processes on this machine."""
    resume: bool = False
    """Keep what an interrupted batch with the same settings has finished."""

    def place(self) -> tuple[Path, str]:
        """The folder for the results, and a name for them in it; '' where all of it is theirs."""
        return Path(self.model_dump(include={"out"}).get("out") or "."), ""
