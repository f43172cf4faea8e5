"""A segmentation: label numbers on a grid, and what the numbers stand for."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from condyle.core.grid import Grid
from condyle.core.volume import OnGrid
from condyle.errors import ConfigError, LabelError, UnknownName

__all__ = ["KNEE", "LOWER_LIMB", "SCHEMES", "Label", "LabelMap", "LabelScheme", "whole_numbers"]

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167),
    (240, 228, 66), (0, 114, 178), (213, 94, 0), (148, 103, 189),
)  # fmt: skip
"""Okabe and Ito's colours, which colour-blind readers tell apart, and one more."""
GREY: Colour = (128, 128, 128)

IGNORED = "ignore"
"""The name by which nnU-Net's tables tell the number of voxels that nobody labelled."""

SIDES = (
    ("left", "right"), ("l", "r"), ("lt", "rt"), ("links", "rechts"), ("linke", "rechte"),
    ("linker", "rechter"), ("linkes", "rechtes"), ("li", "re"), ("gauche", "droite"),
    ("gauche", "droit"), ("sinister", "dexter"), ("sinistra", "dextra"), ("sin", "dext"),
)  # fmt: skip
"""Words for the two sides of the body, in English, German, French and Latin."""


@dataclass(frozen=True)
class Label:
    """One structure: its number in the array, its name and its colour (red, green, blue)."""

    id: int
    name: str
    colour: Colour


