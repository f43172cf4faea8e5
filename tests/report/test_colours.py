"""A structure has one colour on a page, which can be seen on white and told from its neighbours."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.report import figures
from condyle.report.charts import drawn as pixels_of
from condyle.report.colours import colour_of, on_white, styles

NAMES = ("femur_left", "femur_right", "hip_left", "hip_right", "sacrum")
SCHEME = LabelScheme.of({name: n for n, name in enumerate(NAMES, 1)})
COLOURS = {label.name: label.colour for label in SCHEME.labels}


def holds(png: bytes, colour: str) -> bool:
    """Whether a picture has pixels of a colour."""
    wanted = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return bool((np.abs(imread(BytesIO(png))[..., :3] - wanted).max(axis=2) < 0.02).sum() > 20)


def counted():
    probability = np.random.default_rng(0).random(4000)
    truth = np.random.default_rng(1).random(4000) < probability
    return ProbabilityHistogram.count(truth, probability)


@pytest.mark.parametrize("missing", ["femur_left", "hip_left"])
def test_a_structure_has_its_colour_in_every_chart_whichever_others_are_there(missing):
    there = [name for name in NAMES if name != missing]
    rows = [
        {"case": n, "structure": name, "dice": 0.5 + n / 10} for name in there for n in range(4)
    ]
    history = [
        {"epoch": n, "validation_dice": 0.9, **{f"validation_{name}": at / 10 + n / 100
         for at, name in enumerate(there, 1)}} for n in range(5)
    ]  # fmt: skip
    counts = {name: counted() for name in there[-1:]}
    last = on_white(COLOURS[there[-1]])
    for png in (
        figures.curves(history, COLOURS),
        figures.box_plot(rows, "dice", COLOURS),
        figures.precision_recall(counts, COLOURS),
        figures.calibration(counts, COLOURS),
    ):
        assert holds(png, last)
        assert not holds(png, on_white(COLOURS[missing]))


def test_slices_have_the_scheme_s_colours():
    grid = Grid.regular((30, 30, 30))
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:25, 5:25, 5:25] = 5
    png = figures.overlay(Volume(np.zeros(grid.shape), grid), LabelMap(labels, grid, SCHEME), None)
    red, green, blue = (round(255 * part) for part in colour_of(COLOURS["sacrum"]))
    assert holds(png, f"#{red:02x}{green:02x}{blue:02x}")


def test_every_structure_is_in_the_curves_legend_which_covers_no_line(monkeypatch):
    drawn = []
    monkeypatch.setattr("condyle.report.charts.encoded", drawn.append)
    names = [f"rib_{n}" for n in range(24)]
    scheme = LabelScheme.of({name: n for n, name in enumerate([*names, "sacrum"], 1)})
    history = [{"epoch": n, "loss": 1.0, **{f"validation_{name}": 0.5 for name in names},
                "validation_dice": 0.5} for n in range(3)]  # fmt: skip
    figures.curves(history, {label.name: label.colour for label in scheme.labels})
    figure = drawn[0]
    pixels_of(figure)
    axes = figure.axes[1]
    legend = axes.get_legend()
    said = [text.get_text() for text in legend.get_texts()]
    assert {name.replace("_", " ") for name in names} <= set(said)
    assert any(text.startswith("sacrum") for text in said)
    box = legend.get_window_extent()
    assert not box.overlaps(axes.get_window_extent())
    assert box.y0 > -2
    assert box.x1 <= figure.bbox.x1


def test_colours_that_structures_share_differ_by_dashes_and_pale_ones_are_darkened():
    same = styles(["a", "b", "c"], dict.fromkeys("abc", (255, 255, 255)))
    assert len(set(same.values())) == 3
    assert all(one.color < "#c00000" for one in same.values())
    assert on_white((213, 94, 0)) == "#d55e00"


def test_the_corner_of_precision_and_recall_has_one_number(monkeypatch):
    drawn = []
    monkeypatch.setattr("condyle.report.probability.encoded", drawn.append)
    figures.precision_recall({"femur": counted()})
    pixels_of(drawn[0])
    axes = drawn[0].axes[0]
    low = axes.get_xlim()[0]
    assert min(t for t in axes.get_yticks() if t >= low) > low + 0.05
