"""The networks that predict a scan together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condyle.core import LabelScheme, Volume
from condyle.errors import ConfigError
from condyle.jobs.job import count_of, warn
from condyle.networks import PredictionNetwork
from condyle.predict.options import InferenceOptions
from condyle.predict.preprocessor import Preprocessor
from condyle.predict.scan_differences import differences
from condyle.predict.training_record import TrainingRecord
from condyle.predict.views import Mirroring, View, common_mirroring
from condyle.prepare.slices import planes_of

__all__ = ["Ensemble", "Member"]


@dataclass(frozen=True, eq=False)
class Member:
    """A trained network with all that it takes to predict.

    Parameters
    ----------
    name : of the network, 'unet-efficientnet_lite0' say.
    network : with its weights.
    preprocessor : how a scan becomes what the network gets.
    scheme : what its classes 1, 2, ... are called, in this order.
    channels : how many channels a scan must have.
    mirroring : the mirror images that it was trained on.
    ends_mm : how much of each end of a bone it was trained on; 0: all slices alike.
    weights : the SHA-256 of the file of its weights; '' where there is none.
    folder : of that file, where its exported networks are; None where there is none.
    training : what it was trained on.
    """

    name: str
    network: PredictionNetwork
    preprocessor: Preprocessor
    scheme: LabelScheme
    channels: int = 1
    mirroring: Mirroring = "all"
    ends_mm: float = 0.0
    weights: str = ""
    folder: Path | None = None
    training: TrainingRecord = field(default_factory=TrainingRecord)

    def passes(
        self, options: InferenceOptions, *, each: bool = False
    ) -> tuple[tuple[View, ...], ...]:
        """The views of a scan that it predicts, of those that it was trained on."""
        mirroring = common_mirroring(options.mirroring, self.mirroring)
        return self.preprocessor.passes(options.planes, mirroring, each=each)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks that predict together: of several folds, seeds, planes, or one and a specialist.

    Parameters
    ----------
    members : whose class probabilities are averaged; all find the same structures.
    specialist : one that was trained on the ends of bones: near the ends of what the members
        find, its probabilities take over from theirs.

    Raises
    ------
    ConfigError
        If they do not find the same structures in the same channels, or the specialist does not
        know which slices it was trained on.
    """

    members: tuple[Member, ...]
    specialist: Member | None = None

    def __post_init__(self) -> None:
        first, *others = self.all
        for other in others:
            if (other.scheme.names, other.channels) != (first.scheme.names, first.channels):
                raise ConfigError(
                    "networks of an ensemble must have the same structures and channels: "
                    f"{first.name} finds {', '.join(first.scheme.names)} in "
                    f"{count_of(first.channels, 'channel')}, {other.name} "
                    f"{', '.join(other.scheme.names)} in {other.channels}"
                )

        if self.specialist is not None and not self.specialist.ends_mm:
            raise ConfigError(
                f"{self.specialist.name} was not trained on the ends of bones: train a specialist "
                "with training.hard_slices (condyle train --config femur-ends)"
            )

    @property
    def all(self) -> tuple[Member, ...]:
        """The members, and last the specialist, if there is one."""
        return (*self.members, *([self.specialist] if self.specialist else []))

    @property
    def scheme(self) -> LabelScheme:
        """What the structures are called."""
        return self.members[0].scheme

    @property
    def channels(self) -> int:
        """Channels that a scan must have."""
        return self.members[0].channels

    def predictions(self, options: InferenceOptions) -> int:
        """How many predictions are averaged: of members, planes and mirror images."""
        return sum(len(views) for one in self.members for views in one.passes(options, each=True))

    def signature(self, options: InferenceOptions) -> dict[str, Any]:
        """Which predictions are averaged, as JSON values: two signatures are equal or not."""
        return {
            "planes": options.planes,
            "mirroring": options.mirroring,
            "also": [member.weights for member in self.members[1:]],
        }

    def require(self, options: InferenceOptions) -> None:
        """Raise `ConfigError` where planes are chosen that no member can be given.

        A member that can, but never learnt slices of such a plane, is warned of.
        """
        if options.planes is None:
            return
        reasons = [member.preprocessor.without_planes for member in self.members]
        if all(reasons):
            raise ConfigError(
                f"{self.members[0].name} {reasons[0]}: leave out `planes`", setting="planes"
            )
        for member, reason in zip(self.members, reasons, strict=True):
            learnt = planes_of(member.preprocessor.plane)
            new = [plane for plane in planes_of(options.planes) if plane not in learnt]
            if new and not reason:
                warn(
                    f"{member.name} was trained on {' and '.join(learnt)} slices alone: in "
                    f"{' and '.join(new)} ones it can be far worse, and make the result worse; "
                    "leave out `planes`, or train with `plane` = all"
                )

    def warn_of_differences(self, scan: Volume) -> None:
        """Warn where a scan (its first channel) is unlike those that the members learnt from."""
        found = [(one.name, words) for one in self.all for words in differences(one.training, scan)]
        for words in dict.fromkeys(words for _, words in found):
            name = next(name for name, said in found if said == words)
            warn(f"this scan is unlike those that {name} was trained on: {words}; look at the "
                 "result before you trust it")  # fmt: skip

    def require_channels(self, scan: Volume | tuple[Volume, ...]) -> tuple[Volume, ...]:
        """The scan's channels, which must be as many as the networks were trained on."""
        channels = (scan,) if isinstance(scan, Volume) else scan
        if len(channels) != self.channels:
            raise ConfigError(
                f"this segmenter was trained on {count_of(self.channels, 'channel')}, the scan has "
                f"{len(channels)}"
            )
        return channels
