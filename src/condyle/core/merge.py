"""One label map of several masks: codes are never added, and every overlap is counted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from condyle.core.grid import Grid
from condyle.core.labels import LabelMap, LabelScheme
from condyle.core.lattice import covering, on_grid
from condyle.core.masks import mask_of
from condyle.core.volume import Volume
from condyle.errors import LabelError, OutsideGrid, OverlapError, UnknownName

__all__ = [
    "Overlap",
    "OverlapReport",
    "Policy",
    "merge",
    "scheme_of_names",
    "structure_of",
    "structures_in",
    "words_of",
]

Policy = Literal["background", "priority", "error"]

POLICIES: dict[str, str] = {
    "background": "became background",
    "priority": "went to the structure that comes first",
    "error": "were refused",
}
"""Overlap policy -> what becomes of a voxel that two structures claim."""

SIDES = {
    **dict.fromkeys(("left", "l", "lt", "li", "links", "linke", "linker", "linkes"), "left"),
    **dict.fromkeys(("right", "r", "rt", "re", "rechts", "rechte", "rechter", "rechtes"), "right"),
    **dict.fromkeys(("gauche", "sinister", "sinistra", "sin"), "left"),
    **dict.fromkeys(("droit", "droite", "dexter", "dextra", "dext"), "right"),
}
"""Words for the sides of the body in English, German, French and Latin."""
UPPER, LOWER = "A-ZÀ-ÖØ-Þ", "a-zß-öø-ÿ"
WORD = rf"[{UPPER}]?[{LOWER}]+|[{UPPER}]+(?![{LOWER}])|\d+|[^\W\d_{UPPER}{LOWER}]+"
"""A word of a name: FemurLeft has two."""
FILLERS = {"mask", "masks", "seg", "segmentation", "label", "labels", "bone"}
"""Words of a mask's name that name no structure."""

ALIASES = {
    "hip": "pelvis", "hips": "pelvis", "innominate": "pelvis",
    "tibiae": "tibia", "femora": "femur", "fibulae": "fibula", "patellae": "patella",
    "becken": "pelvis", "hüfte": "pelvis", "bassin": "pelvis", "os coxae": "pelvis",
    "schienbein": "tibia", "wadenbein": "fibula", "kniescheibe": "patella",
    "oberschenkelknochen": "femur", "fémur": "femur", "péroné": "fibula", "rotule": "patella",
}  # fmt: skip
"""Other names of a structure, asked for only where the scheme does not hold the name itself."""


@dataclass(frozen=True)
class Overlap:
    """Two structures that claim the same voxels: how many, and how much space that is."""

    first: str
    second: str
    voxels: int
    cm3: float

    def __str__(self) -> str:
        return f"{self.first} and {self.second} share {self.voxels} voxels ({self.cm3:.3g} cm³)"


@dataclass(frozen=True)
class OverlapReport:
    """What the masks of one scan claimed twice, pair by pair, and what became of it.

    `voxels` and `cm3` count each contested voxel once, also where three structures claim it.
    """

    policy: str
    pairs: tuple[Overlap, ...]
    voxels: int
    cm3: float

    def __str__(self) -> str:
        if not self.pairs:
            return "no overlaps"
        return f"{'; '.join(map(str, self.pairs))}: they {POLICIES[self.policy]}"


