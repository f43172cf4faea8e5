from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from condyle.report import figures


def shape(png: bytes) -> tuple[int, ...]:
    assert png.startswith(b"\x89PNG")
    return imread(BytesIO(png)).shape


ROWS = [
    {"epoch": float(n), "seconds": 30.0 * n, "rate": 1e-3, "loss": 1 / (n + 1)}
    | ({"validation_dice": 1 - 1 / (n + 2)} if n % 3 == 0 else {})
    for n in range(12)
]


@pytest.mark.parametrize(
    "history",
    [
        ROWS,
        ROWS[:1],
        [],
        [{"epoch": "1", "loss": "0.5", "validation_dice": ""}],  # as a CSV file gives them
        [{"loss": float("nan"), "validation_dice": float("inf")}, {"loss": None}],
        [{"epoch": 1, "loss": 0.5, "validation_$x_\n<b>": 0.5, "validation_骨": 0.5}],
    ],
)
def test_curves_are_drawn_whatever_is_missing(history):
    high, wide, _ = shape(figures.curves(history))
    assert wide == 1200
    assert 390 < high < 500


def test_curves_show_what_changed():
    better = [row | {"loss": row["loss"] / 2 + 0.3} for row in ROWS]
    assert figures.curves(ROWS) == figures.curves(ROWS)
    assert figures.curves(ROWS) != figures.curves(better)


def test_a_box_plot_has_a_box_a_structure_and_bears_what_is_not_finite():
    rng = np.random.default_rng(0)
    rows = [{"structure": s, "hd95_mm": float(v)} for s in ("tibia", "$f_") for v in rng.random(9)]
    plain = shape(figures.box_plot(rows, "hd95_mm"))
    more = [*rows, {"structure": "pelvis", "hd95_mm": float("inf")}, {"structure": "pelvis"}]
    assert shape(figures.box_plot(more, "hd95_mm"))[0] > plain[0]
    assert shape(figures.box_plot([], "dice"))[1] == 1200
