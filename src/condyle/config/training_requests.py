"""Requests of `plan` and `train`: the settings of an experiment, the usual ones as flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from condyle.config.choices import FoldChoice, InflationStrategy, Planes, Tracker
from condyle.config.experiment import Experiment
from condyle.config.presets import read_preset
from condyle.config.request import Request
from condyle.config.section import merged
from condyle.errors import ConfigError

__all__ = ["PlanRequest", "SettingsRequest", "TrainRequest"]

Out = Path


class SettingsRequest(Request):
    """Settings of a training: a preset or TOML file, and the flags that override it."""

    POSITIONAL = ("dataset",)
    NO_FLAG = ("settings",)
    dataset: Path | None = None
    """The data set's folder."""
    config: str = ""
    """A TOML file with any of the settings, or a preset of `condyle presets`; flags override it."""
    variant: str = ""
    """One of the preset's variants."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Any settings of `config.toml`, nested; they override `config`."""
    network: str | None = None
    """decoder-encoder, such as unet-resnet34 (`condyle networks` lists them); left out:
    chosen by the scans and the time (`condyle plan` shows it, with reasons). Or an engine:
    nnunet:2d, nnunet:3d_fullres, nnunet:3d_lowres, nnunet:3d_cascade_fullres, nnunet:resenc-m,
    totalsegmentator[:TASK][:fast] as it is (fast: its 3 mm model), or
    totalsegmentator:finetune[:TASK][:fast]."""
    budget: str | None = None
    """Time for everything, such as 15m or 2h, instead of epochs."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs of training, instead of a budget."""
    fold: FoldChoice | None = None
    """Which fold of the data set's splits is trained on; 0 if left out; all: every labelled scan
    is learnt from and none judges, so that how good it is must come from folds."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Random seed."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Samples per step; left out: chosen by the time and the memory."""
    rate: Annotated[float, Field(gt=0)] | None = None
    """Learning rate."""
    weights: str | None = None
    """imagenet, none, a file, or the folder of an earlier run."""
    plane: Planes | None = None
    """Plane of the slices of a 2D network; all: one network learns the slices of all three; left
    out: the plane in which the scans were acquired, across their thickest spacing."""
    inflation: InflationStrategy | None = None
    """How a pretrained 2D network becomes the 3D one, where `network` begins with 3d:."""
    device: str | None = None
    """auto, cpu, cuda or mps."""
    log: tuple[Tracker, ...] | None = None
    """Experiment trackers to log to: tensorboard (in the run folder), mlflow (in mlruns beside
    it); may be given twice."""

    SHORT: ClassVar[dict[str, str]] = {
        "dataset": "dataset",
        "fold": "fold",
        "device": "device",
        "log": "log",
        "network": "network.name",
        "weights": "network.weights",
        "inflation": "network.inflation.strategy",
        "budget": "training.budget",
        "epochs": "training.epochs",
        "seed": "training.seed",
        "batch": "training.batch",
        "rate": "training.rate",
    }
    """Field -> the setting of an experiment that it stands for."""

    def asked(self) -> dict[str, Any]:
        """The settings that are given: the preset's or file's, then `settings`, then the fields."""
        if self.variant and not self.config:
            raise ConfigError(
                "`variant` is one of a preset's: name the preset by `config` (condyle presets "
                "lists them)",
                setting="variant",
            )
        if self.budget and self.epochs:
            raise ConfigError("give either `budget` or `epochs`, not both", setting="budget")
        start = read_preset(self.config).settings_of(self.variant) if self.config else {}
        fields: dict[str, Any] = {}
        for name, setting in self.SHORT.items():
            value = getattr(self, name)
            if value is not None:
                value = str(value) if isinstance(value, Path) else value
                fields = merged(fields, _nested(setting.split("."), value))
        found = merged(merged(start, self.settings), fields)
        return {name: value for name, value in found.items() if name != "engine"}  # a record

    def named(self) -> list[str]:
        """The settings that are given by fields of their own, whatever their values."""
        return [long for name, long in self.SHORT.items() if getattr(self, name) is not None]

    def experiment(self) -> Experiment:
        """The experiment that the settings make.

        Raises
        ------
        ConfigError
            If a setting is unknown or has a wrong value, or no data set is given.
        """
        settings = self.asked()
        if "dataset" not in settings:
            raise ConfigError("no data set given: set `dataset` to its folder")
        made = Experiment.parse(settings, self.config or "the settings")
        if made.training.epochs and made.training.budget:
            raise ConfigError("give either `budget` or `epochs`, not both", setting="budget")
        return made


def _nested(names: list[str], value: Any) -> dict[str, Any]:
    for name in reversed(names):
        value = {name: value}
    return value


class PlanRequest(SettingsRequest):
    """Show the network, patch and batch size that `train` would choose, with reasons."""

    out: Out | None = None
    """A TOML file for the plan, to edit and to give to `condyle train --config`."""


class TrainRequest(SettingsRequest):
    """Train a segmenter on a data set's fold, and score it on the test cases."""

    out: Out
    """The run folder."""
    folds: Annotated[int, Field(ge=2)] | Literal["all"] | None = None
    """Train all the data set's folds, so many or all, into folders of `out`: every labelled case is
    scored, and `segment` averages their predictions. A budget is for all of them."""
    resume: bool = False
    """Go on with the interrupted training in the run folder, if there is one."""

    @classmethod
    def of(cls, experiment: Experiment, out: Path, **more: Any) -> Self:
        """A request for an experiment."""
        return cls(settings=experiment.given(), out=Path(out), **more)

    def inputs(self) -> list[Path]:
        """The files that the settings name, but for those of the run itself, which goes on."""
        run = self.out.resolve()
        return [path for path in super().inputs() if not path.resolve().is_relative_to(run)]

    @property
    def is_bare(self) -> bool:
        """Whether nothing is given but the run folder: an interrupted run goes on as it was."""
        return not self.given().keys() - {"out", "resume"}
