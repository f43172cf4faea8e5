"""Label maps under other numbers: the one place where numbers are exchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


def by_name(
    labels: LabelMap, scheme: LabelScheme, case: str, rename: Mapping[str, str] | None = None
) -> tuple[LabelMap, dict[str, str]]:
    """The structures of a scheme, numbered from 1 on; and name -> structure of all that it held.

    A label map that names its structures is understood by the names, another by its numbers.
    What is not in the scheme has the structure '', and is now background. What nobody labelled
    stays so.

    Parameters
    ----------
    rename : other names for its own; bare numbers are called 1 or label_1. '' leaves one out.

    Raises
    ------
    DatasetError
        If the map holds structures, but none of the scheme; or voxels marked 'ignore' where the
        scheme has no number for them.
    """
    ignore, own = labels.scheme.ignore, labels.scheme
    numbers, new_of, met = consecutive(scheme).to_dict(), dict[int, int](), dict[str, str]()
    if ignore is not None and scheme.ignore is not None:
        new_of[ignore] = numbers["ignore"]
    elif ignore is not None and (labels.array == ignore).any():
        raise DatasetError(
            f"{case}: some of its voxels are marked 'ignore', that is unlabelled: give 'ignore' "
            "a number in the scheme, too"
        )
    for number in labels.present():
        name = str(number) if has_bare_numbers(own) else own[number].name
        met[name] = _structure(own, number, scheme, rename or {})
        if met[name]:
            new_of[number] = numbers[met[name]]
    if met and not any(met.values()):
        raise DatasetError(
            f"{case}: its label map holds {listed(list(met))}, none of which is in the scheme "
            f"({_numbered(scheme)}): say which is which by `rename`"
        )
    return relabelled(labels, new_of, consecutive(scheme)), met


def _structure(
    own: LabelScheme, number: int, scheme: LabelScheme, rename: Mapping[str, str]
) -> str:
    """What a label map's number is in the scheme; '' if it is not in it."""
    called = own[number].name
    meant = rename.get(called, rename.get(str(number)) if has_bare_numbers(own) else None)
    if meant is None and has_bare_numbers(own):
        return {entry.id: entry.name for entry in scheme.entries}.get(number, "")
    meant = called if meant is None else meant
    return meant if meant in scheme.names else (meant and structure_of(meant, scheme)) or ""


def _numbered(scheme: LabelScheme) -> str:
    """Numbers and names, for a sentence."""
    return listed([f"{number} {name}" for name, number in scheme.to_dict().items()])


def has_bare_numbers(scheme: LabelScheme) -> bool:
    """Whether a scheme has numbers alone, and no names."""
    return scheme.names == LabelScheme.numbered(scheme.ids).names


def listed(names: Iterable[str]) -> str:
    """The first eight names, for a sentence."""
    known = list(names)
    return ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
