"""Several answers about one scan, of networks, planes and mirror images, joined into one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condyle.config import Plane, Planes
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError
from condyle.predict import nnunet as planned
from condyle.predict.runtimes.torch import Runtime, Telling, TellPart, share_of, tell_nobody
from condyle.predict.slices import by_slices, slabs
from condyle.predict.specialist import handed_over, share_of_specialist
from condyle.predict.views import Averaged, Flips, View, fewer, views
from condyle.predict.windows import by_windows, filled, starts
from condyle.prepare.crop import Box, restore
from condyle.prepare.recipe import Answer, Prepared, joined
from condyle.prepare.slices import AXIS, planes_of

if TYPE_CHECKING:
    from condyle.predict.segmenter import Segmenter

__all__ = ["Ensemble", "Looking"]

SAMPLES = 16
"""Slices that runtimes are compared on."""
LOOK_MM = 8.0
"""Distance between the slices of a first look."""
MARGIN_MM = 16.0
"""Added on both sides of what a first look finds."""


@dataclass(frozen=True)
class Looking:
    """How segmenters look at a scan.

    Parameters
    ----------
    planes : of the slices of 2D networks: one, or all, whose answers are averaged, each weighted
        by how fine its pixels are in the scan; None: as the network was trained.
    flips : none, left-right or all: look at mirror images too, sides swapped back, and average;
        those alone that a network has learnt from.
    device : auto, cpu, cuda or mps.
    runtime : torch, openvino, or auto: the fastest whose labels are PyTorch's in float32.
    first_look : look at a few slices first, and closely only where they show something.
    scans : how many there are to come: what is worth its start for many is not for one.
    """

    planes: Planes | None = None
    flips: Flips = "none"
    device: str = "auto"
    runtime: str = "auto"
    first_look: bool = False
    scans: int = 1


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Segmenters that answer together: of several folds, seeds, planes, or one and a specialist.

    Parameters
    ----------
    members : whose class probabilities are averaged; all find the same structures.
    specialist : one that was trained on hard slices, the ends of bones: near the ends of what the
        members find, its answer takes over from theirs.

    Raises
    ------
    ConfigError
        If they do not find the same structures in the same channels, or the specialist does not
        know which slices it was trained on.
    """

    members: tuple[Segmenter, ...]
    specialist: Segmenter | None = None

    def __post_init__(self) -> None:
        first, *others = self.members
        for other in (*others, *([self.specialist] if self.specialist else [])):
            if (other.scheme.names, other.channels) != (first.scheme.names, first.channels):
                raise ConfigError(
                    f"segmenters that answer together must find the same: {first.name} finds "
                    f"{', '.join(first.scheme.names)} in {first.channels} channel(s), {other.name} "
                    f"{', '.join(other.scheme.names)} in {other.channels}"
                )

        if self.specialist is not None and not self.specialist.ends_mm:
            raise ConfigError(
                f"{self.specialist.name} was not trained on the ends of bones: train a specialist "
                "with training.hard_slices (the preset femur-ends)"
            )

    @property
    def scheme(self) -> LabelScheme:
        """What the structures are called."""
        return self.members[0].scheme

    @property
    def channels(self) -> int:
        """Channels that a scan must have."""
        return self.members[0].channels

    def segment(
        self,
        scan: Volume | tuple[Volume, ...],
        looking: Looking | None = None,
        area: Box | None = None,
        tell: TellPart = tell_nobody,
    ) -> LabelMap:
        """The structures of a scan, on the scan's own grid; outside the area all is background."""
        return self.look(scan, looking or Looking(), area, each=False, tell=tell)[0]

    def look(
        self, scan: Volume | tuple[Volume, ...], looking: Looking, area: Box | None, each: bool,
        tell: TellPart = tell_nobody,
    ) -> tuple[LabelMap, tuple[LabelMap, ...]]:  # fmt: skip
        """The joint answer and, if asked, each look's own: by member, plane and mirror image.

        Raises
        ------
        ConfigError
            If the scan has another number of channels than the segmenters were trained on, or
            none of them can look in the planes asked for.
        """
        self.require(looking)
        channels = (scan,) if isinstance(scan, Volume) else scan
        if len(channels) != self.channels:
            raise ConfigError(
                f"this segmenter was trained on {self.channels} channel(s), "
                f"the scan has {len(channels)}"
            )
        if area is not None:
            inside = tuple(volume.cropped(*area) for volume in channels)
            found, votes = self.look(inside, looking, None, each, tell)
            grid = channels[0].grid
            whole = tuple(
                LabelMap(restore(labels.array, area, grid.shape), grid, self.scheme)
                for labels in (found, *votes)
            )
            return whole[0], whole[1:]
        source, votes = channels[0].grid, list[NDArray[np.uint8]]()
        total = len(self.members) + (self.specialist is not None)
        work = [
            _Work(member, channels, looking, each, share_of(tell, n, total))
            for n, member in enumerate(self.members)
        ]
        if len(work) == 1 and not each and self.specialist is None and work[0].is_streamed:
            return self._labels(work[0].streamed(), source), ()
        answers: list[Answer] = []
        for one in work:
            for answer in one.answers():
                if each:
                    votes.append(joined([answer]))
                _add(answers, answer)
        if self.specialist is not None:
            last = share_of(tell, len(self.members), total)
            answers = self._handed_over(answers, channels, looking, last)
        labels = self._labels(joined(answers), source)
        return labels, tuple(self._labels(vote, source) for vote in votes)

    def looks(self, looking: Looking) -> int:
        """How many answers are joined: of members, planes and mirror images."""
        return sum(len(way) for member in self.members for way in _ways(member, looking))

    def require(self, looking: Looking) -> None:
        """Raise where the planes asked for are nothing to a segmenter."""
        if looking.planes is None:
            return
        for one in self.members:
            if one.plan is not None:
                raise ConfigError(f"{one.name} sees scans as nnU-Net cuts them: leave out planes")
        if all(one.network.spatial == 3 for one in self.members):
            raise ConfigError(f"{self.members[0].name} sees volumes, not slices: leave out planes")

    def _handed_over(
        self, answers: list[Answer], channels: tuple[Volume, ...], looking: Looking, tell: TellPart
    ) -> list[Answer]:
        """The members' answers, and the specialist's where it takes over."""
        specialist, source = self.specialist, channels[0].grid
        assert specialist is not None
        turn = source.turn_to("RAS")
        axis = AXIS[planes_of(specialist.recipe.settings.plane)[-1]]
        ends = specialist.ends_mm / source.turned(turn).spacing[axis]
        share = share_of_specialist(turn.apply(joined(answers)), axis, max(ends, 1.0))
        work = _Work(specialist, channels, replace(looking, planes=None), False, tell)
        return handed_over(answers, list(work.answers()), share)

    def _labels(self, classes: NDArray[np.uint8], grid: Grid) -> LabelMap:
        kind = np.uint16 if max(self.scheme.ids) > 255 else np.uint8
        return LabelMap(np.array([0, *self.scheme.ids], kind)[classes], grid, self.scheme)


