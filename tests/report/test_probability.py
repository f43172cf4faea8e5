from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.report import figures
from condyle.report.charts import NARROW
from condyle.report.colours import style


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG")
    return imread(BytesIO(png))


def counts(seed, sure=4.0, n=20_000):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.2
    return ProbabilityHistogram.count(
        truth, 1 / (1 + np.exp(-sure * (truth * 2 - 1) - rng.normal(0, 2, n)))
    )


DRAW = [figures.precision_recall, figures.calibration]


@pytest.mark.parametrize("draw", DRAW)
def test_a_phone_shows_the_chart_whole_and_each_name_has_its_line_of_the_key(draw):
    one = pixels(draw({"femur": counts(0)}))
    three = pixels(draw({"femur": counts(0), "tibia": counts(1), "fibula": counts(2)}))
    assert one.shape[1] == three.shape[1] == NARROW
    assert three.shape[0] > one.shape[0]


@pytest.mark.parametrize("draw", DRAW)
def test_nothing_absent_structures_and_any_name_are_drawn(draw):
    absent = ProbabilityHistogram.count(np.zeros(50, bool), np.linspace(0, 0.2, 50))
    names = {"$x_1$ \\frac": counts(0), "骨_<b>": absent, "a name that has no end " * 9: counts(1)}
    for shown in (names, {}, {"femur": ProbabilityHistogram.none()}):
        assert pixels(draw(shown)).shape[1] == NARROW


@pytest.mark.parametrize("draw", DRAW)
def test_threads_draw_at_once(draw):
    some = {"femur": counts(0), "tibia": counts(1)}
    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(draw, [some] * 3))) == 1


def test_a_better_curve_lies_nearer_to_the_upper_right_corner():
    def middle(sure: float) -> float:
        picture = pixels(figures.precision_recall({"femur": counts(0, sure), "t": counts(1, 1.0)}))
        colour = np.array([0, 114, 178]) / 255
        rows, columns = np.nonzero(np.abs(picture[:550, :, :3] - colour).max(axis=2) < 0.05)
        return float(columns.mean() - rows.mean())

    assert middle(6.0) > middle(2.0)


def test_lines_are_told_apart_by_colour_or_dashes():
    assert len({style(n) for n in range(28)}) == 28
