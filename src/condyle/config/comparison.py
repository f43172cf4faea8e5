"""What `condyle compare` reads: models, folds and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from condyle.config.experiment import Experiment
from condyle.config.presets import read_preset
from condyle.config.section import Section, first_complaint, merged, read_toml
from condyle.errors import ConfigError

__all__ = ["Comparison"]


class Comparison(Section):
    """Models to compare: the TOML file that `condyle compare` reads.

    Each model is a table `[models.NAME]` of the settings that make it what it is, such as
    `network.name`; `config` and `variant` in it start from a preset or a TOML file. What all have
    in common stands in `[settings]`, such as `training.budget`.
    """

    dataset: str
    folds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    ends: Annotated[int, Field(ge=1)] = 20
    """Axial slices at each end of a structure, for the tables of the ends."""
    settings: dict[str, Any] = Field(default_factory=dict)
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]

    @classmethod
    def read(cls, path: Path) -> Comparison:
        """The comparison of a TOML file; its data set may be given relative to the file."""
        try:
            asked = cls.model_validate(read_toml(path))
        except ValidationError as error:
            raise ConfigError(f"{path}: {first_complaint(error, cls)}") from error
        beside = Path(path).parent / asked.dataset
        return asked.changed(dataset=str(beside)) if beside.exists() else asked

    def experiment(self, model: str, fold: int, seed: int) -> Experiment:
        """What trains a model on a fold with a seed; its settings win over those of all."""
        own = dict(self.models[model])
        config, variant = str(own.pop("config", "")), str(own.pop("variant", ""))
        start = read_preset(config).settings_of(variant) if config else {}
        given = {"dataset": self.dataset, "fold": fold, "training": {"seed": seed}}
        settings = merged(merged(merged(start, self.settings), own), given)
        return Experiment.parse(settings, f"model {model!r}")
