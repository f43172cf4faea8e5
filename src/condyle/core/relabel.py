"""Label maps under other numbers: the one place where numbers are exchanged."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from condyle.core.labels import Label, LabelMap, LabelScheme
from condyle.core.merge import structure_of
from condyle.errors import DatasetError, LabelError

__all__ = [
    "by_name",
    "consecutive",
    "exchanged",
    "listed",
    "matched",
    "numbers_in",
    "relabelled",
    "under_names_of",
]


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
        name = str(number) if own.has_bare_numbers else own[number].name
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
    meant = rename.get(called, rename.get(str(number)) if own.has_bare_numbers else None)
    if meant is None and own.has_bare_numbers:
        return {entry.id: entry.name for entry in scheme.entries}.get(number, "")
    meant = called if meant is None else meant
    return meant if meant in scheme.names else (meant and structure_of(meant, scheme)) or ""


def _numbered(scheme: LabelScheme) -> str:
    """Numbers and names, for a sentence."""
    return listed([f"{number} {name}" for name, number in scheme.to_dict().items()])


def matched(own: LabelScheme, other: LabelScheme) -> dict[str, str]:
    """Name -> the same structure's name in another scheme, for those that both have.

    Upper and lower case, and the two ways in which Unicode writes a letter with a mark, make no
    difference, unless a scheme tells structures apart by them.

    Examples
    --------
    >>> names = LabelScheme.of({"Femur": 1, "patella": 2}), LabelScheme.of({"tibia": 1, "femur": 3})
    >>> matched(*names)
    {'Femur': 'femur'}
    """
    ours, theirs = ([entry.name for entry in scheme.entries] for scheme in (own, other))
    found = {name: name for name in ours if name in theirs}
    counts = [Counter(map(_key, names)) for names in (ours, theirs)]
    for name in ours:
        for known in theirs:
            key = _key(name)
            if key == _key(known) and counts[0][key] == counts[1][key] == 1:
                found[name] = known
    return found


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def numbers_in(
    own: LabelScheme, present: Sequence[int], scheme: LabelScheme, what: str
) -> dict[int, int]:
    """Number in a file that names its structures -> number in a scheme that is given for it.

    Names that both have decide. A structure that the scheme does not know by name keeps its
    number, which the scheme may call otherwise.

    Raises
    ------
    LabelError
        If that number is another structure's in the scheme.
    """
    names, numbers = matched(own, scheme), scheme.to_dict()
    known = {
        entry.id: numbers[names[entry.name]]
        for entry in own.entries
        if entry.id in present and entry.name in names
    }
    others = [number for number in present if number not in known]
    if clash := set(others) & set(known.values()):
        raise LabelError(
            f"{what} names its labels {_table(own)}, the scheme is {_table(scheme)}: what is label "
            f"{min(clash)}? Give the structures the same names in both"
        )
    return known | {number: number for number in others}


def under_names_of(labels: LabelMap, scheme: LabelScheme, what: str) -> LabelMap:
    """A label map in a scheme's numbers: matched by name, by number where it has no names.

    Structures that the scheme lacks are kept, under names and numbers of their own.

    Raises
    ------
    LabelError
        If both have names, and no name in common.

    Examples
    --------
    >>> from condyle.core import Grid
    >>> array, grid = np.array([[[0, 1, 2, 3]]], np.uint8), Grid.regular((1, 1, 4))
    >>> own = LabelScheme.of({"tibia": 1, "Femur": 2, "patella": 3})
    >>> found = under_names_of(LabelMap(array, grid, own), LabelScheme.of({"femur": 1}), "knee")
    >>> found.array.tolist(), found.scheme.to_dict()
    ([[[0, 2, 1, 3]]], {'femur': 1, 'tibia': 2, 'patella': 3})
    """
    own = labels.scheme.extended(labels.present())
    bare = labels.scheme.has_bare_numbers or scheme.has_bare_numbers
    names = {} if labels.scheme.has_bare_numbers else matched(own, scheme)
    if not names and not bare:
        raise LabelError(
            f"{what} names its labels {_table(own)}, the truth {_table(scheme)}: no name is in "
            "both, so that it is not known which are the same"
        )
    numbers = scheme.to_dict()
    if not names:  # numbers are all that both have
        strangers = set(labels.present()) - set(numbers.values())
        return labels.with_scheme(_union(scheme, [own[number] for number in sorted(strangers)]))
    new_of = {own[name].id: numbers[known] for name, known in names.items() if name != "ignore"}
    free = (n for n in range(1, 65536) if n not in numbers.values())
    extra: list[Label] = []
    for number in labels.present():
        if number not in new_of:
            new_of[number] = next(free)
            extra.append(Label(new_of[number], own[number].name, own[number].colour))
    return relabelled(labels, new_of, _union(scheme, extra))


def _union(scheme: LabelScheme, extra: Sequence[Label]) -> LabelScheme:
    return LabelScheme((*scheme.labels, *extra), scheme.ignore)


def _table(scheme: LabelScheme) -> str:
    """A scheme as it is written: 'femur 1, tibia 2'."""
    return listed([f"{name} = {number}" for name, number in scheme.to_dict().items()])


def listed(names: Iterable[str]) -> str:
    """The first eight names, for a sentence."""
    known = list(names)
    return ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
