"""Which structures the cases of a data set hold: some lack what most have, some names mean one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import combinations

from condyle.audit.findings import Finding
from condyle.core.merge import words_of

__all__ = ["alike", "lacked", "structure_findings"]

MOST = 2 / 3
"""Part of the other cases above which a case without the structure is named.

Of legs of two sides, about half lack each side.
"""
ALIKE = 0.8
"""How alike the words of two names are, from 0 to 1, that may mean one structure."""
FEW = 3
"""Cases from which it is strange that a structure occurs in only one of them."""


def lacked(present: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Structure -> the cases that lack it, though most of the others have it.

    Parameters
    ----------
    present : case -> its structures.

    Examples
    --------
    >>> lacked({"a": ["femur", "tibia"], "b": ["femur"], "c": ["femur", "tibia"]})
    {'tibia': ['b']}
    """
    found: dict[str, list[str]] = {}
    for structure in sorted({name for names in present.values() for name in names}):
        without = [case for case, names in present.items() if structure not in names]
        if without and len(present) - len(without) > MOST * (len(present) - 1):
            found[structure] = without
    return found


def alike(present: Mapping[str, Collection[str]]) -> list[tuple[str, str]]:
    """Names that may mean one structure: much alike, of one side, and never in one case.

    Examples
    --------
    >>> alike({"a": ["R_Femur"], "b": ["femur_R_final"], "c": ["L_Femur"]})
    [('R_Femur', 'femur_R_final')]
    """
    names = sorted({name for names in present.values() for name in names})
    return [
        (one, other)
        for one, other in combinations(names, 2)
        if not any(one in own and other in own for own in present.values())
        and _are_alike(one, other)
    ]


def _are_alike(one: str, other: str) -> bool:
    (side, words), (other_side, other_words) = words_of(one), words_of(other)
    if side != other_side or not words or not other_words:
        return False
    if [w for w in words.split() if w.isdigit()] != [w for w in other_words.split() if w.isdigit()]:
        return False  # L1 and L2
    mine, others = set(words.split()), set(other_words.split())
    near = SequenceMatcher(None, words, other_words).ratio() >= ALIKE
    return near or mine <= others or others <= mine


def structure_findings(present: Mapping[str, Collection[str]]) -> list[Finding]:
    """Findings on what the labelled cases of a data set hold.

    Parameters
    ----------
    present : case -> the names of its structures.
    """
    found: list[Finding] = []
    for structure, without in lacked(present).items():
        have = len(present) - len(without)
        of = f"{have} of the {len(present) - 1} other cases have"
        for case in without:
            what = f"holds no {structure}, which {of}"
            remedy = (
                "if it was not drawn there, draw it, or let the voxels without a label be 'ignore' "
                "(import with `not_drawn` ignore); else it is trained to be background"
            )
            found.append(Finding(case, "warning", what, remedy, "lacks"))
    same = alike(present)
    for one, other in same:
        what = f"{one} and {other} never occur in one case: are they one structure?"
        remedy = f"if so, import again with `rename` {other}={one}"
        found.append(Finding("all cases", "warning", what, remedy, "alike"))
    return found + _rare(present, [name for pair in same for name in pair])


def _rare(present: Mapping[str, Collection[str]], said: Sequence[str]) -> list[Finding]:
    """Structures of one case alone, which cannot be both learnt and tested."""
    cases: dict[str, list[str]] = {}
    for case, names in present.items():
        for name in names:
            cases.setdefault(name, []).append(case)
    once = {name: own[0] for name, own in cases.items() if len(own) == 1 and name not in said}
    labelled = sum(1 for names in present.values() if names)
    remedy = "if they have other names in other cases, import again and give one name by `rename`"
    if labelled > 1 and cases and all(len(own) == 1 for own in cases.values()):
        names = sorted(cases)
        what = f"no structure occurs in more than one case: {', '.join(names[:8])}"
        what += ", ..." if len(names) > len(names[:8]) else ""
        return [Finding("all cases", "warning", what, remedy, "once")]
    if labelled < FEW or not once:
        return []
    words = ", ".join(f"{name} ({case})" for name, case in sorted(once.items()))
    what = f"in one case only: {words}; none can be both learnt and tested"
    return [Finding("all cases", "warning", what, remedy, "once")]
