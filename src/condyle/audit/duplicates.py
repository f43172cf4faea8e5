"""Scans that are one scan under two names, and cases that may be of one patient."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.audit.alignment import FLIPS
from condyle.core import Case, Volume

__all__ = ["Thumbnail", "candidates", "same_patient_names", "same_scan", "thumbnail"]

SIDE = 16
"""Cells of a thumbnail along each axis."""
ALIKE = 0.9
"""Thumbnails that agree less are of two scans: nobody need look at the voxels.

Of 208 hippocampi no two agree by more than 0.86; two voxels cropped off one leave it 0.907.
"""
SAME = 0.999
"""Correlation of the voxels of one scan that was rescaled, cropped or mirrored."""
NOISE = 0.5
"""Of the steps between neighbouring voxels: what rounding may take away or add."""
CUT = 8
"""Voxels by which one scan may have been cropped along an axis."""
FEW = 200_000
"""Voxels that are compared."""
REPEATS = 4
"""More cases than this with one name and a number each are not repeats of one patient."""

Thumbnail = NDArray[np.float32]


def thumbnail(volume: Volume) -> Thumbnail:
    """(16, 16, 16) means of a scan's cells along RAS axes, with mean 0 and length 1.

    The same whatever the type, the scale or the order of the voxels on disk.
    """
    array = volume.reoriented("RAS").array
    across, *others = (_shares(n) for n in array.shape)
    small = np.zeros((SIDE, *array.shape[1:]))
    for plane, shares in zip(array, across.T, strict=True):  # no copy of a whole scan as floats
        for cell in np.flatnonzero(shares):
            small[cell] += shares[cell] * np.nan_to_num(plane, posinf=0, neginf=0)
    small = np.einsum("iyz,jy,kz->ijk", small, *others, optimize=True)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return (small / length if length > 0 else small).astype(np.float32)


def _shares(n: int) -> NDArray[np.float64]:
    """(16, n) weights of n voxels in the means over 16 equal parts; one on a seam is shared."""
    seams = np.linspace(0, n, SIDE + 1)[:, None]
    reached = np.clip(seams - np.arange(n), 0, 1)
    return np.diff(reached, axis=0) * (SIDE / n)


def candidates(thumbnails: Sequence[Thumbnail]) -> Iterator[tuple[int, int, tuple[bool, ...]]]:
    """Pairs of scans that look alike, the most alike partner of each, and how one is mirrored."""
    if len(thumbnails) < 2:
        return
    flat = np.array([t.ravel() for t in thumbnails])
    best = np.full(len(flat), ALIKE)
    partner: dict[int, tuple[int, tuple[bool, ...]]] = {}
    for flip in FLIPS:
        turned = np.array([_turned(t, flip).ravel() for t in thumbnails])
        alike = flat @ turned.T
        np.fill_diagonal(alike, -1)
        other = alike.argmax(axis=1)
        for n in np.flatnonzero(alike[np.arange(len(flat)), other] > best):
            best[n] = alike[n, other[n]]
            partner[int(n)] = (int(other[n]), flip)
    pairs = {(min(n, m), max(n, m)): flip for n, (m, flip) in partner.items()}
    for (n, m), flip in sorted(pairs.items()):
        yield n, m, flip


def same_scan(one: Volume, other: Volume, flip: tuple[bool, ...]) -> bool:
    """Whether two scans hold the same voxels, but for scale, a crop and the flip given.

    Their noise must be the same too: two scans of one body, or of two alike, are two scans.
    """
    first = one.reoriented("RAS").array
    second = _turned(other.reoriented("RAS").array, flip)
    gaps = np.array(first.shape) - second.shape
    if np.abs(gaps).max() > CUT or min(first.shape + second.shape) <= CUT:
        return False
    lags = [range(min(0, int(g)), max(0, int(g)) + 1) for g in gaps]
    best = max(product(*lags), key=lambda lag: _agreement(first, second, lag, FEW // 20)[0])
    alike, unlike = _agreement(first, second, best, FEW)
    return alike > SAME and unlike < NOISE


def _turned(array: NDArray[Any], flip: tuple[bool, ...]) -> NDArray[Any]:
    return array[tuple(slice(None, None, -1 if mirrored else 1) for mirrored in flip)]


def _agreement(
    first: NDArray[Any], second: NDArray[Any], lag: tuple[int, ...], most: int
) -> tuple[float, float]:
    """How two scans agree where both are, when the second begins `lag` voxels further on.

    Their correlation, and what differs in the steps between neighbours as part of these steps.
    """
    start = np.maximum(lag, 0)
    stop = np.minimum(first.shape, np.array(second.shape) + lag)
    rng = np.random.default_rng(0)
    at = [rng.integers(a, b - (axis == 0), most)
          for axis, (a, b) in enumerate(zip(start, stop, strict=True))]  # fmt: skip

    def taken(array: NDArray[Any], begin: Sequence[int], step: int) -> NDArray[np.float64]:
        i, j, k = (a - b for a, b in zip(at, begin, strict=True))
        return array[i + step, j, k].astype(np.float64)

    x, y, next_x, next_y = (taken(a, b, s) for s in (0, 1)
                            for a, b in ((first, (0, 0, 0)), (second, lag)))  # fmt: skip
    steps = next_x - x
    good = np.isfinite(steps) & np.isfinite(next_y - y) & (steps != 0)
    if np.count_nonzero(good) < 100 or y[good].std() == 0 or x[good].std() == 0:
        return 0.0, 1.0
    slope = np.cov(x[good], y[good])[0, 1] / y[good].var(ddof=1)
    left = np.median(np.abs(steps - slope * (next_y - y))[good])
    alike = float(np.corrcoef(x[good], y[good])[0, 1])
    return alike, float(left / np.median(np.abs(steps[good])))


def same_patient_names(cases: Sequence[Case]) -> list[tuple[str, ...]]:
    """Groups of cases whose names differ by a side or a repeat alone, and whose patient is unsaid.

    Examples
    --------
    >>> from pathlib import Path
    >>> def case(name): return Case(name, (Path(name),), None, name, None, None)
    >>> same_patient_names([case(n) for n in ("knee_07_L", "knee_07_R", "knee_08_L", "p1", "p2")])
    [('knee_07_L', 'knee_07_R')]
    """
    unsaid = [case.id for case in cases if case.patient == case.id]
    groups: dict[str, list[str]] = {}
    for name in unsaid:
        groups.setdefault(_without_side(name), []).append(name)
    found = [tuple(names) for names in groups.values() if 2 <= len(names) <= REPEATS]
    taken = {name for names in found for name in names}
    repeats: dict[str, list[str]] = {}
    for name in unsaid:
        match = re.fullmatch(r"(.*\d.*?)[_-](?:(?:run|rep|ses|scan|tp|v|t)[_-]?)?\d", name)
        if match and name not in taken:
            repeats.setdefault(match[1], []).append(name)
    found += [tuple(names) for names in repeats.values() if 2 <= len(names) <= REPEATS]
    return sorted(found)


def _without_side(name: str) -> str:
    """A name without its word for left or right; itself where it has none."""
    words = re.split(r"(?<=[^A-Za-z])|(?=[^A-Za-z])", name)
    return "".join(
        "*" if word.lower() in ("l", "r", "lt", "rt", "left", "right") else word for word in words
    )
