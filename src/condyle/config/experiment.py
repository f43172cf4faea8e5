"""The settings of an experiment: the sections of `config.toml`.

Every setting has the same name here, in the TOML file, on the command line and on the page.
Sections are frozen and refuse keys they do not know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tomli_w
from pydantic import BeforeValidator, Field, ValidationError

from condyle.config.choices import FoldChoice, Planes
from condyle.config.section import Section, first_complaint, read_toml, seconds
from condyle.errors import ConfigError

__all__ = ["Augmentation", "Experiment", "Inflation", "Network", "Preparation", "Training"]

Millimetres = Annotated[float, Field(ge=0, lt=50)]
Percent = Annotated[float, Field(ge=0, le=100)]
Voxels = Annotated[int, Field(ge=1, le=1024)]


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
    plane: Planes | None = None
    """The plane of the slices that a 2D network sees; all: one network sees the slices of all
    three, and its predictions for them are averaged; None: chosen, the plane in which the scans
    were acquired (across their thickest spacing). 3D networks see all."""
    intensity: Literal["zscore", "ct", "window", "minmax", "max"] = "zscore"
    """zscore: clip to `percentiles`, subtract mean, divide by standard deviation, scan by scan.
    ct: clip to `window` (HU), then subtract `mean` and divide by `std`, one rule for the data set.
    window: clip to `window`, scale to [0, 1]. minmax and max: scale to [0, 1] by the scan's own."""
    percentiles: tuple[Percent, Percent] = (0.5, 99.5)
    window: tuple[float, float] | None = None
    mean: float | None = None
    std: Annotated[float, Field(gt=0)] | None = None
    interpolation: Literal["linear", "cubic", "spline"] = "linear"
    """How images are resampled; labels never mix. cubic: Keys' kernel over four voxels, a mean
    where voxels grow. spline: the cubic spline through all voxels, as nnU-Net does (order 3)."""
    crop: Literal["none", "nonzero"] = "none"
    """nonzero: before all else the scan is cut to the box of what is not 0 in any channel, as
    nnU-Net does; beyond it all is background. For scans whose surroundings were set to 0."""


class Inflation(Section):
    """How a 2D network becomes a 3D one, weights included (`condyle.networks.inflation`)."""

    strategy: Literal["average", "center", "first", "scale", "acs"] = "average"
    alphas: Literal["triangular", "gaussian"] | tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (
        "triangular"
    )
    """For `scale`: the weights of a kernel's slices, by name or as numbers that sum to 1."""
    depth: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] = 3
    """Depth of the kernels: odd; 0: as deep as wide; several: a level each, fine to coarse."""
    keep_depth: Annotated[int, Field(ge=0)] | Literal["all"] | None = None
    """How many of the first downsampling steps keep the depth, for thick slices; None: as many as
    it takes until pixels are as wide as slices are thick."""
    axis: Literal[2, 3, 4] = 4
    """Of the tensors (B, C, i, j, k): where the depth lies; 4 is from feet to head."""


