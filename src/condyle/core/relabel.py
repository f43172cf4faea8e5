"""Label maps under other numbers: the one place where numbers are exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from condyle.core.labels import LabelMap, LabelScheme
from condyle.core.merge import structure_of
from condyle.errors import DatasetError

__all__ = ["by_name", "consecutive", "exchanged", "has_bare_numbers", "listed", "relabelled"]


def consecutive(scheme: LabelScheme) -> LabelScheme:
    """The same structures in the same order, numbered 1, 2, 3, ... as nnU-Net demands.

    The ignored number, if there is one, comes last.

    Examples
    --------
    >>> consecutive(LabelScheme.of({"tibia": 4, "femur": 9})).to_dict()
    {'tibia': 1, 'femur': 2}
    """
    colours = {label.name: label.colour for label in scheme.labels}
    return LabelScheme.of({name: n for n, name in enumerate(scheme.to_dict(), 1)}, colours)


def exchanged(
    array: NDArray[np.integer],
    new_of: Mapping[int, int],
    kind: type[np.unsignedinteger] = np.uint16,
) -> NDArray[np.unsignedinteger]:
    """An array of numbers from 0 on with others in their place; those not named become 0.

    Examples
    --------
    >>> exchanged(np.array([0, 7, 9]), {7: 1}).tolist()
    [0, 1, 0]
    """
    table = np.zeros(max([int(array.max(initial=0)), *new_of]) + 1, kind)
    table[list(new_of)] = list(new_of.values())
    return table[array]


def relabelled(labels: LabelMap, new_of: Mapping[int, int], scheme: LabelScheme) -> LabelMap:
    """A label map under another scheme; numbers that are not named become background."""
    kind = np.uint8 if max([0, *new_of.values()]) < 256 else np.uint16
    return LabelMap(exchanged(labels.array, new_of, kind), labels.grid, scheme)


def by_name(labels: LabelMap, scheme: LabelScheme, case: str) -> tuple[LabelMap, list[str]]:
    """The structures of a scheme, numbered from 1 on; and what is not in it, now background.

    A label map that names its structures is understood by the names, another by its numbers.
    What nobody labelled stays so.

    Raises
    ------
    DatasetError
        If the map holds structures, but none of the scheme; or voxels marked 'ignore' where the
        scheme has no number for them.
    """
    present, ignore = labels.present(), labels.scheme.ignore
    numbers, new_of, left_out = consecutive(scheme).to_dict(), dict[int, int](), list[str]()
    if ignore is not None and scheme.ignore is not None:
        new_of[ignore] = numbers["ignore"]
    elif ignore is not None and (labels.array == ignore).any():
        raise DatasetError(
            f"{case}: some of its voxels are marked 'ignore', that is unlabelled: give 'ignore' "
            "a number in the scheme, too"
        )
    for number in present:
        structure = _structure(labels.scheme, number, scheme)
        if structure is None:
            bare = has_bare_numbers(labels.scheme)
            left_out.append(str(number) if bare else labels.scheme[number].name)
        else:
            new_of[number] = numbers[structure]
    if present and len(left_out) == len(present):
        raise DatasetError(
            f"{case}: its label map holds {listed(left_out)}, none of which is in the scheme "
            f"{scheme.to_dict()}"
        )
    return relabelled(labels, new_of, consecutive(scheme)), left_out


def _structure(own: LabelScheme, number: int, scheme: LabelScheme) -> str | None:
    """What a label map's number is in the scheme; None if it is not in it."""
    if has_bare_numbers(own):
        return {entry.id: entry.name for entry in scheme.entries}.get(number)
    name = own[number].name
    return name if name in scheme.names else structure_of(name, scheme)


def has_bare_numbers(scheme: LabelScheme) -> bool:
    """Whether a scheme has numbers alone, and no names."""
    return scheme.names == LabelScheme.numbered(scheme.ids).names


def listed(names: Sequence[str]) -> str:
    """The first eight names, for a sentence."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
