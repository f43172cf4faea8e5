"""What `condyle compare` reads: models, folds and seeds."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from condyle.config.choices import Planes
from condyle.config.experiment import Experiment
from condyle.config.presets import read_preset
from condyle.config.section import Section, first_complaint, merged, read_toml
from condyle.errors import ConfigError, MissingFile, UnknownName

__all__ = ["Comparison", "comparisons"]

PARENT = "model:"
"""Before the name of a model, in another one's `network.weights`."""


def comparisons() -> list[str]:
    """The names of the comparisons that are built in."""
    found = (Path(entry.name) for entry in (files("condyle") / "comparisons").iterdir())
    return sorted(path.stem for path in found if path.suffix == ".toml")


class Comparison(Section):
    """Models to compare: the TOML file that `condyle compare` reads.

    Each model is a table `[models.NAME]` of the settings that make it what it is, such as
    `network.name`; `config` and `variant` in it start from a preset or a TOML file. What all have
    in common stands in `[settings]`, such as `training.budget`. A model whose `network.weights`
    are model:NAME starts from the run of that other model on the same fold.
    """

    dataset: str = ""
    folds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    ends: Annotated[int, Field(ge=1)] = 20
    """Axial slices at each end of a structure, for the tables of the ends."""
    planes: Planes = "axial"
    """Of the slices in the table of 2D scores; those of the ends are axial."""
    settings: dict[str, Any] = Field(default_factory=dict)
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    over: dict[str, Any] = Field(default_factory=dict)
    """Settings that win over all others."""

    @classmethod
    def read(cls, name: str | Path) -> Comparison:
        """The comparison in a TOML file, or a built-in one of this name.

        Its data set may be given relative to the file.

        Raises
        ------
        MissingFile, UnknownName, ConfigError
            If there is no such file; no such name; if it is no comparison.

        Examples
        --------
        >>> list(Comparison.read("femur-study").models)[:2]
        ['Res50Unet', 'Res50Unet++']
        """
        path = Path(name)
        if not path.is_file():
            if path.suffix == ".toml":
                raise MissingFile(
                    f"{path} is not there: give the path of a TOML file, or one of "
                    f"{', '.join(comparisons())}"
                )
            if str(name) not in comparisons():
                raise UnknownName("comparison or TOML file", str(name), comparisons())
            path = Path(str(files("condyle") / "comparisons" / f"{name}.toml"))
        try:
            asked = cls.model_validate(read_toml(path))
        except ValidationError as error:
            raise ConfigError(f"{path}: {first_complaint(error, cls)}") from error
        beside = path.parent / asked.dataset
        return asked.changed(dataset=str(beside)) if asked.dataset and beside.exists() else asked

    def experiment(self, model: str, fold: int, seed: int) -> Experiment:
        """What trains a model on a fold with a seed; its settings win over those of all."""
        own = dict(self.models[model])
        config, variant = str(own.pop("config", "")), str(own.pop("variant", ""))
        start = read_preset(config).settings_of(variant) if config else {}
        given = {"dataset": self.dataset, "fold": fold, "training": {"seed": seed}}
        settings = merged(merged(start, self.settings), own)
        return Experiment.parse(merged(merged(settings, self.over), given), f"model {model!r}")

    def parent(self, model: str) -> str:
        """The model from whose run a model starts; '' if it starts from weights of another kind.

        Raises
        ------
        UnknownName
            If there is no model of that name.
        """
        weights = self.experiment(model, 0, 0).network.weights
        name = weights.removeprefix(PARENT) if weights.startswith(PARENT) else ""
        if name and name not in self.models:
            raise UnknownName("model to start from", name, self.models)
        return name

    def in_order(self) -> list[str]:
        """The models, each after the one that it starts from; else as they are given.

        Raises
        ------
        ConfigError
            If models start from each other in a circle.

        Examples
        --------
        >>> second = {"network": {"weights": "model:a"}}
        >>> Comparison(models={"b": second, "a": {}}).in_order()
        ['a', 'b']
        """
        found: list[str] = []
        for name in self.models:
            line = [name]
            while parent := self.parent(line[-1]):
                if parent in line:
                    circle = " from ".join([*line[line.index(parent) :], parent])
                    raise ConfigError(
                        f"no model can be trained first: {circle}; let one of them start from "
                        "other weights",
                        setting="network.weights",
                    )
                line.append(parent)
            found += [one for one in reversed(line) if one not in found]
        return found
