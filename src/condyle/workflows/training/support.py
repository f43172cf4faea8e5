"""Which settings each kind of network uses: what it cannot use is refused, never dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from condyle.config import (
    Augmentation,
    Experiment,
    Inflation,
    Planes,
    Preparation,
    Training,
    flattened,
)
from condyle.engines import is_engine
from condyle.engines.names import CASCADE
from condyle.errors import ConfigError
from condyle.networks import NetworkName
from condyle.networks.encoders import SCRATCH
from condyle.prepare.slices import AXIS, planes_of

__all__ = ["KINDS", "TRAINER", "kind_of", "require_supported", "unused_settings", "without_unused"]

KINDS = ("auto", "2d", "3d", "inflated", "nnunet", "totalsegmentator", "totalsegmentator:finetune")

_ALWAYS = ("dataset", "fold", "device", "log", "network.name")
TRAINER = (
    "training.epochs", "training.budget", "training.seed", "training.steps", "training.batch",
    "training.loss", "training.optimizer", "training.rate", "training.weight_decay",
    "training.schedule", "training.final_rate", "training.warmup", "training.foreground",
    "network.deep_supervision", "network.last_layer", "augmentation.flip",
)  # fmt: skip
"""What nnU-Net's trainer takes; the last layer is for fine-tuning."""
ENGINES: dict[str, tuple[tuple[str, ...], str]] = {
    "nnunet": (
        tuple(name for name in TRAINER if name != "network.last_layer"),
        "nnU-Net plans it, or does it in its own way",
    ),
    "totalsegmentator": ((), "TotalSegmentator is not trained: it predicts as it is"),
    "totalsegmentator:finetune": (
        TRAINER,
        "the network and its plans are those of the model that is fine-tuned",
    ),
}
"""Kind of engine -> the settings that it uses besides those that all use, and why no others."""
_VALUES: dict[str, tuple[str | bool, ...]] = {
    "training.loss": ("dice+ce", "ce", "dice", "bce+dice"),
    "augmentation.flip": ("all", "none"),
}
"""Setting -> the values that nnU-Net's trainer takes."""

_NOT_INFLATED = "only a pretrained 2D network that is made 3D (3d: before its name) is inflated"
_VOLUMES = "the network sees volumes, not slices"
_NOT_FINETUNED = "it is for totalsegmentator:finetune, whose last layer has other classes"
NETWORKS: dict[str, dict[str, str]] = {
    "auto": {"network.inflation": _NOT_INFLATED, "network.last_layer": _NOT_FINETUNED},
    "2d": {"network.inflation": _NOT_INFLATED, "network.last_layer": _NOT_FINETUNED},
    "3d": {
        "network.inflation": _NOT_INFLATED,
        "network.last_layer": _NOT_FINETUNED,
        "preparation.plane": _VOLUMES,
        "training.hard_slices": _VOLUMES,
    },
    "inflated": {"network.last_layer": _NOT_FINETUNED, "training.hard_slices": _VOLUMES},
}
"""Kind of network of ours -> the settings that it cannot use, and why."""


RULED = {
    "percentiles": ("zscore",),
    "window": ("ct", "window"),
    "mean": ("ct",),
    "std": ("ct",),
}
"""Setting of a preparation -> the rules of intensity that use it."""


def kind_of(name: str) -> str:
    """The kind of a network, one of `KINDS`, by its name.

    Examples
    --------
    >>> kind_of("3d:unet-resnet34"), kind_of("nnunet:2d")
    ('inflated', 'nnunet')
    """
    if name == "auto":
        return name
    if is_engine(name):
        engine, _, rest = name.partition(":")
        return f"{engine}:finetune" if rest.partition(":")[0] == "finetune" else engine
    parsed = NetworkName.parse(name)
    return "inflated" if parsed.is_inflated else f"{parsed.spatial}d"


def unused_settings(
    experiment: Experiment, plane: Planes | None = None, asked: Iterable[str] = ()
) -> dict[str, str]:
    """The settings that are given and that the network cannot use, and why.

    Parameters
    ----------
    asked : settings that were given by name; all others are given if they are not their defaults.
    """
    kind = kind_of(experiment.network.name)
    usual = flattened(Experiment(dataset=experiment.dataset).model_dump(mode="json"))
    given = flattened(experiment.model_dump(mode="json"))
    names = [name for name, value in given.items() if usual.get(name) != value]
    if kind in ENGINES:  # whose own values are not our usual ones
        names = list(flattened(experiment.given()))
    names += ["preparation.plane"] if plane and "preparation.plane" not in names else []
    names += [name for name in asked if name not in names]
    if kind in ENGINES:
        return _unused_by_engine(kind, names, experiment)
    found: dict[str, str] = {}
    for name in names:
        for refused, reason in NETWORKS[kind].items():
            is_plane = refused == "preparation.plane" and given.get(name) == "axial"
            if (name == refused or name.startswith(f"{refused}.")) and not is_plane:
                found[name] = reason
    if "network.weights" in asked and kind in ("2d", "3d"):
        scratch = NetworkName.parse(experiment.network.name).encoder in SCRATCH
        if scratch and experiment.network.weights == "imagenet":
            found["network.weights"] = "its encoder is not one that was pretrained"
    return found | _idle(experiment, kind) | _idle_preparation(experiment.preparation)


