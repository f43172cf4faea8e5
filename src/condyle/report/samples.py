"""Pictures put together into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from condyle.report.charts import WIDTH, png

__all__ = ["COLUMNS", "TILE", "samples"]

COLUMNS = 2
TILE = WIDTH // COLUMNS
"""Pixels across a picture, at most."""


def samples(pictures: Sequence[NDArray[np.uint8]]) -> bytes:
    """A PNG of pictures, two a row, on black.

    Parameters
    ----------
    pictures : one or more, (rows, columns up to `TILE`, 3) red, green, blue.
    """
    rows = [pictures[n : n + COLUMNS] for n in range(0, len(pictures), COLUMNS)]
    sheets: list[NDArray[np.uint8]] = []
    for row in rows:
        sheet = np.zeros((max(len(one) for one in row), WIDTH, 3), np.uint8)
        for at, one in enumerate(row):
            left = at * TILE + (TILE - one.shape[1]) // 2
            sheet[: len(one), left : left + one.shape[1]] = one
        sheets.append(sheet)
    return png(np.concatenate(sheets))
