"""What an import says of structures: which occur, which names became which, and what is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from condyle.audit.structures import lacked
from condyle.config.choices import NotDrawn
from condyle.core import LabelScheme
from condyle.workflows.importing.sources import Sources

__all__ = ["absences", "joined", "occurring"]


def occurring(scheme: LabelScheme, present: Mapping[str, Collection[str]]) -> str:
    """The structures that occur in any case, and those of the scheme that do not."""
    some = {name for names in present.values() for name in names}
    here = ", ".join(name for name in scheme.names if name in some) or "no structure"
    absent = ", ".join(name for name in scheme.names if name not in some)
    return f"{here} (no case holds {absent})" if absent and present else here


def joined(names: Mapping[str, str]) -> list[str]:
    """A line that says which names became which structures, if any changed; else none.

    Examples
    --------
    >>> joined({"femur_left": "femur", "femur_right": "femur", "tibia": "tibia", "skin": ""})
    ['femur_left, femur_right -> femur']
    """
    of: dict[str, list[str]] = {}
    for name, structure in sorted(names.items()):
        if structure and not name.isdigit():
            of.setdefault(structure, []).append(name)
    changed = [
        f"{', '.join(given)} -> {structure}"
        for structure, given in of.items()
        if given != [structure]
    ]
    return ["; ".join(changed)] if changed else []


def absences(
    present: Mapping[str, Collection[str]], sources: Sources, not_drawn: NotDrawn
) -> Iterator[str]:
    """A sentence for each structure that some cases lack, though most have it; by case names.

    A missing mask, an empty mask and a label map without the number are told apart.
    """
    for structure, cases in lacked(present).items():
        without = {case: structure in sources.undrawn[case] if case in sources.undrawn else None
                   for case in cases}  # fmt: skip
        of = f"{len(present) - len(cases)} of the {len(present) - 1} others"
        if lost := [case for case, missing in without.items() if missing]:
            what = f"{_all(lost)} {_have(lost)} no mask of {structure}, which {of} have"
            if not_drawn == "ignore":
                yield f"{what}: the voxels there that no mask claims are 'ignore', not background"
            else:
                yield (
                    f"{what}: if it is absent there, save an empty mask; if nobody drew it, set "
                    "`not_drawn` to ignore, or it is trained to be background"
                )
        if empty := [case for case, missing in without.items() if missing is False]:
            yield f"the mask of {structure} is empty in {_all(empty)}, and not in {of}"
        if bare := [case for case, missing in without.items() if missing is None]:
            yield (
                f"{_all(bare)} {_have(bare)} no {structure}, which {of} have: if nobody drew it, "
                "mark what was not looked at with a number, and call it 'ignore' in the scheme, or "
                "it is trained to be background"
            )


def _all(cases: Collection[str]) -> str:
    return ", ".join(cases)


def _have(cases: Collection[str]) -> str:
    return "has" if len(cases) == 1 else "have"