def _unused_by_engine(kind: str, names: Iterable[str], experiment: Experiment) -> dict[str, str]:
    used, reason = ENGINES[kind]
    found = {name: reason for name in names if name not in (*_ALWAYS, *used)}
    if not used:
        return found
    training = experiment.training
    if training.steps == "all":
        found["training.steps"] = "nnU-Net counts its steps: give a number"
    given = flattened(experiment.given())
    if training.budget and "training.steps" in given:
        found["training.steps"] = "under a budget, an epoch is a part of the time"
    for name, values in _VALUES.items():
        if name in given and given[name] not in values:
            found[name] = f"{given[name]!r} is none of {', '.join(map(str, values))}"
    if training.budget and experiment.network.name == f"nnunet:{CASCADE}":
        found["training.budget"] = "a cascade is several trainings: give `training.epochs`"
    return found | _idle_rate(training)


def _idle_rate(training: Training) -> dict[str, str]:
    if training.final_rate and training.schedule in ("constant", "one-cycle"):
        reason = f"the schedule {training.schedule!r} does not use it"
        return {"training.final_rate": reason}
    return {}


def _idle(experiment: Experiment, kind: str) -> dict[str, str]:
    """Settings of ours that others make meaningless."""
    network, found = experiment.network, dict[str, str]()
    if kind == "inflated":
        plane = (experiment.preparation and experiment.preparation.plane) or "axial"
        across = 2 + AXIS[planes_of(plane)[-1]]
        if network.inflation.axis not in (across, Inflation().axis):
            found["network.inflation.axis"] = (
                "the depth lies across the slices: choose `preparation.plane`"
            )
        if network.inflation.alphas != Inflation().alphas and network.inflation.strategy != "scale":
            found["network.inflation.alphas"] = "it is for `network.inflation.strategy` = 'scale'"
    changes, usual = experiment.augmentation, Augmentation().model_dump()
    if not changes.p:
        found |= {
            f"augmentation.{name}": "`augmentation.p` = 0 changes nothing"
            for name, value in changes.model_dump().items()
            if name not in ("p", "flip", "copies") and value != usual[name]
        }
    if network.unfreeze_after is not None and network.freeze != "encoder":
        found["network.unfreeze_after"] = "it needs `network.freeze` = 'encoder'"
    if reason := _idle_fall(experiment.training):
        found["training.rate_per_epoch"] = reason
    return found | _idle_rate(experiment.training)


def _idle_fall(training: Training) -> str:
    """Why the rate cannot fall by so much an epoch; '' if it can, or need not."""
    fall = training.rate_per_epoch
    if fall and training.schedule != "linear":
        return "it is for `training.schedule` = 'linear'"
    if fall and training.final_rate:
        return "`training.final_rate` says it already"
    if fall * ((training.epochs or 1) - 1) >= training.rate:
        return (
            f"{training.epochs} epochs of {fall:g} each use up the rate of {training.rate:g} "
            "before the last"
        )
    return ""


def _idle_preparation(given: Preparation | None) -> dict[str, str]:
    """Settings of a preparation that others make meaningless."""
    if given is None:
        return {}
    found: dict[str, str] = {}
    usual = Preparation().model_dump()
    for name, rules in RULED.items():
        if getattr(given, name) != usual[name] and given.intensity not in rules:
            found[f"preparation.{name}"] = (
                f"it is for `preparation.intensity` = {' or '.join(rules)}"
            )
    if given.size is not None and given.spacing is not None:
        found["preparation.size"] = "`preparation.spacing` says it already"
    return found


def without_unused(experiment: Experiment, keep: Mapping[str, object]) -> Experiment:
    """The experiment with its defaults in place of settings that the network cannot use.

    Parameters
    ----------
    keep : the names of settings that are left as they are.
    """
    tree = experiment.given()
    for name in unused_settings(experiment):
        if name in keep:
            continue
        here = tree
        *sections, last = name.split(".")
        if sections == ["preparation"]:
            tree.pop("preparation", None)
            continue
        for section in sections:
            here = here[section]
        del here[last]
    return Experiment.model_validate(tree)


def require_supported(
    experiment: Experiment, plane: Planes | None = None, asked: Iterable[str] = ()
) -> None:
    """Raise where a setting is given that the network cannot use; see `unused_settings`.

    Raises
    ------
    ConfigError
        It names all such settings, and says why for the first.
    """
    found = unused_settings(experiment, plane, asked)
    if found:
        names = ", ".join(f"`{name}`" for name in found)
        first, reason = next(iter(found.items()))
        raise ConfigError(
            f"{names} cannot be used by {experiment.network.name}: {reason}", setting=first
        )