class _Work:
    """One segmenter's looks at one scan."""

    def __init__(
        self, segmenter: Segmenter, channels: tuple[Volume, ...], looking: Looking, each: bool,
        tell: TellPart = tell_nobody,
    ):  # fmt: skip
        self.segmenter, self.channels, self.looking, self.tell = segmenter, channels, looking, tell
        ways = _ways(segmenter, looking)
        self.looks = [(way,) for plane in ways for way in plane] if each else ways
        self.span: tuple[float, float] | None = None
        self.runtime: Runtime | None = None

    @property
    def is_streamed(self) -> bool:
        """Whether slices can be answered one after the other, without keeping what was thought."""
        plane = self.looks[0][0].plane
        if self.segmenter.plan is not None:
            return True
        if len(self.looks) > 1 or plane is None or self.looking.first_look:
            return False
        ras = self.channels[0].grid.turned(self.channels[0].grid.turn_to("RAS"))
        working = self.segmenter.recipe.grid_of_slices(ras, plane)
        return working.shape[AXIS[plane]] == ras.shape[AXIS[plane]]

    def streamed(self) -> NDArray[np.uint8]:
        """Class indices on the scan's own grid, slices after slices."""
        if self.segmenter.plan is not None:
            return planned.classes(*self._as_planned(self.segmenter.plan))
        look = self.looks[0]
        plane = look[0].plane
        assert plane is not None
        prepared, axis = self._prepared(look[0]), AXIS[plane]
        turn = prepared.source.turn_to("RAS")
        ras = prepared.source.turned(turn)
        classes = np.empty(ras.shape, np.uint8)
        for start, found in slabs(self._through(look), prepared.array, plane):
            stop = start + found.shape[axis + 1]
            some = tuple(slice(start, stop) if a == axis else slice(None) for a in range(3))
            grid = _cut(prepared.grid, axis, start, stop)
            classes[some] = joined([Answer(found, grid, _cut(ras, axis, start, stop))])
        return np.ascontiguousarray(turn.inverse().apply(classes))

    def answers(self) -> Iterator[Answer]:
        """What each look says."""
        if self.segmenter.plan is not None:
            yield planned.answer(*self._as_planned(self.segmenter.plan))
            return
        prepared, plane = None, None
        for look in self.looks:
            if prepared is None or look[0].plane != plane:
                plane = look[0].plane
                prepared = self._prepared(look[0])
                if self.looking.first_look and self.span is None:
                    self.span = self._first_look(prepared, look[0])
            probabilities = self._seen(look, prepared)
            weight = _fineness(prepared.source, plane)
            yield Answer(probabilities, prepared.grid, prepared.source, weight)

    def _as_planned(
        self, plan: planned.Plan
    ) -> tuple[planned.Plan, planned.Seen, NDArray[np.float32]]:
        """What nnU-Net's way of looking says of the scan; all mirror images are one look."""
        seen, looking = planned.prepared(plan, self.channels), self.looking
        count = planned.count(plan, seen, looking.flips)
        runtime = self.segmenter.runtime(
            looking.runtime, looking.device, planned.sample(plan, seen), count * looking.scans
        )
        telling = Telling(runtime, count, self.tell)
        return plan, seen, planned.look(plan, telling, seen, looking.flips)

    def _prepared(self, view: View) -> Prepared:
        prepared = self.segmenter.recipe.apply(self.channels, view.plane)
        if self.runtime is None:
            count, samples = _samples(prepared.array, view, self.segmenter.window)
            ahead = count * sum(len(look) for look in self.looks)
            kind, device = self.looking.runtime, self.looking.device
            runtime = self.segmenter.runtime(kind, device, samples, ahead * self.looking.scans)
            self.runtime = Telling(runtime, ahead, self.tell)
        return prepared

    def _through(self, look: Sequence[View]) -> Runtime:
        assert self.runtime is not None
        ways = [view.through(self.runtime, self.segmenter.scheme) for view in look]
        return ways[0] if len(ways) == 1 else Averaged(ways)

    def _seen(self, look: Sequence[View], prepared: Prepared) -> NDArray[np.float16]:
        """Class probabilities on the working grid; outside the span all is background."""
        image, depth = prepared.array, prepared.grid.shape[2]
        low, high = 0, depth
        if self.span is not None:
            low, high = int(self.span[0] * depth), int(np.ceil(self.span[1] * depth))
            if self.segmenter.window and look[0].plane is None:  # a window's worth at the least
                short = max(self.segmenter.window[2] - (high - low), 0)
                low = max(low - (short + 1) // 2, 0)
                high = min(max(high + short // 2, low + self.segmenter.window[2]), depth)
        found = self._by(self._through(look), image[..., low:high], look[0])
        if (low, high) == (0, depth):
            return found
        whole = np.zeros((found.shape[0], *image.shape[1:]), np.float16)
        whole[0] = 1
        whole[..., low:high] = found
        return whole

    def _by(self, runtime: Runtime, image: NDArray[np.float32], view: View) -> NDArray[np.float16]:
        if view.plane is not None:
            return by_slices(runtime, image, view.plane)
        return by_windows(runtime, image, self.segmenter.window)

    def _first_look(self, prepared: Prepared, view: View) -> tuple[float, float] | None:
        """From where to where, as parts of the body's length, a few slices show a structure.

        None where they show none: then no place is left out.
        """
        spacing, depth = prepared.grid.spacing, prepared.grid.shape[2]
        runtime = self._through((view,))
        steps = [1, 1, 1]
        if view.plane is None:
            found = by_windows(runtime, prepared.array, self.segmenter.window, step=1.0)
        else:
            axis = AXIS[view.plane]
            steps[axis] = max(1, round(LOOK_MM / spacing[axis]))
            some = tuple(slice(None, None, step) for step in (1, *steps))
            found = by_slices(runtime, prepared.array[some], view.plane)
        there = (found.argmax(axis=0) > 0).any(axis=(0, 1))
        slices = np.flatnonzero(there) * steps[2]
        if not slices.size:
            return None
        margin = MARGIN_MM / spacing[2]
        low, high = slices[0] - margin, slices[-1] + 1 + margin
        return max(float(low), 0.0) / depth, min(float(high), float(depth)) / depth


def _ways(segmenter: Segmenter, looking: Looking) -> list[tuple[View, ...]]:
    """The ways in which a segmenter looks at a scan, plane by plane; nnU-Net's way is one."""
    if segmenter.plan is not None:
        return [views(None, "none")]
    flat = segmenter.network.spatial == 2
    planes = planes_of(looking.planes or segmenter.recipe.settings.plane) if flat else (None,)
    return [views(plane, fewer(looking.flips, segmenter.flips)) for plane in planes]


def _samples(
    image: NDArray[np.float32], view: View, window: tuple[int, int, int] | None
) -> tuple[int, Tensor]:
    """How many slices or windows a prepared scan (C, i, j, k) has, and some of them, spread."""
    if view.plane is not None:
        stack = np.moveaxis(image, AXIS[view.plane] + 1, 0)
        some = np.unique(np.linspace(0, len(stack) - 1, SAMPLES).round().astype(int))
        return len(stack), torch.from_numpy(np.array(stack[some], order="C"))
    image, _ = filled(image, window)
    shape = image.shape[1:]
    size = window or shape
    count = int(np.prod([len(starts(n, w)) for n, w in zip(shape, size, strict=True)]))
    middle = tuple(slice((n - w) // 2, (n - w) // 2 + w) for n, w in zip(shape, size, strict=True))
    return count, torch.from_numpy(np.array(image[(slice(None), *middle)], order="C"))[None]


def _cut(grid: Grid, axis: int, start: int, stop: int) -> Grid:
    """The part of a grid between two places along an axis."""
    low, high = [0, 0, 0], list(grid.shape)
    low[axis], high[axis] = start, stop
    return grid.cropped((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _fineness(source: Grid, plane: Plane | None) -> float:
    """How much a plane counts: 1 over the mean side (mm) of the scan's pixels in it; else 1."""
    if plane is None:
        return 1.0
    ras = source.turned(source.turn_to("RAS"))
    return float((ras.spacing[AXIS[plane]] / np.prod(ras.spacing)) ** 0.5)


def _add(answers: list[Answer], new: Answer) -> None:
    """Put an answer to the others; those of one grid and weight are summed, to save memory."""
    for old in answers:
        if old.weight == new.weight and old.grid.same_as(new.grid):
            np.add(old.probabilities, new.probabilities, out=old.probabilities)
            return
    answers.append(new)
