"""How well a mask fits its scan: it is followed across its borders, and held to the other cases'.

Along short lines across the borders of each structure the scan is read. What it looks like just
inside and just outside of each structure, at each side of it, is learned from all the other cases
of the data set; so nothing needs to be known of bones, soft tissue, CT or MR. A mask that is
displaced or turned round finds inside what the others have outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import LabelMap, Volume
from condyle.prepare.intensity import sample

__all__ = ["FLIPS", "Alignment", "Borders", "alignments", "borders"]

FLIPS = tuple(product((False, True), repeat=3))
"""The eight ways to turn a mask round in its scan, along RAS axes; the first is none."""
FACES = 6000
"""Voxel faces on the borders of a case's structures that are looked at."""
FLIPPED = 2000
"""Of these, as many are tried with the mask turned round."""
REACH = 3
"""Voxels that a mask is displaced by, at most, along each axis."""
NEAR = 2
"""Voxels on each side of a border that tell inside from outside."""
CONTEXT = 2
"""Voxels before and behind one, along the line, that tell how it stands out."""
NOTHING = 255
"""The kind of a voxel outside the scan."""
SHRINK = 100.0
"""Voxels of the whole side of a structure that stand for an eighth of it, besides its own."""
EVEN = 0.05
"""Part of the distribution that is spread evenly: nothing is impossible."""
STIFF = 0.6
"""How much a displacement costs, in units of the usual loss; weak scans are not overread."""

VALUES = {
    True: np.array([-900, -700, -500, -300, -200, -150, -120, -90, -60, -30, 0, 20, 40, 60, 80,
                    110, 150, 200, 300, 400, 600, 800, 1200], float),
    False: np.linspace(-0.2, 1.2, 25)[1:-1],
}  # fmt: skip
"""Whether CT -> where kinds of voxels part: HU, or 0 to 1 from percentile 1 to 99 of the scan."""
STANDOUT = {
    True: np.array([-300, -120, -50, -15, 15, 50, 120, 300], float),
    False: np.linspace(-0.4, 0.4, 10)[1:-1],
}
"""The same for the difference between a voxel and the mean of its neighbours along the line."""
ROWS, COLUMNS = 24, 9
KINDS = ROWS * COLUMNS
SIDES = 6 * 8
"""Six directions a border faces, in eight parts of the structure's box."""

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Borders:
    """What a scan looks like across the borders of its mask; some 100 kB a case.

    Parameters
    ----------
    case : its id.
    is_ct : whether intensities are Hounsfield units.
    spacing : mm along the RAS axes.
    kinds : (faces, 6) kinds of the voxels from 2 inside the border to 3 outside.
    place : (faces,) structure, direction and part of the structure.
    flipped : the same 2 voxels to each side for the seven flips of the mask.
    """

    case: str
    is_ct: bool
    spacing: tuple[float, float, float]
    kinds: NDArray[np.uint8]
    place: Index
    flipped: tuple[tuple[NDArray[np.uint8], Index], ...]


@dataclass(frozen=True)
class Alignment:
    """How a case's mask fits its scan.

    Parameters
    ----------
    case : its id.
    fit : how much more the voxels inside the borders look like inside than those outside do, as
        mean difference of log-likelihood ratios; 0 is chance.
    flips : the same for each of `FLIPS`.
    shift : voxels along the RAS axes by which the mask would have to be moved to fit best.
    """

    case: str
    fit: float
    flips: tuple[float, ...]
    shift: tuple[float, float, float]


