"""How alike the features of regions are, and how alike those of random regions would be.

Pooled features of a network are alike wherever it looks: their cosine is near 1 even for regions
that have nothing in common. A cosine says something only beside those of regions of the same size
and shape that were put elsewhere in the same scan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from condyle.prepare.boxes import Box, box_of

__all__ = ["Pair", "cosine", "scattered", "similarities", "standing"]

Pair = tuple[str, str]
Shares = dict[str, NDArray[np.float32]]

TRIES = 60
"""Places that are tried for a region before the best of them is taken."""
ENOUGH = 0.95
"""Of its own share of tissue: what a region must have where it is put, and leave to the others."""


def cosine(one: ArrayLike, other: ArrayLike) -> float:
    """The cosine of the angle between two vectors, -1 to 1; nan if one is all zeros.

    Examples
    --------
    >>> cosine([1, 0], [3, 0]), cosine([1, 0], [0, 2])
    (1.0, 0.0)
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / size, -1, 1)) if size > 0 else float("nan")


def similarities(
    features: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> dict[Pair, dict[str, float]]:
    """Pair of regions, in their order -> layer -> cosine.

    Parameters
    ----------
    features : region -> layer -> a number for each channel.

    Examples
    --------
    >>> similarities({"a": {"Last": np.array([1.0, 0])}, "b": {"Last": np.array([2.0, 0])}})
    {('a', 'b'): {'Last': 1.0}}
    """
    return {
        (a, b): {layer: cosine(features[a][layer], features[b][layer]) for layer in features[a]}
        for a, b in combinations(features, 2)
    }


def standing(found: float, random: Sequence[float]) -> dict[str, float]:
    """Where a cosine stands among those of random regions.

    Gives their median and the range that holds 90 % of them; `percentile`, the part of them in
    per cent that is lower (ties by half); and `p`, the chance that a random pair is at least as
    far out, to either side (Phipson and Smyth 2010: never 0).

    Examples
    --------
    >>> standing(0.5, [0.9, 0.8, 0.7])["p"]
    0.5
    """
    values = np.asarray(random, np.float64)
    below, equal = int((values < found).sum()), int((values == found).sum())
    tail = min(below + equal, len(values) - below)
    low, middle, high = (float(x) for x in np.percentile(values, (5, 50, 95)))
    return {
        "median": middle,
        "low": low,
        "high": high,
        "percentile": 100 * (below + equal / 2) / len(values),
        "p": min(1.0, 2 * (tail + 1) / (len(values) + 1)),
    }


def scattered(
    shares: Mapping[str, NDArray[np.float32]],
    rest: str,
    tissue: NDArray[np.bool_],
    random: np.random.Generator,
) -> tuple[Shares, float]:
    """Regions of the same size and shape at random places of the scan, and how much they overlap.

    Each is mirrored at random along each axis and put where about as much of it is tissue as
    there was, and no other region; the best of some places where there is none such. What they
    leave is `rest`.

    Parameters
    ----------
    shares : region -> (i, j, k), how much of each voxel is the region's.
    rest : the region that is all others' remainder, background; it need not be among them.
    tissue : (i, j, k), where the scan shows more than air.

    Returns
    -------
    The regions, and the part of them that overlaps, 0 to 1.
    """
    taken = np.zeros(tissue.shape, np.float32)
    moved: Shares = {}
    crossed = whole = 0.0
    solid = [name for name in shares if name != rest]
    for name in sorted(solid, key=lambda n: -float(shares[n].sum())):
        home = box_of(shares[name])
        assert home is not None
        piece = shares[name][home]
        size = float(piece.sum())
        wanted = float(piece[tissue[home]].sum()) / size
        best: tuple[float, Box, NDArray[np.float32]] | None = None
        for _ in range(TRIES):
            turned = piece[tuple(slice(None, None, random.choice((-1, 1))) for _ in range(3))]
            place = _somewhere(turned.shape, tissue.shape, random)
            lost = max(wanted - float(turned[tissue[place]].sum()) / size, 0.0)
            lost += float((turned * taken[place]).sum()) / size
            if best is None or lost < best[0]:
                best = lost, place, turned
            if lost <= (1 - ENOUGH) * wanted:
                break
        assert best is not None
        _, place, turned = best
        here = np.zeros(tissue.shape, np.float32)
        here[place] = np.minimum(turned, 1 - taken[place])
        crossed, whole = crossed + size - float(here.sum()), whole + size
        taken += here
        moved[name] = here
    if rest in shares:
        moved[rest] = 1 - taken
    return {name: moved[name] for name in shares}, crossed / whole if whole else 0.0


def _somewhere(size: Iterable[int], shape: Iterable[int], random: np.random.Generator) -> Box:
    """A random place for a box of this size in an array of this shape."""
    i, j, k = (
        slice(start, start + side)
        for side, start in (
            (a, int(random.integers(0, b - a + 1))) for a, b in zip(size, shape, strict=True)
        )
    )
    return i, j, k
