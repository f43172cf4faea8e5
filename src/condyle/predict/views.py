"""The views of a scan that a network predicts: the plane of its slices, and mirrored or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal

import torch
from torch import Tensor

from condyle.config import Plane
from condyle.errors import UnknownName
from condyle.predict.runtimes.runtime import Runtime
from condyle.prepare.slices import AXIS

__all__ = ["MIRRORINGS", "Averaged", "Mirrored", "Mirroring", "View", "common_mirroring", "views"]

Mirroring = Literal["none", "left-right", "all"]
MIRRORINGS: dict[Mirroring, tuple[int, ...]] = {
    "none": (),
    "left-right": (0,),
    "all": (0, 1, 2),
}
"""The axes, in RAS order, along which a scan is mirrored, alone and together."""


@dataclass(frozen=True)
class View:
    """One view of a scan.

    Parameters
    ----------
    plane : of the slices; None for volumes.
    mirrored : the RAS axes along which the scan is mirrored before, and its probabilities after.
    """

    plane: Plane | None
    mirrored: tuple[int, ...] = ()

    @property
    def axes(self) -> tuple[int, ...]:
        """The RAS axes of the network's input, in its order."""
        through = None if self.plane is None else AXIS[self.plane]
        return tuple(axis for axis in range(3) if axis != through)

    def through(self, runtime: Runtime, mirrored_classes: tuple[int, ...]) -> Runtime:
        """The runtime that predicts this view.

        Parameters
        ----------
        mirrored_classes : the class that each becomes where left and right change places.
        """
        if not self.mirrored:
            return runtime
        classes = mirrored_classes if 0 in self.mirrored else None
        return Mirrored(runtime, tuple(self.axes.index(axis) for axis in self.mirrored), classes)


def common_mirroring(one: Mirroring, other: Mirroring) -> Mirroring:
    """The mirror images that are in both.

    Examples
    --------
    >>> common_mirroring("all", "left-right")
    'left-right'
    """
    for name in (one, other):
        if name not in MIRRORINGS:
            raise UnknownName("flips", name, MIRRORINGS)
    return min(one, other, key=list(MIRRORINGS).index)


def views(plane: Plane | None, mirroring: Mirroring) -> tuple[View, ...]:
    """All views of a scan in a plane (None: of the volume), the one that is not mirrored first.

    Examples
    --------
    >>> [view.mirrored for view in views("sagittal", "all")]
    [(), (1,), (2,), (1, 2)]
    """
    axes = [axis for axis in MIRRORINGS[mirroring] if axis in View(plane).axes]
    chosen = chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1))
    return tuple(View(plane, mirrored) for mirrored in chosen)


@dataclass(frozen=True)
class Mirrored:
    """A runtime that gets everything mirrored, and mirrors its probabilities back.

    Parameters
    ----------
    axes : of the batch's i, j[, k].
    classes : the class that each becomes where left and right change places; None: they do not.
    """

    runtime: Runtime
    axes: tuple[int, ...]
    classes: tuple[int, ...] | None = None

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]) of (B, C, i, j[, k])."""
        sides = [axis + 2 for axis in self.axes]
        found = torch.flip(self.runtime.probabilities(torch.flip(batch, sides)), sides)
        return found if self.classes is None else found[:, list(self.classes)]


@dataclass(frozen=True)
class Averaged:
    """The mean probabilities of several runtimes."""

    runtimes: Sequence[Runtime]

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]) of (B, C, i, j[, k])."""
        first, *more = self.runtimes
        total = first.probabilities(batch)
        for other in more:
            total = total + other.probabilities(batch)
        return total / len(self.runtimes)
