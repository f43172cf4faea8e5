"""What can be set for an experiment: the sections of `config.toml`.

Every setting has the same name here, in the TOML file, on the command line and on the page.
Sections are frozen and refuse keys they do not know.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

import tomli_w
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from condyle.errors import ConfigError, MissingFile, UnknownName

__all__ = [
    "Augmentation",
    "Comparison",
    "Experiment",
    "Inflation",
    "Network",
    "Plane",
    "Planes",
    "Preparation",
    "Preset",
    "Study",
    "Training",
    "merged",
    "presets",
    "read_preset",
    "read_toml",
    "seconds",
]

Plane = Literal["axial", "sagittal", "coronal"]
Planes = Literal["axial", "sagittal", "coronal", "all"]
Millimetres = Annotated[float, Field(ge=0, lt=50)]
Percent = Annotated[float, Field(ge=0, le=100)]
Voxels = Annotated[int, Field(ge=1, le=1024)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def changed(self, **settings: Any) -> Self:
        """The same settings but for those given; each is validated."""
        return type(self).model_validate({**self.model_dump(), **settings})


class Preparation(Section):
    """How a scan becomes what a network sees. Nothing here is measured on the scan but `intensity`.

    The scan is first turned to RAS axes, then resampled to `spacing` or `size`, then scaled by
    `intensity`. What is None keeps the scan's own value.
    """

    spacing: tuple[Millimetres, Millimetres, Millimetres] | None = None
    """Working distance in mm between voxels along the left-right, back-front and feet-head axes;
    0 keeps the scan's own along that axis."""
    size: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Instead of `spacing`: pixels along the longer in-plane side of the plane; square pixels."""
    plane: Planes = "axial"
    """The plane of the slices that a 2D network sees; all: one network sees the slices of all
    three, and their answers are joined. 3D networks see all."""
    intensity: Literal["zscore", "ct", "window", "minmax", "max"] = "zscore"
    """zscore: clip to `percentiles`, subtract mean, divide by standard deviation, scan by scan.
    ct: clip to `window` (HU), then subtract `mean` and divide by `std`, one rule for the data set.
    window: clip to `window`, scale to [0, 1]. minmax and max: scale to [0, 1] by the scan's own."""
    percentiles: tuple[Percent, Percent] = (0.5, 99.5)
    window: tuple[float, float] | None = None
    mean: float | None = None
    std: Annotated[float, Field(gt=0)] | None = None
    interpolation: Literal["linear", "cubic"] = "linear"
    """How images are resampled; labels never mix."""


class Inflation(Section):
    """How a 2D network becomes a 3D one, weights included (`condyle.networks.inflate`)."""

    strategy: Literal["average", "center", "scale", "acs"] = "average"
    alphas: Literal["triangular", "gaussian"] | tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (
        "triangular"
    )
    """For `scale`: the weights of a kernel's slices, by name or as numbers that sum to 1."""
    depth: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] = 3
    """Of the kernels: odd; 0 as deep as wide; several: a level each, from fine to coarse."""
    keep_depth: Annotated[int, Field(ge=0)] | Literal["all"] | None = None
    """How many of the first halvings of the plane leave the depth alone, for thick slices; None:
    as many as it takes until pixels are as wide as slices are thick."""
    axis: Literal[2, 3, 4] = 4
    """Of the tensors (B, C, i, j, k): where the depth lies; 4 is from feet to head."""


