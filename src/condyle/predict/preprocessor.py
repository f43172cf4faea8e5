"""What stands between a scan and a network: the same few questions for every kind of model."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from condyle.config import Plane, Planes
from condyle.core import Volume
from condyle.predict.runtimes.runtime import Runtime
from condyle.predict.views import Mirroring, View
from condyle.prepare.recipe import ProbabilityMap

__all__ = ["PreparedScan", "Preprocessor", "Span"]

Span = tuple[float, float]
"""From where to where along the body's length, feet 0 and head 1."""


class Preprocessor(Protocol):
    """How scans become what a network gets, and how its probabilities come back.

    There are two: `condyle.predict.recipe.RecipePreprocessing` for the networks that Condyle
    trains, and `condyle.predict.nnunet.NnunetPreprocessing` for imported models of nnU-Net.
    """

    @property
    def plane(self) -> Planes:
        """The plane of the slices that the network was trained on; of volumes, axial or another."""
        ...

    @property
    def without_planes(self) -> str:
        """Why the plane of slices cannot be chosen; '' where it can."""
        ...

    def passes(
        self, planes: Planes | None, mirroring: Mirroring, *, each: bool = False
    ) -> tuple[tuple[View, ...], ...]:
        """The views of a scan to predict: those of one pass are averaged as they are computed.

        Parameters
        ----------
        planes : of the slices; None: as the network was trained.
        each : one pass a view, where views can be separated.
        """
        ...

    def prepare(
        self,
        channels: tuple[Volume, ...],
        plane: Plane | None,
        mirrored_classes: tuple[int, ...],
    ) -> PreparedScan:
        """The scan as the network gets it.

        Parameters
        ----------
        channels : all on one grid.
        plane : of a pass.
        mirrored_classes : the class that each becomes where left and right change places.
        """
        ...


class PreparedScan(Protocol):
    """A scan as a network gets it, and the way back to the scan's own grid."""

    def count(self, views: tuple[View, ...]) -> int:
        """How many slices or windows a pass has, mirror images too."""
        ...

    def sample(self) -> Tensor:
        """Some of the slices or windows (B, C, i, j[, k]), to compare runtimes on."""
        ...

    def first_look(self, runtime: Runtime, view: View) -> Span:
        """Where a few slices show a structure, with a margin; (0, 1) where that is not known."""
        ...

    def within(self, span: Span) -> Self:
        """The same scan, of which only a part is predicted: beyond it all is background."""
        ...

    def probability_map(self, runtime: Runtime, views: tuple[View, ...]) -> ProbabilityMap:
        """The class probabilities of a pass, to be fused with those of others."""
        ...

    def class_indices(self, runtime: Runtime, views: tuple[View, ...]) -> NDArray[np.uint8]:
        """The classes of a pass alone, on the scan's own grid, in as little memory as there is."""
        ...