def merge(
    masks: Mapping[str, LabelMap | Volume],
    scheme: LabelScheme,
    overlap: Policy = "error",
    structures: Mapping[str, str] | None = None,
    grid: Grid | None = None,
) -> tuple[LabelMap, OverlapReport]:
    """One label map of a scan's masks, and a count of the voxels that two structures claim.

    Parameters
    ----------
    masks : mask name -> mask, of 0 and one other positive number. A name is a structure's, or a
        file's that `structure_of` understands; two masks of one structure (R_tibia, L_tibia) are
        joined.
        Each mask is asked for once, so the mapping may read files as it goes.
    scheme : the numbers that the structures get. Its order is the order of priority.
    overlap : what a voxel claimed by two structures becomes: ``background`` 0, ``priority`` the
        structure that comes first in the scheme, ``error`` an `OverlapError`.
    structures : mask name -> structure; left out, the names say it.
    grid : the scan's; left out, the first mask's, made larger where other masks go beyond.

    Raises
    ------
    GridMismatch, OverlapError, UnknownName, LabelError
        If a mask does not lie on the grid's lattice, two overlap under ``error``, a name is in no
        scheme, or a mask holds other numbers than 0 and one more.

    Examples
    --------
    >>> from condyle.core import KNEE, Grid
    >>> grid = Grid.regular((1, 1, 3), (10, 10, 10))
    >>> tibia = Volume(np.array([[[255, 255, 0]]]), grid)
    >>> femur = Volume(np.array([[[0, 1, 1]]]), grid)
    >>> labels, report = merge({"tibia": tibia, "femur": femur}, KNEE, "background")
    >>> labels.array.ravel().tolist()
    [1, 0, 2]
    >>> print(report)
    tibia and femur share 1 voxels (1 cm³): they became background
    """
    if overlap not in POLICIES:
        raise UnknownName("overlap policy", overlap, POLICIES)
    names = _by_structure(masks, scheme, structures or {})
    if not names:
        raise LabelError("there are no masks to merge")
    first = next(iter(masks))
    known = {first: masks[first]}
    if grid is not None:
        return _merged(masks, known, names, scheme, overlap, grid)
    grid = known[first].grid
    try:
        return _merged(masks, known, names, scheme, overlap, grid)
    except OutsideGrid:  # each was cut to its own extent
        others = (masks[key].grid for key in masks if key != first)
        grid = covering([grid, *others], f"masks beside {first}")
        return _merged(masks, known, names, scheme, overlap, grid)


def _merged(
    masks: Mapping[str, LabelMap | Volume],
    known: Mapping[str, LabelMap | Volume],
    names: Mapping[str, Sequence[str]],
    scheme: LabelScheme,
    overlap: Policy,
    grid: Grid,
) -> tuple[LabelMap, OverlapReport]:
    """The label map on a grid, of masks by structure, of which some are known already."""
    # files give arrays whose first axis is contiguous: (k, j, i) walks through them in order
    owner = np.zeros(grid.shape[::-1], np.uint8 if max(scheme.ids) < 256 else np.uint16)
    contested: dict[int, NDArray[np.intp]] = {}
    pairs: list[Overlap] = []
    for structure, keys in names.items():
        number = scheme[structure].id
        claim = np.zeros(owner.shape, bool)
        for key in keys:
            mask = on_grid(known[key] if key in known else masks[key], grid, f"mask {key}")
            claim |= mask_of(mask.array, key).T
        both = np.flatnonzero(claim & (owner > 0))
        pairs += _pairs(both, number, owner, contested, scheme, grid.voxel_volume)
        if both.size:
            contested[number] = both
        owner[claim & (owner == 0)] = number
    twice = np.unique(np.concatenate([*contested.values(), np.empty(0, np.intp)]))
    report = OverlapReport(
        overlap, tuple(pairs), int(twice.size), float(twice.size * grid.voxel_volume / 1000)
    )
    if overlap == "error" and pairs:
        raise OverlapError(
            f"{'; '.join(map(str, pairs))}: correct the masks, or choose what becomes of them with "
            "overlap 'background' or 'priority'"
        )
    if overlap == "background":
        owner.ravel()[twice] = 0
    return LabelMap(owner.T, grid, scheme), report


def _by_structure(
    masks: Iterable[str], scheme: LabelScheme, structures: Mapping[str, str]
) -> dict[str, list[str]]:
    """Structure -> the names of its masks, in the scheme's order."""
    found: dict[str, list[str]] = {name: [] for name in scheme.names}
    for key in masks:
        structure = structures.get(key) or structure_of(key, scheme)
        if structure is None:
            raise UnknownName("structure", key, scheme.names)
        found[structure].append(key)
    return {name: keys for name, keys in found.items() if keys}


