"""How a verb tells whoever started it how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["Tell", "silent", "told"]

Tell = Callable[[str, float, str], None]
"""Called with the stage, how far it is from 0 to 1, and a few words (may be '')."""

T = TypeVar("T")


def silent(stage: str, done: float, words: str) -> None:
    """Tell nobody."""


def told(tell: Tell, stage: str, things: Iterable[T], total: int) -> Iterator[T]:
    """The things one by one, telling how many of them are done."""
    for number, thing in enumerate(things):
        tell(stage, number / max(total, 1), f"{number}/{total}")
        yield thing
    tell(stage, 1.0, f"{total}/{total}")