class Network(Section):
    """Which network, from which weights."""

    name: str = "auto"
    """`decoder-encoder`, such as unet-resnet34 or unet-plain; `3d:` before it for volumes; auto:
    chosen by the training scans and the time (`condyle plan` shows it, with reasons)."""
    weights: str = "imagenet"
    """imagenet, none, a file, or the folder of an earlier run."""
    freeze: Literal["none", "encoder"] = "none"
    """encoder: the pretrained part stays as it is (until epoch `unfreeze_after`, if given)."""
    unfreeze_after: Annotated[int, Field(ge=1)] | None = None
    encoder_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The encoder's learning rate as a fraction of the decoder's."""
    inflation: Inflation = Inflation()
    """Of a network with `3d:` before its name whose encoder is pretrained in 2D."""
    deep_supervision: bool = False
    """Train the inner nodes of a U-Net++ as well; the loss is the mean over them all. nnU-Net's
    networks have it unless it is switched off."""
    last_layer: Literal["kept", "new"] = "kept"
    """Of totalsegmentator:finetune. kept: it begins with the weights of those old classes that make
    each structure; new: with random numbers."""


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
    """Loss, optimizer, sampling and length of a training."""

    loss: str = "dice+faded_ce"
    """ce, dice, iou, focal, bce+dice, dice+focal, dice+iou, dice+ce or dice+faded_ce."""
    class_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """How much a structure, or 'background', counts in the loss; 1 for those not named."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    schedule: Literal["cosine", "constant", "poly", "linear", "one-cycle"] = "cosine"
    """one-cycle rises over `warmup` (0.3 is usual) and falls to nearly nothing, by cosines."""
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of `rate` that is left at the end of cosine, poly and linear."""
    rate_per_epoch: Annotated[float, Field(ge=0)] = 0.0
    """For linear, instead of `final_rate`: how much the rate falls after each epoch, however many
    there are, down to 0."""
    warmup: Annotated[float, Field(ge=0, lt=0.5)] = 0.03
    """Fraction of the training over which the rate rises from 0."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs; 50 where neither this nor `budget` is given."""
    steps: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    """Steps per epoch; all: as many as it takes to draw as many samples as there are slices or
    patches; None: the same, but 10 at the least and 250 at the most."""
    budget: Annotated[float, Field(gt=0), BeforeValidator(lambda v: seconds(v))] | None = None
    """Seconds (or '15m', '2h') for everything: preparing, fitting, evaluating, writing."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Samples per step; None: chosen by the time and the memory that a step takes here."""
    patch: tuple[Voxels, Voxels, Voxels] | None = None
    """Voxels of a training sample along the left-right, back-front and feet-head axes, 1 across
    the slices of a 2D network; None: chosen to hold the typical scan."""
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.67
    """Fraction of the samples that must contain a structure."""
    hard_slices: Annotated[int, Field(ge=1)] | None = None
    """For 2D networks: train only on the first and last so many slices of each structure (the ends
    of a bone)."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.995
    """Decay of the running average of the weights that is kept in the end; 0 keeps none."""
    best_by: Literal["dice", "iou", "loss"] = "dice"
    """The validation figure by which the best weights are chosen."""
    patience: Annotated[int, Field(ge=0)] = 20
    """Stop after this many evaluations without improvement; 0, or a budget: never."""
    seed: Annotated[int, Field(ge=0)] = 0


class Experiment(Section):
    """All settings of a run: `condyle train --config FILE` reads it, a run folder holds it."""

    FILE: ClassVar[str] = "config.toml"
    """Its name in a run folder."""

    dataset: str
    fold: FoldChoice = 0
    """Which fold of the data set's splits; all: every labelled scan trains, and none judges."""
    device: str = "auto"
    log: tuple[Literal["tensorboard", "mlflow"], ...] = ()
    """Experiment trackers to log to while it runs: tensorboard, mlflow, or both."""
    network: Network = Network()
    preparation: Preparation | None = None
    """None: chosen from the training scans; the run's config.toml says what was chosen."""
    training: Training = Training()
    augmentation: Augmentation = Augmentation()
    engine: dict[str, Any] = Field(default_factory=dict)
    """Written by a run of another program (nnU-Net, TotalSegmentator): what its plans and its
    trainer had besides the settings above. A record: a training takes nothing from it."""

    @classmethod
    def parse(cls, settings: dict[str, Any], where: str = "the settings") -> Experiment:
        """An experiment from nested settings; `ConfigError` names the key and what it wants."""
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(f"{where}: {first_complaint(error, cls)}") from error

    @classmethod
    def read(cls, path: Path) -> Experiment:
        """The experiment of a TOML file."""
        return cls.parse(read_toml(path), str(path))

    def to_toml(self) -> str:
        """The TOML text that reads back as this experiment; settings that are None are left out."""
        return tomli_w.dumps(_without_none(self.known()))

    def known(self) -> dict[str, Any]:
        """All settings as JSON values; of a run of another program those that it has, no others."""
        if not self.engine:
            return self.model_dump(mode="json", exclude={"engine"})
        return self.model_dump(mode="json", exclude_unset=True)

    def given(self) -> dict[str, Any]:
        """The settings that were given, as JSON values, even where they are the usual ones."""
        return self.model_dump(
            mode="json", exclude_unset=True, exclude_none=True, exclude={"engine"}
        )


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree without its None leaves, which TOML cannot write."""
    kept: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            kept[key] = _without_none(value)
        elif value is not None:
            kept[key] = value
    return kept
