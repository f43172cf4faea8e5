"""What a training's figures advise to do next: sentences that say why, and the setting to change.

Settings stand between backticks, which the shell turns into its flags.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from condyle.measure.statistics import FEWEST
from condyle.report import tables
from condyle.report.charts import column

__all__ = ["advice", "never_found"]

Row = Mapping[str, Any]

FEW_EPOCHS = 20
"""With fewer, a structure that was not found may only have had too little time."""
RISE = 0.02
"""Gain of the validation Dice over the last quarter of a training from which more time helps."""
GOOD_DICE = 0.8
FAR_MM = 20.0
"""HD95 of a structure with a good Dice from which parts of it must lie elsewhere."""
BUDGETS = {900: "15m", 1800: "30m", 3600: "1h", 7200: "2h", 14400: "4h", 28800: "8h", 86400: "24h"}


def advice(rows: Sequence[Row], history: Sequence[Row], budget_s: float | None = None) -> list[str]:
    """Sentences on what to do next, the most important first; none where all is well.

    Parameters
    ----------
    rows : a row a test case and structure: case, structure, dice, hd95_mm, note.
    history : a row an epoch: epoch, seconds, validation_dice.
    budget_s : seconds that the training was given; None for a number of epochs.
    """
    lost = never_found(rows)
    time = _time(lost, history, budget_s)
    return [*time, *_far_parts(rows), *_few_cases(rows)]


def never_found(rows: Sequence[Row]) -> dict[str, int]:
    """Structures that no prediction found -> how many test cases hold them."""
    held: dict[str, list[Row]] = {}
    for row in rows:
        if row.get("note") not in ("absent in both", "invented", "failed"):
            held.setdefault(str(row["structure"]), []).append(row)
    return {name: len(mine) for name, mine in held.items() if all(r.get("dice") == 0 for r in mine)}


def _time(lost: Mapping[str, int], history: Sequence[Row], budget_s: float | None) -> list[str]:
    """Whether more time is likely to help: to find what was lost, or as Dice still rose."""
    epochs, rise = len(history), _rise(history)
    more = f"try {_longer(history, budget_s)}"
    names = " and ".join(tables.words(name) for name in lost)
    if lost:
        found = f"{names} {'was' if len(lost) == 1 else 'were'} found in no test case"
        if 0 < epochs < FEW_EPOCHS:
            count = "1 epoch was" if epochs == 1 else f"{epochs} epochs were"
            return [f"{found}: {count} too few; {more}"]
        if rise > RISE:
            return [f"{found}, and Dice still rose at the end: {more}"]
        whose = "its" if len(lost) == 1 else "their"
        return [
            f"{found}: look at {whose} labels with condyle check, or give a structure more weight "
            "(`training.class_weights`)"
        ]
    if rise > RISE:
        return [
            f"Dice on validation cases still rose, by {rise:.2f} in the last quarter of the "
            f"training: more time is likely to help; {more}"
        ]
    return []


def _rise(history: Sequence[Row]) -> float:
    """How much the validation Dice gained in the last quarter of the epochs; 0 if not known."""
    dice = column(history, "validation_dice")
    known = np.flatnonzero(np.isfinite(dice))
    if known.size < 4:
        return 0.0
    before = known[known < 0.75 * len(dice)]
    if not before.size or known[-1] == before[-1]:
        return 0.0
    return float(dice[known[-1]] - dice[before].max())


def _longer(history: Sequence[Row], budget_s: float | None) -> str:
    """The setting that gives about four times the time."""
    if budget_s:
        wanted = next((words for s, words in BUDGETS.items() if s >= 4 * budget_s), "48h")
        return f"`training.budget` {wanted}"
    return f"`training.epochs` {max(50, 4 * len(history))}"


def _far_parts(rows: Sequence[Row]) -> list[str]:
    """The structures whose overlap is good while parts of them lie far away."""
    far: dict[str, list[float]] = {}
    for row in rows:
        dice, hd95 = (float(row.get(key) or math.nan) for key in ("dice", "hd95_mm"))
        if dice >= GOOD_DICE and FAR_MM < hd95 < math.inf:
            far.setdefault(str(row["structure"]), []).append(hd95)
    return [
        f"parts of {tables.words(name)} lie far from the true surface (HD95 up to "
        f"{max(found):.0f} mm in {len(found)} test case{'s' * (len(found) > 1)}) though "
        "Dice is good: keep only its largest component with condyle refine (keep_largest)"
        for name, found in far.items()
    ]


def _few_cases(rows: Sequence[Row]) -> list[str]:
    """Whether so few cases were scored that their mean says little."""
    cases = len({str(row["case"]) for row in rows})
    if not 0 < cases < FEWEST:
        return []
    say = "test case says" if cases == 1 else "test cases say"
    return [
        f"{cases} {say} little about other patients: train all folds (`folds`), so that every "
        "labelled scan is tested once"
    ]
