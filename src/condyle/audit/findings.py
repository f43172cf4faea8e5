"""One thing that is wrong with a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Kind"]

Kind = Literal[
    "unreadable", "grid", "lattice", "labels", "empty", "unlabelled", "air", "flip", "shift",
    "misfit", "duplicate", "names", "cut", "volume", "intensity", "spacing", "absent", "folds",
    "lacks", "alike", "once",
]  # fmt: skip
"""What sort of thing is wrong; `condyle check --fix` goes by it."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, what, and what to do about it.

    Parameters
    ----------
    case : its id, 'fold 1', or 'all cases'.
    severity : an error spoils training or its scores; a warning may be as it should; a note is.
    what, remedy : a sentence without its end each.
    kind : what sort of thing it is.
    outcome : in a copy: 'repaired', 'left out' or 'left'; '' where no copy was made.
    """

    case: str
    severity: Literal["error", "warning", "note"]
    what: str
    remedy: str
    kind: Kind
    outcome: str = ""