def _pairs(
    both: NDArray[np.intp],
    number: int,
    owner: NDArray[np.integer],
    contested: Mapping[int, NDArray[np.intp]],
    scheme: LabelScheme,
    voxel_volume: float,
) -> list[Overlap]:
    """The overlaps of one structure with each that came before it.

    An earlier structure either owns a shared voxel or is noted in `contested` as having come
    second there itself, so that triples are counted in all their pairs.
    """
    counts = np.bincount(owner.ravel()[both], minlength=max(scheme.ids) + 1)
    for earlier, where in contested.items():
        counts[earlier] += np.intersect1d(where, both, assume_unique=True).size
    return [
        Overlap(scheme[i].name, scheme[number].name, int(n), float(n * voxel_volume / 1000))
        for i, n in ((label.id, counts[label.id]) for label in scheme.labels)
        if n
    ]


def scheme_of_names(names: Iterable[str]) -> LabelScheme:
    """A scheme for masks that come without one: their sorted names get 1, 2, ..."""
    return LabelScheme.of({name: n for n, name in enumerate(sorted(set(names)), start=1)})


def structure_of(file_name: str, scheme: LabelScheme) -> str | None:
    """The structure of a scheme that a mask's file name means; None if unknown or ambiguous.

    Sides are understood in front and behind, in words and letters. Where the scheme does not
    part left from right, both are the same structure. An index in front and a code behind, words
    with a digit, are no part of a structure's name: 6_R_tibia_9B, tibia_1.

    Examples
    --------
    >>> from condyle.core import LOWER_LIMB
    >>> [structure_of(n, LOWER_LIMB) for n in ("R_tibia.nrrd", "FemurL", "hip_left", "aorta")]
    ['tibia', 'femur', 'pelvis', None]
    """
    name = re.split(r"[/\\]", file_name)[-1]
    name = re.sub(r"(\.(seg|nii|gz|nrrd|nhdr|mha|mhd))+$", "", name, flags=re.IGNORECASE)
    for known in scheme.names:
        if known.lower() == name.lower():
            return known
    return _named(name, scheme) or _named(CODED.sub("", name), scheme)


CODED = re.compile(r"^[^\W_]*\d[^\W_]*[\W_]+|[\W_]+[^\W_]*\d[^\W_]*$")
"""An index in front of a name, or a code behind it: a word with a digit."""


def structures_in(name: str, scheme: LabelScheme) -> list[str]:
    """All structures of a scheme whose words are in a mask's name, but for parts of longer ones.

    Examples
    --------
    >>> from condyle.core import LOWER_LIMB
    >>> structures_in("6_tibia_femur", LOWER_LIMB)
    ['tibia', 'femur']
    """
    said = f" {words_of(name)[1]} "
    found = {known: f" {words_of(known)[1]} " for known in scheme.names}
    found = {known: words for known, words in found.items() if words.strip() and words in said}
    return [
        known
        for known, words in found.items()
        if not any(words != other and words in other for other in found.values())
    ]


def _named(name: str, scheme: LabelScheme) -> str | None:
    """The structure whose words, and side if it has one, are those of a name."""
    sides, words = words_of(name)
    if len(sides) > 1 or not words:
        return None
    by_words = {key: known for known in scheme.names for key in [words_of(known)]}
    for meant in (words, ALIASES.get(words, "")):
        for side in (sides, frozenset[str]()):
            if (side, meant) in by_words:
                return by_words[side, meant]
    return None


def words_of(name: str) -> tuple[frozenset[str], str]:
    """The sides of the body that a name says, and its other words, in small letters.

    Examples
    --------
    >>> sides, words = words_of("Becken_links")
    >>> set(sides), words
    ({'left'}, 'becken')
    """
    words = [word.casefold() for word in re.findall(WORD, unicodedata.normalize("NFC", name))]
    # "L5" is the fifth lumbar vertebra, no left-hand 5
    level = {at for at, (a, b) in enumerate(pairwise(words)) if a == "l" and b.isdigit()}
    side = {at for at, word in enumerate(words) if word in SIDES and at not in level}
    rest = [w for at, w in enumerate(words) if at not in side and w not in FILLERS]
    return frozenset(SIDES[words[at]] for at in side), " ".join(rest)
