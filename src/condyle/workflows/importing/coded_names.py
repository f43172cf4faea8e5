"""Masks called after their scan's index and code, such as 6_R_tibia_9B, or by a template."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from condyle.core.case import repeated
from condyle.core.merge import SIDES
from condyle.core.relabel import listed
from condyle.errors import ConfigError, DatasetError
from condyle.io import scan_name

__all__ = ["Template", "by_template", "coded_rest", "owners_by_code"]


def _codes(scan: str) -> tuple[str, str]:
    """A scan's index and code: the first and the last word of its name that have a digit."""
    words = [word for word in re.split(r"[\W_]+", scan.casefold()) if re.search(r"\d", word)]
    return (words[0] if words else "", words[-1] if len(words) > 1 else "")


def _ends(mask: str) -> tuple[str, str, str]:
    """A mask's index in front, what lies between, and its code behind; '' where it has none."""
    word = r"[^\W_]*\d[^\W_]*"
    found = re.fullmatch(rf"(?:({word})[\W_]+)?(.*?[^\W\d_].*?)(?:[\W_]+({word}))?", mask)
    return (found[1] or "", found[2], found[3] or "") if found else ("", mask, "")


def coded_rest(mask: str, scan: str) -> str | None:
    """What a mask's name says besides its scan's index and code; None if they are not in it.

    Examples
    --------
    >>> coded_rest("6_R_tibia_9B", "6_AutoBindWATER_650_9B"), coded_rest("4_R_tibia_5A", "6_x_9B")
    ('R_tibia', None)
    """
    front, rest, back = _ends(mask)
    index, code = _codes(scan)
    front, back = front.casefold(), back.casefold()
    if not (front or back) or (front and front != index):
        return None
    allowed = ({"", code} if code else {back}) if front else {index, code}
    return rest if back in allowed else None


def owners_by_code(mask: str, scans: Collection[str]) -> list[str]:
    """The scans whose index and code a mask's name has, none of them contradicting."""
    return [scan for scan in scans if coded_rest(mask, scan) is not None]


PARTS = {
    "case": r".+?",
    "index": r"[^\W_]*\d[^\W_]*",
    "side": "|".join(sorted(SIDES, key=len, reverse=True)),
    "structure": r".+?",
    "code": r"[^\W_]+",
}
"""Part of a template -> the pattern of what may stand in its place."""


@dataclass(frozen=True)
class Template:
    """How masks are called, such as {index}_{side}_{structure}_{code}.

    Examples
    --------
    >>> Template("{index}_{side}_{structure}_{code}").read("6_R_tibia_9B")
    {'index': '6', 'side': 'R', 'structure': 'tibia', 'code': '9B'}
    """

    text: str

    def __post_init__(self) -> None:
        parts = re.findall(r"\{(.*?)\}", self.text)
        what = f"`mask_names` {self.text!r}"
        if unknown := [part for part in parts if part not in PARTS]:
            raise ConfigError(
                f"{what} has the part {{{unknown[0]}}}; there are "
                f"{', '.join(f'{{{part}}}' for part in PARTS)}"
            )
        if "structure" not in parts:
            raise ConfigError(
                f"{what} needs the part {{structure}}, such as {{case}}_{{structure}}"
            )
        if twice := repeated(parts):
            raise ConfigError(f"{what} has the part {{{twice[0]}}} twice")

    def read(self, name: str) -> dict[str, str] | None:
        """Part -> what stands in its place in a mask's name; None where it does not fit."""
        pieces = re.split(r"\{(.*?)\}", self.text)
        pattern = "".join(
            f"(?P<{piece}>{PARTS[piece]})" if at % 2 else re.escape(piece)
            for at, piece in enumerate(pieces)
        )
        found = re.fullmatch(pattern, name, flags=re.IGNORECASE)
        return found.groupdict() if found else None

    def owners(self, parts: Mapping[str, str], keys: Mapping[str, Collection[str]]) -> list[str]:
        """The scans that a mask with these parts may be of; keys: what else each is called."""
        said = {part: text.casefold() for part, text in parts.items()}
        return [
            scan
            for scan, names in keys.items()
            if said.get("case", "") in {"", *names}
            and said.get("index", "") in {"", _codes(scan)[0]}
            and said.get("code", "") in {"", _codes(scan)[1] or _codes(scan)[0]}
        ]


def by_template(
    template: Template, files: Sequence[Path], keys: Mapping[str, Collection[str]]
) -> tuple[dict[str, list[tuple[Path, str]]], list[str]]:
    """Scan -> its masks with what each calls its structure; and the names of those of no scan.

    Raises
    ------
    ConfigError, DatasetError
        If no mask fits the template, or one fits two scans, or two masks of a scan say the same.
    """
    found: dict[str, list[tuple[Path, str]]] = {}
    lost: list[str] = []
    fitting = 0
    for file in files:
        name = scan_name(file)
        parts = template.read(name)
        fitting += parts is not None
        owners = template.owners(parts, keys) if parts else []
        if len(owners) > 1:
            raise DatasetError(
                f"{file.name} may be of {' or '.join(owners)}: `mask_names` {template.text!r} "
                "needs {case}, {index} or {code}, so that one scan alone fits"
            )
        if not parts or not owners:
            lost.append(name)
            continue
        side = SIDES.get(parts.get("side", "").casefold(), "")
        called = f"{parts['structure']}_{side}" if side else parts["structure"]
        found.setdefault(owners[0], []).append((file, called))
    if files and not fitting:
        raise ConfigError(
            f"no mask is called as `mask_names` {template.text!r} says; there are "
            f"{listed([scan_name(file) for file in files])}"
        )
    for rows in found.values():
        if twice := repeated(called for _, called in rows):
            same = " and ".join(str(file) for file, called in rows if called == twice[0])
            raise DatasetError(f"{same} are two masks of {twice[0]}: keep one of them")
    return found, lost