@dataclass(frozen=True)
class LabelScheme:
    """The structures that the numbers 1, 2, ... stand for; 0 is always background.

    Parameters
    ----------
    labels : the structures.
    ignore : the number of voxels that nobody labelled, be they a structure's or background's;
        None where all are labelled. It is not a structure: it is neither trained on nor scored.

    Examples
    --------
    >>> scheme = LabelScheme.of({"femur_left": 1, "femur_right": 2, "sacrum": 3})
    >>> scheme.names
    ('femur_left', 'femur_right', 'sacrum')
    >>> scheme.mirrored()          # the label each becomes in a left-right mirror image
    {1: 2, 2: 1, 3: 3}
    """

    labels: tuple[Label, ...]
    ignore: int | None = None

    def __post_init__(self) -> None:
        ids, names = [x.id for x in self.entries], [x.name for x in self.entries]
        if not self.labels:
            raise LabelError("a label scheme needs at least one structure")
        if len(set(ids)) < len(ids) or len(set(names)) < len(names):
            raise LabelError(f"label numbers and names must be unique, got {self.to_dict()}")
        if min(ids) < 1 or max(ids) > 65535:
            raise LabelError(f"label numbers must lie between 1 and 65535, got {sorted(ids)}")

    @classmethod
    def of(cls, ids: Mapping[str, int], colours: Mapping[str, Colour] | None = None) -> Self:
        """A scheme from name -> number, of which 'ignore' is that of voxels nobody labelled.

        An entry for 0, background, is ignored.
        """
        colours = colours or {}
        rows = [(n, int(i)) for n, i in sorted(ids.items(), key=lambda item: item[1]) if i != 0]
        labels = (Label(i, n, colours.get(n, default_colour(i))) for n, i in rows if n != IGNORED)
        return cls(tuple(labels), dict(rows).get(IGNORED))

    @classmethod
    def given(cls, scheme: LabelScheme | Mapping[str, int] | str) -> LabelScheme:
        """A scheme, by itself, by its names and numbers, or by the name of one that is built in.

        Examples
        --------
        >>> LabelScheme.given("knee").names, LabelScheme.given({"patella": 3}).ids
        (('tibia', 'femur'), (3,))
        """
        if isinstance(scheme, str):
            if scheme not in SCHEMES:
                raise UnknownName("scheme", scheme, SCHEMES)
            return SCHEMES[scheme]
        if isinstance(scheme, LabelScheme):
            return scheme
        try:
            return cls.of(scheme)
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(
                f'a scheme says what numbers stand for: give {{"femur": 1}}, not {scheme!r}',
                setting="scheme",
            ) from error

    @classmethod
    def numbered(cls, ids: Iterable[int]) -> Self:
        """A scheme for bare numbers: structures called label_1, label_2, ..."""
        return cls.of({f"label_{i}": int(i) for i in ids if i != 0})

    @property
    def has_bare_numbers(self) -> bool:
        """Whether it has numbers alone, and no names of its own."""
        return self.names == tuple(f"label_{number}" for number in self.ids)

    @property
    def ids(self) -> tuple[int, ...]:
        """The numbers of the structures, without background."""
        return tuple(label.id for label in self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the structures, without background."""
        return tuple(label.name for label in self.labels)

    @property
    def entries(self) -> tuple[Label, ...]:
        """All that a file may hold besides background: structures, and last the ignored number."""
        return self.labels + (() if self.ignore is None else (Label(self.ignore, IGNORED, GREY),))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: str | int) -> Label:
        for label in self.labels:
            if key in (label.id, label.name):
                return label
        raise UnknownName("structure", key, self.names if isinstance(key, str) else self.ids)

    def to_dict(self) -> dict[str, int]:
        """Name -> number, in the scheme's order; 'ignore' is the last if there is one."""
        return {entry.name: entry.id for entry in self.entries}

    def extended(self, ids: Iterable[int]) -> LabelScheme:
        """The same with numbers that it lacks, called label_N.

        Examples
        --------
        >>> LabelScheme.of({"femur": 2}).extended([0, 2, 7]).to_dict()
        {'femur': 2, 'label_7': 7}
        """
        known = {entry.id for entry in self.entries} | {0}
        new = [Label(int(i), f"label_{i}", default_colour(int(i))) for i in ids if i not in known]
        return replace(self, labels=(*self.labels, *new)) if new else self

    def mirrored(self) -> dict[int, int]:
        """The number that each structure has in a left-right mirror image of the body."""
        by_name = {label.name: label.id for label in self.labels}
        return {
            x.id: next((by_name[o] for o in _other_sides(x.name) if o in by_name), x.id)
            for x in self.labels
        }

    def mirrored_classes(self) -> tuple[int, ...]:
        """The same for class indices: 0 is background, the structures follow in their order.

        Examples
        --------
        >>> LabelScheme.of({"hip_left": 7, "spine": 8, "hip_right": 9}).mirrored_classes()
        (0, 3, 2, 1)
        """
        ids, mirror = [0, *self.ids], self.mirrored()
        return tuple(ids.index(mirror.get(number, number)) for number in ids)

    def __repr__(self) -> str:
        return f"LabelScheme({', '.join(f'{name}={n}' for name, n in self.to_dict().items())})"

    def is_sided(self) -> bool:
        """Whether any structure's name says left or right."""
        return any(_other_sides(name) for name in self.names)


def default_colour(number: int) -> Colour:
    """The colour of the n-th structure; those past the palette go round the colour circle."""
    if 1 <= number <= len(PALETTE):
        return PALETTE[number - 1]
    r, g, b = colorsys.hsv_to_rgb((number * 0.61803) % 1.0, 0.65, 0.9)
    return round(r * 255), round(g * 255), round(b * 255)


def _other_sides(name: str) -> list[str]:
    """What a structure may be called on the other side of the body; [] if its name has no side."""
    words = re.split(r"([^A-Za-z]+)", name)
    found: list[str] = []
    for at, word in enumerate(words):
        if word == "L" and re.match(r"\d", "".join(words[at + 1 : at + 2])):
            continue  # the fifth lumbar vertebra, no left-hand 5
        for pair in SIDES:
            for mine, other in (pair, pair[::-1]):
                if word.lower() == mine:
                    swapped = other.upper() if word.isupper() else other
                    if word.istitle() and len(word) > 1:
                        swapped = other.title()
                    found.append("".join([*words[:at], swapped, *words[at + 1 :]]))
        if found:
            break
    return found


LOWER_LIMB = LabelScheme.of({"tibia": 1, "femur": 2, "fibula": 3, "pelvis": 4})
KNEE = LabelScheme.of({"tibia": 1, "femur": 2})
SCHEMES = {"lower-limb": LOWER_LIMB, "knee": KNEE}


@dataclass(frozen=True, eq=False)
class LabelMap(OnGrid):
    """A segmentation: an integer array (i, j, k) of label numbers on a grid, with its scheme.

    Raises
    ------
    LabelError
        If the array does not hold integers. Read files through `condyle.read_labels`, which
        turns whole-numbered floats into integers and refuses others.

    Examples
    --------
    >>> grid = Grid.regular((2, 2, 2), spacing=(10, 10, 10))
    >>> labels = LabelMap(np.ones((2, 2, 2), np.uint8), grid, KNEE)
    >>> labels.volume_cm3("tibia")
    8.0
    """

    scheme: LabelScheme

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.array.dtype == bool:
            object.__setattr__(self, "array", self.array.astype(np.uint8))
        if not np.issubdtype(self.array.dtype, np.integer):
            raise LabelError(f"labels must be whole numbers, got an array of {self.array.dtype}")

    @classmethod
    def of(cls, array: NDArray[Any], grid: Grid, scheme: LabelScheme | None = None) -> Self:
        """A label map; without a scheme, the numbers found name themselves (label_1, ...)."""
        if scheme is None:
            found = np.unique(array)
            scheme = LabelScheme.numbered([int(i) for i in found[found > 0]] or [1])
        return cls(array, grid, scheme)

    def mask(self, structure: str | int) -> NDArray[np.bool_]:
        """(i, j, k) booleans: where a structure is, by name or number; all False if absent."""
        return self.array == self.scheme[structure].id

    def volume_cm3(self, structure: str | int) -> float:
        """Volume of a structure in cm³; 0 if it is absent. `GeometryError` for a picture."""
        self.grid.require_mm("a volume")
        return float(np.count_nonzero(self.mask(structure)) * self.grid.voxel_volume / 1000.0)

    def volumes(self) -> dict[str, float]:
        """Structure -> volume in cm³, of all structures of the scheme; 0 of those absent.

        Examples
        --------
        >>> grid = Grid.regular((2, 2, 2), spacing=(10, 10, 10))
        >>> LabelMap(np.ones((2, 2, 2), np.uint8), grid, KNEE).volumes()
        {'tibia': 8.0, 'femur': 0.0}
        """
        return {name: self.volume_cm3(name) for name in self.scheme.names}

    def areas(self) -> dict[str, int]:
        """Structure -> how many voxels, or pixels of a picture, it has; 0 of those absent."""
        return {name: int(np.count_nonzero(self.mask(name))) for name in self.scheme.names}

    def present(self) -> tuple[int, ...]:
        """The structures' numbers that occur, known to the scheme or not, in ascending order."""
        return tuple(int(i) for i in np.unique(self.array) if i not in (0, self.scheme.ignore))

    def known(self) -> NDArray[np.bool_] | None:
        """(i, j, k) booleans: False where nobody labelled; None where all is labelled."""
        return None if self.scheme.ignore is None else self.array != self.scheme.ignore

    def emptied(self) -> Self:
        """The same map with no structure in it."""
        return self.with_array(np.zeros_like(self.array))

    def within(self, mask: NDArray[np.bool_] | None) -> Self:
        """The same labels, but background where a mask is False; itself for None.

        ``labels.within(labels.known())`` holds structures alone.
        """
        if mask is None:
            return self
        return self.with_array(np.where(mask, self.array, self.array.dtype.type(0)))

    def require_known(self, what: str) -> Self:
        """Itself, or `LabelError` naming the numbers that the scheme does not hold."""
        strangers = sorted(set(self.present()) - set(self.scheme.ids))
        if strangers:
            raise LabelError(
                f"{what} holds labels {strangers[:8]} that its scheme {self.scheme.to_dict()} "
                "does not know; name them in the data set's labels"
            )
        return self

    def with_scheme(self, scheme: LabelScheme) -> Self:
        """The same numbers under other names."""
        return replace(self, scheme=scheme)

    def __repr__(self) -> str:
        return f"LabelMap({', '.join(self.scheme.names)}; {self.grid!r})"


def whole_numbers(array: NDArray[Any], what: str) -> NDArray[Any]:
    """The array as the smallest unsigned integer type that holds it (uint8, uint16).

    Raises
    ------
    LabelError
        If a value lies further than 0.001 from a whole number, below 0, or above 65535.
    """
    if array.dtype == bool:
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise LabelError(f"{what}: labels must be whole numbers, but the file holds {array.dtype}")
    if np.issubdtype(array.dtype, np.floating):
        rounded = np.rint(array)
        if not np.isfinite(array).all():
            raise LabelError(f"{what}: labels must be whole numbers, but some are NaN or infinite")
        worst = np.unravel_index(np.argmax(np.abs(array - rounded)), array.shape)
        if abs(array[worst] - rounded[worst]) > 1e-3:
            at = tuple(int(x) for x in worst)
            raise LabelError(
                f"{what}: labels must be whole numbers, but voxel {at} holds {array[worst]:.6g}; "
                "it was interpolated or scaled: export it again as integers"
            )
        array = rounded
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if low < 0 or high > 65535:
        raise LabelError(f"{what}: labels must lie between 0 and 65535, found {low:g} to {high:g}")
    return array.astype(np.uint8 if high < 256 else np.uint16, copy=False)