class Network(Section):
    """Which network, from which weights."""

    name: str = "auto"
    """`decoder-encoder`, such as unet-resnet34 or unet-plain; `3d:` before it for volumes; auto:
    what suits the training scans and the time (`condyle plan` says what and why)."""
    weights: str = "imagenet"
    """imagenet, none, a file, or the folder of an earlier run."""
    freeze: Literal["none", "encoder"] = "none"
    """encoder: the pretrained part stays as it is (until epoch `unfreeze_after`, if given)."""
    unfreeze_after: Annotated[int, Field(ge=1)] | None = None
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The encoder's learning rate as a part of the decoder's."""
    inflation: Inflation = Inflation()
    """Of a network with `3d:` before its name whose encoder is pretrained in 2D."""
    deep_supervision: bool = False
    """Train the inner nodes of a U-Net++ as well; the loss is the mean over them all."""


class Augmentation(Section):
    """Changes drawn for each sample; each applies with its probability `p`.

    The place of a sample in its scan is drawn as well, which is a random crop: see
    `training.patch` and `training.foreground`.
    """

    p: Annotated[float, Field(ge=0, le=1)] = 0.5
    copies: Annotated[int, Field(ge=0)] | None = None
    """None: changed anew each time it is seen. Else each sample exists as itself and as so many
    changed copies, which stay the same and come in turn, epoch by epoch."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 15.0
    """Largest angle in degrees, either way."""
    scaling: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Largest relative change of size, either way."""
    elastic: Millimetres = 0.0
    """Largest displacement in mm of a smooth random field; 0 bends nothing."""
    flip: Literal["none", "left-right", "all"] = "left-right"
    """Mirrored in half of the samples, whatever `p`; all: each axis drawn by itself. Where left
    and right change places, sided labels swap their names."""
    blur: Annotated[float, Field(ge=0)] = 0.0
    """Largest standard deviation of a Gaussian blur, in voxels."""
    low_resolution: Annotated[float, Field(ge=1)] = 1.0
    """Largest factor by which voxels are made longer, before they are interpolated again."""
    brightness: Annotated[float, Field(ge=0)] = 0.2
    """Largest shift, in standard deviations of the scaled intensities."""
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.25
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.3
    noise: Annotated[float, Field(ge=0)] = 0.1
    """Largest standard deviation of Gaussian noise, in those of the intensities."""


class Training(Section):
    """How weights are fitted."""

    loss: str = "dice+faded_ce"
    """ce, dice, iou, focal, bce+dice, dice+focal, dice+iou, dice+ce or dice+faded_ce."""
    class_weights: dict[str, Annotated[float, Field(gt=0)]] = {}
    """How much a structure, or 'background', counts in the loss; 1 for those not named."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    schedule: Literal["cosine", "constant", "poly", "linear", "one-cycle"] = "cosine"
    """one-cycle rises over `warmup` (0.3 is usual) and falls to nearly nothing, by cosines."""
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of `rate` that is left at the end of cosine, poly and linear."""
    warmup: Annotated[float, Field(ge=0, lt=0.5)] = 0.03
    """Part of the training over which the rate rises from nothing."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Rounds of training; 50 where neither this nor `budget` is given."""
    steps: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    """Steps an epoch; all: as many as it takes to draw as many samples as there are slices or
    patches; None: the same, but 10 at the least and 250 at the most."""
    budget: Annotated[float, Field(gt=0), BeforeValidator(lambda v: seconds(v))] | None = None
    """Seconds (or '15m', '2h') for everything: preparing, fitting, evaluating, writing."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Samples a step; None: found by the time and the memory that a step takes here."""
    patch: tuple[Voxels, Voxels, Voxels] | None = None
    """Voxels of a training sample along the left-right, back-front and feet-head axes, 1 across
    the slices of a 2D network; None: chosen to hold the typical scan."""
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.67
    """Part of the samples that must hold a structure."""
    hard_slices: Annotated[int, Field(ge=1)] | None = None
    """For 2D networks: see only the first and last so many slices of each structure, the ends of
    a bone."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the running average of the weights that is kept in the end; 0 keeps none."""
    best_by: Literal["dice", "iou", "loss"] = "dice"
    """The validation figure by which the best weights are chosen."""
    patience: Annotated[int, Field(ge=0)] = 20
    """Stop when it has been no better for so many evaluations; 0, or a budget: never."""
    seed: Annotated[int, Field(ge=0)] = 0


class Experiment(Section):
    """All that makes a run: `condyle train --config FILE` reads it, a run folder holds it."""

    dataset: str
    fold: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    log: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    """Who is told of epochs and scores while it runs: tensorboard, mlflow, or both."""
    network: Network = Network()
    preparation: Preparation | None = None
    """None: chosen from the training scans; the run's config.toml says what was chosen."""
    training: Training = Training()
    augmentation: Augmentation = Augmentation()

    @classmethod
    def parse(cls, settings: dict[str, Any], where: str = "the settings") -> Experiment:
        """An experiment from nested settings; `ConfigError` names the key and what it wants."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(f"{where}: {_first(error, cls)}") from error

    @classmethod
    def read(cls, path: Path) -> Experiment:
        """The experiment of a TOML file."""
        return cls.parse(read_toml(path), str(path))

    def to_toml(self) -> str:
        """The TOML text that reads back as this experiment; settings that are None are left out."""
        return tomli_w.dumps(_without_none(self.model_dump(mode="json")))


def read_toml(path: Path) -> dict[str, Any]:
    """The settings in a TOML file."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFile(f"{path} is not there: give the path of a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


class Study(Section):
    """What a preset says about itself: the table `[study]` of its TOML file."""

    title: str
    source: str
    """Where the settings come from."""
    differs: list[str] = []
    """What the settings cannot reproduce, and what is done instead."""
    variants: dict[str, dict[str, Any]] = {}
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
    'unet-plain'
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
        raise ConfigError(f"{path}: {_first(error, Preset)}") from error


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
    settings: dict[str, Any] = {}
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]

    @classmethod
    def read(cls, path: Path) -> Comparison:
        """The comparison of a TOML file; its data set may be given relative to the file."""
        try:
            asked = cls.model_validate(read_toml(path))
        except ValidationError as error:
            raise ConfigError(f"{path}: {_first(error, cls)}") from error
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
    """A duration in seconds: a number, or text like '90s', '15m', '1.5h'.

    Examples
    --------
    >>> seconds("15m")
    900.0
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    text = str(value).strip().lower()
    factor = units.get(text[-1:], 1.0)
    try:
        return float(text.rstrip("smhd")) * factor
    except ValueError:
        raise ValueError(f"{value!r} is no duration: write 90s, 15m or 2h") from None


def _first(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of pydantic as '[section] key: what it wants'."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = list(_settings(model))
        elsewhere = [name for name in known if name.split(".")[-1] == problem["loc"][-1]]
        close = (elsewhere or get_close_matches(where, known, n=1))[:1]
        return f"there is no setting {where!r}" + "".join(f": did you mean {n!r}?" for n in close)
    return f"{where} = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"


def _settings(model: type[BaseModel]) -> Iterator[str]:
    """All names that a setting of the model may have, with those of their sections."""
    for name, field in model.model_fields.items():
        yield name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from (f"{name}.{inner}" for inner in _settings(kind))


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree without its None leaves, which TOML cannot write."""
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            kept[key] = _without_none(value)
        elif value is not None:
            kept[key] = value
    return kept
