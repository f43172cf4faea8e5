"""Scans through a network of nnU-Net's, prepared and predicted as nnU-Net does it.

After Isensee et al. 2021 (Nat Methods 18:203), version 2.8. All that it does with its scores on
the way back is linear, and classes share what softmax takes from scores: so it is done with the
logarithms of the probabilities that a runtime gives, and the same class wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from condyle.config import Plane, Planes, Section
from condyle.core import Grid, Volume
from condyle.predict.passes import starts
from condyle.predict.preprocessor import Span
from condyle.predict.runtimes.runtime import Runtime
from condyle.predict.views import Mirroring, View, views
from condyle.prepare.boxes import box_of
from condyle.prepare.recipe import ProbabilityMap

__all__ = ["NnunetPlan", "NnunetPreprocessing", "PreparedForNnunet"]

Array = NDArray[Any]
ANISOTROPIC = 3
"""A grid whose coarsest spacing is more than so many times its finest is resampled in two steps."""
STEP = 0.5
"""Windows follow one another by this part of their length."""
WINDOWS_AT_ONCE = 8 * 256 * 256
"""Pixels of the slices that go through a network together."""
BLOCK_BYTES = 2**28


class NnunetPlan(Section):
    """What nnU-Net's plans say of a trained model. Axes are in nnU-Net's order: (k, j, i), turned.

    `spacing` and `patch` have two entries for networks that see slices across the first axis.
    """

    architecture: dict[str, Any]
    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    turn: tuple[int, int, int] = (0, 1, 2)
    normalization: tuple[str, ...]
    masked: tuple[bool, ...]
    intensities: tuple[dict[str, float], ...]
    orders: tuple[int, int] = (3, 0)
    """Of the splines that resample scans: in general, and across thick slices."""
    separate: bool | None = None
    """Whether thick slices are resampled in two steps; None: where spacings differ much."""
    axes: Literal["file", "RAS"] = "file"
    """The axes that it was trained in: those of each file, or RAS."""
    mirror: tuple[int, ...] = ()
    """The axes along which mirror images may be predicted."""


class NnunetPreprocessing(Section):
    """The plan of a model of nnU-Net's, which its scans follow: a `Preprocessor`."""

    kind: Literal["nnunet"] = "nnunet"
    plan: NnunetPlan

    @property
    def plane(self) -> Planes:
        """Axial, as the slices of most scans are; a plan counts axes, and names no plane."""
        return "axial"

    @property
    def without_planes(self) -> str:
        """Why the plane of slices cannot be chosen."""
        return "is an imported nnU-Net model, whose planes are fixed"

    def passes(
        self, planes: Planes | None, mirroring: Mirroring, *, each: bool = False
    ) -> tuple[tuple[View, ...], ...]:
        """All mirror images in one pass, for nnU-Net averages their scores."""
        return (views(None, mirroring),)

    def prepare(
        self,
        channels: tuple[Volume, ...],
        plane: Plane | None,
        mirrored_classes: tuple[int, ...],
    ) -> PreparedForNnunet:
        """The scan as nnU-Net prepares it; it never learns from swapped sides."""
        return _prepared(self.plan, channels)


