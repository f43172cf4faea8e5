"""The one sequence for one scan: prepare, predict, fuse, label, post-process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.predict.ensemble import Ensemble, Member
from condyle.predict.options import InferenceOptions
from condyle.predict.passes import CountedRuntime, PartProgress, no_progress, share_of
from condyle.predict.preprocessor import PreparedScan, Span
from condyle.predict.runtimes.runtime import Runtime
from condyle.predict.runtimes.selection import Backends
from condyle.predict.specialist import handed_over, specialist_weight
from condyle.predict.views import View
from condyle.prepare.crop import Box, restore
from condyle.prepare.recipe import ProbabilityMap, fuse
from condyle.prepare.slices import AXIS, planes_of

__all__ = ["Postprocess", "Prediction", "Predictor"]

Channels = tuple[Volume, ...]
Views = tuple[View, ...]
Postprocess = Callable[[LabelMap], LabelMap]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What was predicted for a scan, on the scan's own grid.

    Parameters
    ----------
    labels : of all members together, after post-processing.
    members : of each member, plane and mirror image alone, without post-processing, if asked for.
    """

    labels: LabelMap
    members: tuple[LabelMap, ...] = ()


class Predictor:
    """An ensemble and how it predicts, for all scans of a batch.

    Parameters
    ----------
    backends : what computes its networks; None: chosen with the first scan.

    Examples
    --------
    Several scans, each by the same backend, chosen once::

        predictor = condyle.load("runs/knees").predictor(mirroring="left-right")
        labels = [predictor.predict(condyle.read(path)).labels for path in paths]
    """

    def __init__(
        self,
        ensemble: Ensemble,
        options: InferenceOptions | None = None,
        backends: Backends | None = None,
    ):
        self.ensemble, self.options = ensemble, options or InferenceOptions()
        self.backends = backends or Backends(self.options.runtime, self.options.device)
        ensemble.require(self.options)

    def predict(
        self,
        scan: Volume | Channels,
        *,
        area: Box | None = None,
        each: bool = False,
        postprocess: Postprocess | None = None,
        progress: PartProgress = no_progress,
    ) -> Prediction:
        """The structures of a scan, on its own grid.

        Parameters
        ----------
        scan : the scan, or its channels, all on one grid.
        area : the box of voxels that is predicted; outside it all is background.
        each : give each member's prediction too, by plane and mirror image.
        postprocess : what is done to the label map at last.

        Raises
        ------
        ConfigError
            If the scan has another number of channels than the networks were trained on.
        """
        channels = self.ensemble.require_channels(scan)
        inside = channels if area is None else tuple(one.cropped(*area) for one in channels)

        def labelled(classes: NDArray[np.uint8]) -> LabelMap:
            whole = classes if area is None else restore(classes, area, channels[0].grid.shape)
            return _label_map(whole, channels[0].grid, self.ensemble.scheme)

        if self._is_one_pass and not each:
            labels, members = labelled(self._class_indices(inside, progress)), ()
        else:
            maps, parts = self._member_maps(inside, each, progress)
            if self.ensemble.specialist is not None:
                maps = self._with_specialist(self.ensemble.specialist, maps, inside, progress)
            labels, members = labelled(fuse(maps)), tuple(labelled(part) for part in parts)
        return Prediction(labels if postprocess is None else postprocess(labels), members)

    def choose_backends(self, scan: Volume | Channels) -> dict[str, str]:
        """Choose what computes each member, by a scan of the batch; gives `Backends.names`.

        A predictor with these names in another process chooses nothing any more.
        """
        channels = self.ensemble.require_channels(scan)
        for member in self.ensemble.all:
            passes = member.passes(self._options_of(member))
            prepared = self._prepared(member, channels, passes[0])
            total = sum(prepared.count(views) for views in passes)
            self.backends.of(member, prepared.sample, total)
        return self.backends.names

    @property
    def _is_one_pass(self) -> bool:
        """Whether there is nothing to fuse, so that no probabilities have to be kept."""
        first, *others = self.ensemble.all
        return not others and len(first.passes(self.options)) == 1

    def _class_indices(self, channels: Channels, progress: PartProgress) -> NDArray[np.uint8]:
        """The classes that one member predicts in one pass."""
        ((prepared, runtime, views),) = self._passes(self.ensemble.members[0], channels, progress)
        return prepared.class_indices(runtime, views)

    def _member_maps(
        self, channels: Channels, each: bool, progress: PartProgress
    ) -> tuple[list[ProbabilityMap], list[NDArray[np.uint8]]]:
        """The probability maps of all members, and, if asked, the classes of each alone."""
        maps: list[ProbabilityMap] = []
        parts: list[NDArray[np.uint8]] = []
        for number, member in enumerate(self.ensemble.members):
            share = share_of(progress, number, len(self.ensemble.all))
            for prepared, runtime, views in self._passes(member, channels, share, each):
                new = prepared.probability_map(runtime, views)
                if each:
                    parts.append(fuse([new]))
                _add(maps, new)
        return maps, parts

    def _passes(
        self, member: Member, channels: Channels, progress: PartProgress, each: bool = False
    ) -> Iterator[tuple[PreparedScan, Runtime, Views]]:
        """The scan as a member gets it in each of its passes, what computes it, and the views."""
        options, prepared, plane = self._options_of(member), None, None
        passes = member.passes(options, each=each)
        runtime: Runtime | None = None
        span: Span | None = None
        for views in passes:
            if prepared is None or views[0].plane != plane:
                plane = views[0].plane
                prepared = self._prepared(member, channels, views)
                if runtime is None:
                    total = sum(prepared.count(one) for one in passes)
                    backend = self.backends.of(member, prepared.sample, total)
                    runtime = CountedRuntime(backend, total, progress)
                if options.first_look:
                    span = span or prepared.first_look(runtime, views[0])
                    prepared = prepared.within(span)
            assert runtime is not None
            yield prepared, runtime, views

    def _options_of(self, member: Member) -> InferenceOptions:
        """The specialist predicts in the planes that it was trained on."""
        alone = member is self.ensemble.specialist
        return replace(self.options, planes=None) if alone else self.options

    def _prepared(self, member: Member, channels: Channels, views: Views) -> PreparedScan:
        classes = member.scheme.mirrored_classes()
        return member.preprocessor.prepare(channels, views[0].plane, classes)

    def _with_specialist(
        self,
        specialist: Member,
        maps: list[ProbabilityMap],
        channels: Channels,
        progress: PartProgress,
    ) -> list[ProbabilityMap]:
        """The members' probability maps, and the specialist's where it takes over."""
        plane = planes_of(specialist.preprocessor.plane)[-1]
        ras = channels[0].grid.turned(turn := channels[0].grid.turn_to("RAS"))
        ends = specialist.ends_mm / ras.spacing[AXIS[plane]]
        weight = specialist_weight(turn.apply(fuse(maps)), AXIS[plane], max(ends, 1.0))
        last = share_of(progress, len(self.ensemble.members), len(self.ensemble.all))
        own = [
            prepared.probability_map(runtime, views)
            for prepared, runtime, views in self._passes(specialist, channels, last)
        ]
        return handed_over(maps, own, weight)


def _add(maps: list[ProbabilityMap], new: ProbabilityMap) -> None:
    """Put a map to the others; those of one grid and weight are summed, to save memory."""
    for old in maps:
        alike = old.box == new.box and old.weight == new.weight
        if alike and old.grid.same_as(new.grid):
            np.add(old.probabilities, new.probabilities, out=old.probabilities)
            return
    maps.append(new)


def _label_map(classes: NDArray[np.uint8], grid: Grid, scheme: LabelScheme) -> LabelMap:
    """Class indices as the label numbers of a scheme."""
    kind = np.uint16 if max(scheme.ids) > 255 else np.uint8
    return LabelMap(np.array([0, *scheme.ids], kind)[classes], grid, scheme)
