"""The studies whose settings are built in, a TOML file each."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from condyle.config.section import Section, first_complaint, merged, read_toml
from condyle.errors import ConfigError, UnknownName

__all__ = ["Preset", "Study", "presets", "read_preset"]


class Study(Section):
    """What a preset says about itself: the table `[study]` of its TOML file."""

    title: str
    source: str
    """Where the settings come from."""
    differs: dict[str, str] = Field(default_factory=dict)
    """Setting -> why it is not the study's, and what is done instead."""
    variants: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Name -> the settings that it changes."""


class Preset(Section):
    """A study and the settings that reproduce it, for any data set."""

    study: Study
    settings: dict[str, Any]

    def settings_of(self, variant: str = "") -> dict[str, Any]:
        """The settings, of a variant if one is named; `UnknownName` for a name that is none."""
        if not variant:
            return self.settings
        if variant not in self.study.variants:
            raise UnknownName("variant", variant, self.study.variants)
        return merged(self.settings, self.study.variants[variant])


def presets() -> list[str]:
    """The names of the presets, one a study."""
    found = (Path(entry.name) for entry in (files("condyle") / "presets").iterdir())
    return sorted(path.stem for path in found if path.suffix == ".toml")


def read_preset(name: str) -> Preset:
    """The preset of this name, or in the TOML file of this name, if there is one.

    A file without a `[study]` has settings, and no variants.

    Examples
    --------
    >>> read_preset("plain-2d").settings["network"]["name"]
    'unet-plain_bottleneck'
    """
    path, known = Path(name), presets()
    if not path.is_file():
        if name not in known:
            raise UnknownName("preset or TOML file", name, known)
        path = Path(str(files("condyle") / "presets" / f"{name}.toml"))
    settings = read_toml(path)
    study = settings.pop("study", {"title": "", "source": ""})
    try:
        return Preset.model_validate({"study": study, "settings": settings})
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_complaint(error, Preset)}") from error