@dataclass(frozen=True, eq=False)
class PreparedForNnunet:
    """A scan as nnU-Net's network gets it, and the way back: a `PreparedScan`.

    Parameters
    ----------
    array : (C, k, j, i) float32 in the plan's axes and spacing, without the empty border.
    inner : its shape before it was resampled.
    box : of what is not empty, in the plan's axes.
    whole : the shape of the scan in the plan's axes.
    kinds : how each axis is resampled on the way back: linear, or nearest.
    source : the scan's own grid.
    """

    plan: NnunetPlan
    array: NDArray[np.float32]
    inner: tuple[int, ...]
    box: tuple[slice, ...]
    whole: tuple[int, ...]
    kinds: tuple[str, ...]
    source: Grid

    def count(self, views: tuple[View, ...]) -> int:
        """How many windows a pass has, mirror images too; those of each slice count apart."""
        patch = self.plan.patch
        sides = zip(self.array.shape[-len(patch) :], patch, strict=True)
        windows = int(np.prod([len(starts(n, p, STEP)) for n, p in sides]))
        slices = self.array.shape[1] if len(patch) == 2 else 1
        return windows * len(self._mirrored(views)) * slices

    def sample(self) -> Tensor:
        """A window (1, C, ...) from the middle."""
        data, _ = _padded(self.array, self.plan.patch)
        sides = zip(data.shape[-len(self.plan.patch) :], self.plan.patch, strict=True)
        window = tuple(slice((n - p) // 2, (n - p) // 2 + p) for n, p in sides)
        flat = len(self.plan.patch) == 2
        some = data[:, data.shape[1] // 2, *window] if flat else data[:, *window]
        return torch.from_numpy(np.ascontiguousarray(some))[None]

    def first_look(self, runtime: Runtime, view: View) -> Span:
        """The whole scan: nnU-Net has no first look."""
        return 0.0, 1.0

    def within(self, span: Span) -> PreparedForNnunet:
        """The same scan: nnU-Net always predicts the whole."""
        return self

    def probability_map(self, runtime: Runtime, views: tuple[View, ...]) -> ProbabilityMap:
        """Class probabilities on the scan's own grid, to be fused with those of others."""
        logs = self._logs(runtime, views)
        full = np.zeros((logs.shape[0], *self.whole), np.float16)
        full[0] = 1
        inner = full[(slice(None), *self.box)]
        for part, scores in self._enlarged(logs):
            inner[:, part] = scores.softmax(dim=0).numpy()
        turn = self.source.turn_to("RAS")
        own = np.stack([turn.apply(self._own_axes(one)) for one in full])
        return ProbabilityMap(own, self.source.turned(turn), self.source)

    def class_indices(self, runtime: Runtime, views: tuple[View, ...]) -> NDArray[np.uint8]:
        """The classes on the scan's own grid: of the interpolated scores, the largest wins."""
        found = np.zeros(self.whole, np.uint8)
        block = np.empty(self.inner, np.uint8)
        for part, scores in self._enlarged(self._logs(runtime, views)):
            block[part] = scores.argmax(dim=0).to(torch.uint8).numpy()
        found[self.box] = block
        return self._own_axes(found)

    def _logs(self, runtime: Runtime, views: tuple[View, ...]) -> NDArray[np.float32]:
        """Logarithms of class probabilities (classes, ...), up to their common sum.

        Windows follow one another by half their length; each counts most in its middle.
        """
        patch, mirrored = self.plan.patch, self._mirrored(views)
        data, inside = _padded(self.array, patch)
        flat, weight = len(patch) == 2, _gaussian(patch)
        sides = [starts(n, p, STEP) for n, p in zip(data.shape[-len(patch) :], patch, strict=True)]
        total: Tensor | None = None
        shares = torch.zeros(data.shape[-len(patch) :])
        together = max(1, WINDOWS_AT_ONCE // int(np.prod(patch))) if flat else 1
        depth = data.shape[1] if flat else 1
        for places in product(*sides):
            window = tuple(slice(p, p + n) for p, n in zip(places, patch, strict=True))
            shares[window] += weight
            for start in range(0, depth, together):
                if flat:
                    batch = np.moveaxis(data[:, start : start + together, *window], 1, 0)
                    there = (slice(None), slice(start, start + together), *window)
                else:
                    batch, there = data[:, *window][None], (slice(None), *window)
                found = _mean_logs(runtime, torch.from_numpy(np.ascontiguousarray(batch)), mirrored)
                found = found.transpose(0, 1) if flat else found[0]
                if total is None:
                    total = torch.zeros((found.shape[0], *data.shape[1:]))
                total[there] += found * weight
        assert total is not None
        return (total / shares).numpy()[(slice(None), *inside)]

    def _mirrored(self, views: tuple[View, ...]) -> list[tuple[int, ...]]:
        """The axes of a window that each view is mirrored along, as in its training."""
        turn, plan = self.source.turn_to("RAS"), self.plan
        axes: dict[int, int] = {}
        for ras in range(3):
            own = ras if plan.axes == "RAS" else turn.order[ras]
            axes[ras] = plan.turn.index(2 - own) - (3 - len(plan.patch))
        found: set[tuple[int, ...]] = set()
        for view in views:
            own = {axes[axis] for axis in view.mirrored}
            if own <= set(plan.mirror):
                found.add(tuple(axis for axis in plan.mirror if axis in own))
        return sorted(found, key=lambda sides: (len(sides), [plan.mirror.index(s) for s in sides]))

    def _enlarged(self, logs: NDArray[np.float32]) -> Iterator[tuple[slice, Tensor]]:
        """Slices along the first axis, and the scores (classes, ...) there, as many as before."""
        rows = [
            None if a == b else MATRICES[kind](a, b)
            for kind, a, b in zip(self.kinds, logs.shape[1:], self.inner, strict=True)
        ]
        depth, scores = self.inner[0], torch.from_numpy(logs)
        step = max(1, BLOCK_BYTES // (4 * logs.shape[0] * int(np.prod(self.inner[1:]))))
        for start in range(0, depth, step):
            part = slice(start, min(start + step, depth))
            if rows[0] is None:
                some = scores[:, part]
            else:
                used = rows[0][part]
                near = used.abs().sum(dim=0).nonzero()
                low, high = int(near[0]), int(near[-1]) + 1
                some = torch.einsum("ab,cbjk->cajk", used[:, low:high], scores[:, low:high])
            if rows[1] is not None:
                some = rows[1] @ some
            if rows[2] is not None:
                some = some @ rows[2].T
            yield part, some

    def _own_axes(self, found: Array) -> Array:
        """An array in the plan's axes in those of the scan."""
        back = found.transpose(np.argsort(self.plan.turn)).transpose(2, 1, 0)
        if self.plan.axes == "RAS":
            back = self.source.turn_to("RAS").inverse().apply(back)
        return np.ascontiguousarray(back)


def _prepared(plan: NnunetPlan, channels: Sequence[Volume]) -> PreparedForNnunet:
    """A scan's channels, all on one grid, as nnU-Net's network gets them."""
    from scipy.ndimage import binary_fill_holes

    grid = channels[0].grid
    turn = grid.turn_to("RAS")
    arrays = [np.asarray(volume.array, np.float32) for volume in channels]
    if plan.axes == "RAS":
        arrays, spacing = [turn.apply(a) for a in arrays], grid.turned(turn).spacing
    else:
        spacing = grid.spacing
    own = [spacing[2 - axis] for axis in plan.turn]
    data = np.stack([a.transpose(2, 1, 0).transpose(plan.turn) for a in arrays])
    whole = data.shape[1:]
    filled = np.asarray(binary_fill_holes((data != 0).any(axis=0)))
    box = box_of(filled) or (slice(None),) * 3
    data, filled = data[(slice(None), *box)].copy(), filled[box]
    for number, channel in enumerate(data):
        mask = filled if plan.masked[number] else None
        rule = NORMALIZATIONS[plan.normalization[number]]
        data[number] = rule(channel, mask, plan.intensities[number])
    wanted = [own[0], *plan.spacing] if len(plan.spacing) == 2 else [*plan.spacing]
    inner = data.shape[1:]
    shape = tuple(round(a / b * n) for a, b, n in zip(own, wanted, inner, strict=True))
    thick = _thick_axis(own, wanted, plan.separate)
    array = np.stack([_resampled(c, shape, plan.orders, thick) for c in data])
    back = _thick_axis(wanted, own, plan.separate)
    kinds = tuple("nearest" if axis == back else "linear" for axis in range(3))
    return PreparedForNnunet(plan, array.astype(np.float32), inner, box, whole, kinds, grid)


def _zscore(image: Array, mask: Array | None, _: Mapping[str, float]) -> Array:
    some = image if mask is None else image[mask]
    scaled = (image - some.mean()) / max(float(some.std()), 1e-8)
    return scaled if mask is None else np.where(mask, scaled, image)


def _ct(image: Array, _: Array | None, known: Mapping[str, float]) -> Array:
    clipped = np.clip(image, known["percentile_00_5"], known["percentile_99_5"])
    return (clipped - known["mean"]) / max(known["std"], 1e-8)


def _from_0_to_1(image: Array, _: Array | None, known: Mapping[str, float]) -> Array:
    shifted = image - image.min()
    return shifted / max(float(shifted.max()), 1e-8)


def _as_it_is(image: Array, _: Array | None, known: Mapping[str, float]) -> Array:
    return image


NORMALIZATIONS: dict[str, Callable[[Array, Array | None, Mapping[str, float]], Array]] = {
    "ZScoreNormalization": _zscore,
    "CTNormalization": _ct,
    "RescaleTo01Normalization": _from_0_to_1,
    "NoNormalization": _as_it_is,
}
"""nnU-Net's name -> what it does with a channel, its mask and what is known of the data set."""


def _thick_axis(old: Sequence[float], new: Sequence[float], separate: bool | None) -> int | None:
    """The axis along which slices are so thick that they are resampled by themselves."""
    if separate is False:
        return None
    for spacing in (old, new):
        if separate or max(spacing) / min(spacing) > ANISOTROPIC:
            thickest = [axis for axis in range(3) if spacing[axis] == max(spacing)]
            return thickest[0] if len(thickest) == 1 else None
    return None


def _resampled(
    array: NDArray[Any], shape: tuple[int, ...], orders: tuple[int, int], thick: int | None
) -> Array:
    """A channel on another number of voxels, by splines; nothing is smoothed before."""
    from scipy.ndimage import map_coordinates
    from skimage.transform import resize

    if array.shape == shape:
        return array
    order, across = orders
    wide = array.astype(float)
    if thick is None:
        return np.asarray(resize(wide, shape, order, mode="edge", anti_aliasing=False))
    slices = np.moveaxis(wide, thick, 0)
    flat = tuple(n for axis, n in enumerate(shape) if axis != thick)
    done: Array = np.stack(
        [np.asarray(resize(s, flat, order, mode="edge", anti_aliasing=False)) for s in slices]
    )
    if len(done) != shape[thick]:
        ratio = len(done) / shape[thick]
        places = np.mgrid[: shape[thick], : flat[0], : flat[1]].astype(float)
        places[0] = ratio * (places[0] + 0.5) - 0.5
        done = np.asarray(map_coordinates(done, places, order=across, mode="nearest"))
    return np.moveaxis(done, 0, thick)


def _padded(array: NDArray[np.float32], patch: Sequence[int]) -> tuple[Array, tuple[slice, ...]]:
    """The array with zeros about it, so that a window fits; and where it lies therein."""
    missing = [0] * (4 - len(patch))
    missing += [max(p - n, 0) for p, n in zip(patch, array.shape[-len(patch) :], strict=True)]
    padding = [(m // 2, m - m // 2) for m in missing]
    inside = tuple(slice(a, a + n) for (a, _), n in zip(padding, array.shape, strict=True))
    return (np.pad(array, padding) if any(missing) else array), inside[1:]


def _gaussian(patch: Sequence[int]) -> Tensor:
    """How much each place of a window counts, as nnU-Net computes it."""
    from scipy.ndimage import gaussian_filter

    impulse = np.zeros(patch)
    impulse[tuple(n // 2 for n in patch)] = 1
    found = gaussian_filter(impulse, [n / 8 for n in patch], 0, mode="constant", cval=0)
    found = (10 * found / found.max()).astype(np.float16).astype(np.float32)
    found[found == 0] = found[found > 0].min()
    return torch.from_numpy(found)


def _mean_logs(runtime: Runtime, batch: Tensor, mirrored: Sequence[tuple[int, ...]]) -> Tensor:
    """Logarithms of class probabilities of a batch (B, C, ...), averaged over mirror images."""
    total: Tensor | None = None
    for axes in mirrored:
        sides = [axis + 2 for axis in axes]
        found = runtime.probabilities(torch.flip(batch, sides) if sides else batch)
        found = found.clamp(min=torch.finfo(torch.float32).tiny).log()
        found = torch.flip(found, sides) if sides else found
        total = found if total is None else total + found
    assert total is not None
    return total / len(mirrored)


def _linear(old: int, new: int) -> Tensor:
    """(new, old) weights of linear interpolation whose ends stay where they are."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return torch.from_numpy(np.clip(1 - np.abs(np.arange(old) - places[:, None]), 0, None)).float()


def _nearest(old: int, new: int) -> Tensor:
    places = np.clip(np.floor((np.arange(new) + 0.5) * old / new), 0, old - 1)
    return torch.from_numpy(np.eye(old, dtype=np.float32)[places.astype(int)])


MATRICES: dict[str, Callable[[int, int], Tensor]] = {"linear": _linear, "nearest": _nearest}
