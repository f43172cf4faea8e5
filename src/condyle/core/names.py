"""The names of cases, scans and structures, of which each must be there once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["repeated"]


def repeated(names: Iterable[str]) -> list[str]:
    """The names that are there more than once, sorted.

    Examples
    --------
    >>> repeated(["tibia", "femur", "tibia"])
    ['tibia']
    """
    return sorted(name for name, count in Counter(names).items() if count > 1)