def borders(case: str, volume: Volume, labels: LabelMap, is_ct: bool) -> Borders | None:
    """What a scan looks like across its mask's borders; None where there are none.

    Parameters
    ----------
    volume, labels : on one grid, the scan without NaN.
    """
    volume, labels = volume.reoriented("RAS"), labels.reoriented("RAS")
    at, facing, structure, part = _faces(labels)
    if not len(at):
        return None
    scale = (0.0, 1.0)
    if not is_ct:
        low, high = np.percentile(sample(volume.array), (1, 99))
        scale = (float(low), float(max(high - low, 1e-9)))
    number = {label: n for n, label in enumerate(labels.scheme.ids)}
    numbers = np.array([number[int(s)] for s in structure])

    def place(facing: Index, part: Index) -> Index:
        return (numbers[: len(facing)] * 6 + facing) * 8 + part

    kinds = _kinds(volume, at, facing, scale, is_ct)
    few = slice(0, FLIPPED)
    flipped: list[tuple[NDArray[np.uint8], Index]] = []
    for flip in FLIPS[1:]:
        turned = np.where(flip, np.array(volume.grid.shape) - 1 - at[few], at[few])
        away = facing[few] ^ np.array(flip, int)[facing[few] // 2]
        mirrored = part[few] ^ int(np.dot(flip, (4, 2, 1)))
        seen = _kinds(volume, turned, away, scale, is_ct)
        flipped.append((seen[:, REACH - NEAR : REACH + NEAR], place(away, mirrored)))
    return Borders(case, is_ct, volume.spacing, kinds, place(facing, part), tuple(flipped))


def _faces(labels: LabelMap) -> tuple[Index, Index, Index, Index]:
    """Some faces: the voxel inside, the direction out (+x -x +y -y +z -z), structure and part.

    In random order, about as many of each structure.
    """
    from scipy.ndimage import find_objects

    array = labels.array
    found = find_objects(array)
    ignore = labels.scheme.ignore
    boxes = {n: box for n, box in enumerate(found, 1) if box is not None and n != ignore}
    if not boxes:
        none = np.empty(0, int)
        return np.empty((0, 3), int), none, none, none
    start = np.min([[s.start for s in box] for box in boxes.values()], axis=0)
    stop = np.max([[s.stop for s in box] for box in boxes.values()], axis=0)
    low, high = np.maximum(start - 1, 0), np.minimum(stop + 1, array.shape)
    inner = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    at: list[Index] = []
    facing: list[Index] = []
    for axis in range(3):
        here = [slice(None)] * 3
        next_ = [slice(None)] * 3
        here[axis], next_[axis] = slice(None, -1), slice(1, None)
        before, behind = inner[tuple(here)], inner[tuple(next_)]
        edge = before != behind
        if ignore is not None:  # nobody said that a border is there
            edge &= (before != ignore) & (behind != ignore)
        for side, inside in enumerate((before, behind)):
            where = np.argwhere(edge & (inside > 0))
            where[:, axis] += side
            at.append(where)
            facing.append(np.full(len(where), 2 * axis + side))
    voxels, faced = np.concatenate(at), np.concatenate(facing)
    structure = inner[tuple(voxels.T)].astype(int)
    kept = _some(structure, max(FACES // len(boxes), 60))
    voxels, faced, structure = voxels[kept] + low, faced[kept], structure[kept]
    middle = np.zeros((len(found) + 1, 3))
    for number, box in boxes.items():
        middle[number] = [(s.start + s.stop - 1) / 2 for s in box]
    part = (voxels > middle[structure]) @ np.array([4, 2, 1])
    return voxels, faced, structure, part


def _some(structure: Index, most: int) -> Index:
    """Indices of at most so many faces of each structure, in random (always the same) order."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(structure))
    grouped = order[np.argsort(structure[order], kind="stable")]
    ordered = structure[grouped]
    first = np.searchsorted(ordered, ordered)
    return rng.permutation(grouped[np.arange(len(grouped)) - first < most])


def _kinds(
    volume: Volume, at: Index, facing: Index, scale: tuple[float, float], is_ct: bool
) -> NDArray[np.uint8]:
    """(faces, 6) kinds of voxel along the line out of each face, each the mean of 3 by 3 across.

    Neighbours across are left out along an axis whose voxels are twice as long as the shortest.
    """
    array, spacing = volume.array, np.array(volume.spacing)
    steps = np.arange(1 - REACH - CONTEXT, REACH + CONTEXT + 1)
    axis, sign = facing // 2, 1 - 2 * (facing % 2)
    out = np.zeros((len(at), 3), int)
    out[np.arange(len(at)), axis] = sign
    lines = at[:, None] + steps[None, :, None] * out[:, None]
    wide = [(-1, 0, 1) if s < 2 * spacing.min() else (0,) for s in spacing]
    total = np.zeros(lines.shape[:2])
    count = np.zeros((len(at), 1))
    limit = np.array(array.shape) - 1
    for move in product(*wide):
        across = np.equal(np.take(move, axis), 0)  # no step along the line itself
        near = np.clip(lines[across] + move, 0, limit)
        total[across] += array[near[..., 0], near[..., 1], near[..., 2]]
        count[across] += 1
    values = (total / count - scale[0]) / scale[1]
    inner = values[:, CONTEXT:-CONTEXT]
    n = inner.shape[1]
    around = sum(values[:, s : s + n] for s in range(2 * CONTEXT + 1) if s != CONTEXT)
    kinds = COLUMNS * np.digitize(inner, VALUES[is_ct])
    kinds += np.digitize(around / (2 * CONTEXT) - inner, STANDOUT[is_ct])
    beyond = np.any((lines < 0) | (lines > limit), axis=2)
    return np.where(beyond[:, CONTEXT:-CONTEXT], NOTHING, kinds).astype(np.uint8)


def alignments(cases: Sequence[Borders], structures: int) -> list[Alignment]:
    """How each case's mask fits its scan, by what the other cases' masks have inside and outside.

    Parameters
    ----------
    cases : two or more, all CT or none.
    structures : how many there are in the data set's scheme.
    """
    total = np.zeros((structures * SIDES, 2, KINDS), np.float32)
    for case in cases:
        np.add.at(total, *_counted(case.kinds[:, REACH - NEAR : REACH + NEAR], case.place))
    scores: list[tuple[float, ...]] = []
    curves: list[NDArray[np.float64]] = []
    for case in cases:
        odds = _Odds(total, case)
        scores.append(odds.scores())
        curves.append(odds.curves())
    shifts = _best(np.array(curves))
    return [
        Alignment(case.case, score[0], score, (float(x), float(y), float(z)))
        for case, score, (x, y, z) in zip(cases, scores, shifts, strict=True)
    ]


def _counted(kinds: NDArray[np.uint8], place: Index) -> tuple[tuple[Any, ...], float]:
    """Where to count one for each voxel near a border: place, inside or outside, kind."""
    known = kinds != NOTHING
    places = np.broadcast_to(place[:, None], kinds.shape)[known]
    outside = np.broadcast_to(np.arange(2 * NEAR) >= NEAR, kinds.shape)[known].astype(int)
    return (places, outside, kinds[known]), 1.0


class _Odds:
    """Log-odds that a voxel of some kind, at some place, is inside, by all cases but one."""

    def __init__(self, total: NDArray[np.float32], case: Borders):
        from scipy.ndimage import gaussian_filter

        self.case = case
        used = np.unique(np.concatenate([case.place, *(p for _, p in case.flipped)]))
        sides = np.unique(used // 8)
        places = (sides[:, None] * 8 + np.arange(8)).ravel()
        self.row = np.full(len(total), -1)
        self.row[places] = np.arange(len(places))
        counts = total[places].copy()
        near = case.kinds[:, REACH - NEAR : REACH + NEAR]
        np.subtract.at(counts, *_counted(near, self.row[case.place]))
        grid = counts.reshape(len(sides), 8, 2, ROWS, COLUMNS)
        grid = gaussian_filter(grid, 1, axes=(3, 4)).reshape(len(sides), 8, 2, KINDS)
        whole = grid.sum(axis=1, keepdims=True)
        grid = grid + SHRINK * whole / np.maximum(whole.sum(-1, keepdims=True), 1e-9)
        parts = grid / np.maximum(grid.sum(-1, keepdims=True), 1e-9) + EVEN / KINDS
        odds = np.log(parts[:, :, 0] / parts[:, :, 1]).reshape(len(places), KINDS)
        # a last column for what is outside the scan
        self.table = np.pad(odds, ((0, 0), (0, NOTHING + 1 - KINDS)))

    def of(self, kinds: NDArray[np.uint8], place: Index) -> NDArray[np.float64]:
        return self.table[self.row[place][:, None], kinds]

    def scores(self) -> tuple[float, ...]:
        """The fit of the mask as it is, and turned round in seven ways."""
        near = self.case.kinds[:, REACH - NEAR : REACH + NEAR]
        ways = ((near, self.case.place), *self.case.flipped)
        found = [self.of(kinds, place) for kinds, place in ways]
        return tuple(float(o[:, :NEAR].mean() - o[:, NEAR:].mean()) for o in found)

    def curves(self) -> NDArray[np.float64]:
        """(3, 7) odds gained by moving the mask by -3 to 3 voxels along each axis, a face."""
        odds = self.of(self.case.kinds, self.case.place)
        facing = self.case.place // 8 % 6
        gains = np.zeros((3, 2 * REACH + 1))
        for side in range(6):
            line = odds[facing == side].sum(axis=0)
            outward = np.cumsum(line[REACH:])
            inward = -np.cumsum(line[:REACH][::-1])
            gain = np.concatenate([inward[::-1], [0.0], outward])
            gains[side // 2] += gain if side % 2 == 0 else gain[::-1]
        return gains / len(odds)


def _best(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cases, 3) voxels at which the curves (cases, 3, 7) peak, at fractions of a voxel.

    A cost grows with the square of the way, in units of the median curve's, so that flat curves
    say little; what it takes from a usual curve's displacement is given back.
    """
    steps = np.arange(-REACH, REACH + 1)
    middle = curves[:, :, REACH]
    bend = np.median(middle - (curves[:, :, REACH - 1] + curves[:, :, REACH + 1]) / 2, axis=0)
    free = _peaks(curves)
    held = (1 + STIFF) * _peaks(curves - STIFF * np.maximum(bend, 0)[:, None] * steps**2)
    nearer = np.where(np.abs(free) < np.abs(held), free, held)
    return np.where(bend > 1e-6, nearer, 0.0)


def _peaks(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the parabola through each curve's highest point and its neighbours is highest."""
    top = np.clip(curves.argmax(axis=2), 1, 2 * REACH - 1)
    before, here, behind = (
        np.take_along_axis(curves, top[..., None] + step, 2)[..., 0] for step in (-1, 0, 1)
    )
    bend = 2 * here - before - behind
    part = np.where(bend > 0, 0.5 * (behind - before) / np.maximum(bend, 1e-12), 0.0)
    return top - REACH + np.clip(part, -1, 1)
