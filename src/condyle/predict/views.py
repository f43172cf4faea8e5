"""The ways a network looks at a scan: the plane of its slices, and mirrored or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Literal

import torch
from torch import Tensor

from condyle.config import Plane
from condyle.core import LabelScheme
from condyle.errors import UnknownName
from condyle.predict.runtimes.torch import Runtime
from condyle.prepare.slices import AXIS

__all__ = ["FLIPS", "Averaged", "Flips", "Mirrored", "View", "fewer", "views"]

Flips = Literal["none", "left-right", "all"]
FLIPS: dict[Flips, tuple[int, ...]] = {"none": (), "left-right": (0,), "all": (0, 1, 2)}
"""The axes, in RAS order, along which a scan is mirrored, alone and together."""


@dataclass(frozen=True)
class View:
    """One way to look at a scan.

    Parameters
    ----------
    plane : of the slices; None for volumes.
    mirrored : the RAS axes along which the scan is mirrored before, and the answer after.
    """

    plane: Plane | None
    mirrored: tuple[int, ...] = ()

    @property
    def seen(self) -> tuple[int, ...]:
        """The RAS axes that the network sees, in the order of its input."""
        through = None if self.plane is None else AXIS[self.plane]
        return tuple(axis for axis in range(3) if axis != through)

    def through(self, runtime: Runtime, scheme: LabelScheme) -> Runtime:
        """The runtime that looks at the scan in this way."""
        if not self.mirrored:
            return runtime
        twins = scheme.mirrored_classes() if 0 in self.mirrored else None
        return Mirrored(runtime, tuple(self.seen.index(axis) for axis in self.mirrored), twins)


def fewer(one: Flips, other: Flips) -> Flips:
    """The mirror images that are in both.

    Examples
    --------
    >>> fewer("all", "left-right")
    'left-right'
    """
    for flips in (one, other):
        if flips not in FLIPS:
            raise UnknownName("flips", flips, FLIPS)
    return min(one, other, key=list(FLIPS).index)


def views(plane: Plane | None, flips: Flips) -> tuple[View, ...]:
    """All ways to look at a scan in a plane (None: at volumes), the straight one first.

    Examples
    --------
    >>> [view.mirrored for view in views("sagittal", "all")]
    [(), (1,), (2,), (1, 2)]
    """
    axes = [axis for axis in FLIPS[flips] if axis in View(plane).seen]
    ways = chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1))
    return tuple(View(plane, way) for way in ways)


@dataclass(frozen=True)
class Mirrored:
    """A runtime that sees everything mirrored, and mirrors its answer back.

    Parameters
    ----------
    axes : of the batch's i, j[, k].
    twins : the class that each becomes where left and right change places; None: they do not.
    """

    runtime: Runtime
    axes: tuple[int, ...]
    twins: tuple[int, ...] | None = None

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]) of (B, C, i, j[, k])."""
        sides = [axis + 2 for axis in self.axes]
        found = torch.flip(self.runtime.probabilities(torch.flip(batch, sides)), sides)
        return found if self.twins is None else found[:, list(self.twins)]


@dataclass(frozen=True)
class Averaged:
    """The mean answer of several runtimes."""

    runtimes: Sequence[Runtime]

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]) of (B, C, i, j[, k])."""
        first, *more = self.runtimes
        total = first.probabilities(batch)
        for other in more:
            total = total + other.probabilities(batch)
        return total / len(self.runtimes)
