"""Which steps clean a label map, and the label map cleaned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, Self, cast, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from condyle.config import Plane
from condyle.core import Grid, LabelMap
from condyle.errors import ConfigError, UnknownName
from condyle.refine.components import drop_small, keep_largest
from condyle.refine.holes import fill_holes
from condyle.refine.slicewise import clean_slices
from condyle.refine.smooth import smoothed

__all__ = ["Refinement", "refine", "refined"]

Mask = NDArray[np.bool_]

ACROSS = {"sagittal": "LR", "coronal": "PA", "axial": "IS"}
"""The ends of the body between which the slices of a plane lie one behind the other."""


@dataclass(frozen=True)
class Refinement:
    """The steps that clean each structure, in the order in which they are done; none by default.

    Parameters
    ----------
    slice_ratio : slice by slice, fill holes and drop parts that both have fewer pixels than this
        part of the structure's in that slice (0.01 in the lower-limb tool); 0: leave slices alone.
    slice_plane : axial, sagittal or coronal: the plane of those slices.
    smooth_mm : round the structure by a Gaussian of this standard deviation in mm; 0: do not.
    min_mm3 : drop connected parts of less than this volume in mm³; 0: keep all.
    keep_largest : keep only so many connected parts, the largest; 0: keep all.
    fill_holes : fill what the structure encloses in 3D.
    structures : name -> the steps of that structure, instead of all the above.

    Raises
    ------
    ConfigError
        If a number is negative, or the ratio is not below 1.

    Examples
    --------
    >>> steps = Refinement(keep_largest=1, structures={"fibula": Refinement(fill_holes=True)})
    >>> steps.of("tibia").keep_largest, steps.of("fibula").keep_largest
    (1, 0)
    >>> steps.to_dict()
    {'keep_largest': 1, 'structures': {'fibula': {'fill_holes': True}}}
    """

    slice_ratio: float = 0.0
    slice_plane: Plane = "axial"
    smooth_mm: float = 0.0
    min_mm3: float = 0.0
    keep_largest: int = 0
    fill_holes: bool = False
    structures: Mapping[str, Refinement] = field(
        default_factory=dict[str, "Refinement"], hash=False
    )

    def __post_init__(self) -> None:
        for name, nothing in NOTHING.items():
            value, (kind, words) = getattr(self, name), KINDS[type(nothing)]
            if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
                raise ConfigError(f"{name} must be {words}, got {value!r}")
            if not isinstance(value, str) and not 0 <= value < float("inf"):
                raise ConfigError(f"{name} must be 0 (leave out) or above, got {value}")
        if self.slice_ratio >= 1:
            raise ConfigError(
                f"slice_ratio is a part of the structure's pixels, below 1, got {self.slice_ratio}"
            )
        if self.slice_plane not in ACROSS:
            raise UnknownName("plane", self.slice_plane, get_args(Plane))
        for name, steps in self.structures.items():
            if steps.structures:
                raise ConfigError(f"the steps of {name} hold structures: those stand one below all")

    def of(self, structure: str) -> Refinement:
        """The steps of one structure, by its name."""
        return self.structures.get(structure, replace(self, structures={}))

    def to_dict(self) -> dict[str, Any]:
        """Name -> setting of what is done, as JSON values; empty where nothing is."""
        done = {n: getattr(self, n) for n in NOTHING if getattr(self, n) != NOTHING[n]}
        its = {name: steps.to_dict() for name, steps in self.structures.items()}
        return done | ({"structures": its} if its else {})

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """The refinement of `to_dict`; `UnknownName` for a step that there is not."""
        steps = dict(settings)
        tables = _table("structures", steps.pop("structures", {}))
        for name in steps:
            if name not in NOTHING:
                raise UnknownName("refinement step", name, [*NOTHING, "structures"])
        its = {name: cls.from_dict(_table(name, table)) for name, table in tables.items()}
        return cls(**steps, structures=its)


NOTHING: dict[str, Any] = {x.name: x.default for x in fields(Refinement) if x.name != "structures"}
"""Step -> the setting by which it is left out."""
KINDS: dict[type, tuple[type, str]] = {
    float: (Real, "a number"),
    int: (Integral, "a whole number"),
    bool: (bool, "true or false"),
    str: (str, "a name"),
}


def _table(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} must be a table, got {value!r}")
    return cast("Mapping[str, Any]", value)


def refine(labels: LabelMap, steps: Refinement) -> LabelMap:
    """A cleaned label map on the same grid: each structure for itself, by its steps.

    What a structure gains (filled holes, rounding) comes from background only: from another
    structure no voxel is ever taken, but a voxel that another lost may be filled. Where two
    gain the same voxel, the first in the scheme has it. Absent structures stay absent; numbers
    that the scheme does not know stay as they are.

    Raises
    ------
    UnknownName
        If there are steps for a structure that the scheme does not know.
    """
    for name in steps.structures:
        _ = labels.scheme[name]
    for each in (steps, *steps.structures.values()):
        for step in ("smooth_mm", "min_mm3"):
            if getattr(each, step):
                labels.grid.require_mm(f"`{step}`")
    before = np.ascontiguousarray(labels.array)
    boxes = find_objects(before)
    after = before.copy()
    gains: list[tuple[int, tuple[slice, ...], Mask]] = []
    for label in labels.scheme.labels:
        its, number = steps.of(label.name), label.id
        tight = boxes[number - 1] if number <= len(boxes) else None
        if tight is None or not its.to_dict():
            continue
        box = _grown(tight, before.shape)
        if its.slice_ratio:  # whether a pocket is a hole, its whole slice says
            across = _axis_across(its.slice_plane, labels.grid)
            box = tuple(side if axis == across else slice(0, before.shape[axis])
                        for axis, side in enumerate(box))  # fmt: skip
        mask = before[box] == number
        wanted = _refined(mask, its, labels.grid)
        after[box][mask & ~wanted] = 0
        gains.append((number, box, wanted & ~mask))
    for number, box, gained in gains:
        after[box][gained & (after[box] == 0)] = number
    return labels.with_array(after)


def refined(labels: LabelMap, settings: Mapping[str, Any]) -> LabelMap:
    """A label map cleaned as a segmenter's `refinement` says; as it is if that is empty.

    Examples
    --------
    What `condyle segment` writes, by hand::

        segmenter = condyle.load("runs/knees")
        labels = refined(segmenter.segment(condyle.read("scan.nii.gz")), segmenter.refinement)
    """
    return refine(labels, Refinement.from_dict(settings)) if settings else labels


def _refined(mask: Mask, steps: Refinement, grid: Grid) -> Mask:
    """One structure after all steps, each within the box of what is left."""
    if steps.slice_ratio:
        mask = clean_slices(mask, _axis_across(steps.slice_plane, grid), steps.slice_ratio)
    doing: list[Callable[[Mask], Mask]] = []
    if steps.smooth_mm:
        doing.append(lambda part: smoothed(part, steps.smooth_mm, grid.spacing))
    if steps.min_mm3:
        doing.append(lambda part: drop_small(part, steps.min_mm3, grid.voxel_volume))
    if steps.keep_largest:
        doing.append(lambda part: keep_largest(part, steps.keep_largest))
    if steps.fill_holes:
        # the one slice of a picture encloses by itself what a scan's would leave open
        flat = grid.is_picture
        doing.append(
            lambda part: fill_holes(part[:, :, 0])[:, :, None] if flat else fill_holes(part)
        )
    mask = mask.copy()
    for do in doing:
        for tight in find_objects(mask.view(np.uint8)):  # one, or none if nothing is left
            box = _grown(tight, mask.shape)
            mask[box] = do(mask[box])
    return mask


def _axis_across(plane: Plane, grid: Grid) -> int:
    """The array axis along which the slices of a plane lie one behind the other."""
    return next(a for a, letter in enumerate(grid.orientation) if letter in ACROSS[plane])


def _grown(box: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """A box with a voxel of room on all sides, within the array: no step reaches further."""
    return tuple(
        slice(max(0, side.start - 1), min(n, side.stop + 1))
        for side, n in zip(box, shape, strict=True)
    )
