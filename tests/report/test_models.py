import math
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from condyle.report import figures
from condyle.report.charts import NARROW
from condyle.report.models import MOST_JOINED


def shape(png: bytes) -> tuple[int, ...]:
    assert png.startswith(b"\x89PNG")
    return imread(BytesIO(png)).shape


def history(seed, epochs=10, every=2):
    rng = np.random.default_rng(seed)
    rows = [{"epoch": n, "seconds": 30.0 * n, "loss": 1 / (n + 1) + 0.1 * rng.random()}
            for n in range(epochs)]  # fmt: skip
    for row in rows[::every]:
        row["validation_dice"] = 1 - row["loss"] / 2
    return rows


MODELS = ["unet-resnet34", "3d:unetplusplus-efficientnet_lite0", "$x_1^2$ \\frac", "骨 <b>"]


@pytest.mark.parametrize("over", ["epoch", "minutes"])
def test_curves_of_runs_are_drawn_whatever_is_missing(over):
    runs = {
        MODELS[0]: [history(0), history(1, 7), history(2, 12, 3)],
        MODELS[1]: [history(3)],
        MODELS[2]: [],
        MODELS[3]: [[{"epoch": "1", "loss": "", "seconds": None}], []],
    }
    assert shape(figures.curves_of_runs(runs, over))[1] == NARROW
    assert shape(figures.curves_of_runs({}, over))[1] == NARROW


def test_the_mean_of_folds_is_drawn_beside_the_folds():
    lone, twice = {"a": [history(0)]}, {"a": [history(0), history(0)]}
    assert figures.curves_of_runs(lone) != figures.curves_of_runs({"a": [history(1)]})
    assert figures.curves_of_runs(twice) != figures.curves_of_runs({"a": [history(0), history(1)]})


def test_numbers_may_be_text_as_a_csv_file_has_them():
    text = [{k: str(v) for k, v in row.items()} for row in history(0)]
    assert figures.curves_of_runs({"a": [text]}) == figures.curves_of_runs({"a": [history(0)]})


def test_a_box_plot_has_a_row_a_model_and_bears_what_is_not_finite():
    rng = np.random.default_rng(0)
    scores = {name: list(rng.random(9)) for name in MODELS}
    two = shape(figures.box_plot_of_models(dict(list(scores.items())[:2]), "hd95_mm"))
    four = shape(figures.box_plot_of_models(scores, "hd95_mm"))
    assert four[0] > two[0]
    assert two[1] == four[1] == NARROW
    strange = {"a": [0.5, math.nan, 0.7], "b": [math.inf] * 3, "c": [0.1, 0.2, 0.3], "d": []}
    assert shape(figures.box_plot_of_models(strange, "no such metric"))[1] == NARROW
    assert shape(figures.box_plot_of_models({}))[1] == NARROW


def test_points_of_a_patient_are_joined_where_models_are_few_and_saw_the_same():
    many = {f"model {n}": [0.1 * n, 0.9 - 0.05 * n] for n in range(MOST_JOINED + 1)}
    few = dict(list(many.items())[:MOST_JOINED])

    def swapped(scores):
        """The same points in each row, of other patients."""
        return {m: s[::-1] if n % 2 else s for n, (m, s) in enumerate(scores.items())}

    assert figures.box_plot_of_models(few) != figures.box_plot_of_models(swapped(few))
    assert figures.box_plot_of_models(many) == figures.box_plot_of_models(swapped(many))


def test_intervals_and_ranks_show_a_model_that_has_no_figures_too():
    rows = [
        {"model": m, "mean": 0.8 + 0.01 * n, "low": 0.75, "high": 0.9,
         "rank": 1.0 + n, "rank_low": 1.0, "rank_high": 3.0}
        for n, m in enumerate(MODELS)
    ]  # fmt: skip
    rows.append({"model": "weights not here", "mean": None, "rank": "", "low": math.nan})
    for draw in (figures.intervals, figures.ranks):
        assert shape(draw(rows))[0] > shape(draw(rows[:2]))[0]
        assert shape(draw(rows))[1] == NARROW
        assert shape(draw([]))[1] == NARROW
    assert figures.intervals(rows, "dice") != figures.intervals(rows, "hd95_mm")
