"""The heat map: one square a layer, numbers that can be read, any number of regions."""

import io

import numpy as np
from PIL import Image

from condyle.report.heatmap import heatmap


def cosines(names, value=0.9):
    pairs = [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]
    return {pair: {"Third-Last": value, "Last": 0.99} for pair in pairs}


def pixels(png: bytes):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_another_cosine_is_another_picture_and_the_same_is_the_same():
    names = ["tibia", "femur", "background"]
    one = heatmap([cosines(names)])
    assert one == heatmap([cosines(names)])
    assert one != heatmap([cosines(names, 0.8)])


def test_the_mean_of_scans_and_the_range_of_random_regions_show():
    names = ["tibia", "femur"]
    twice = [cosines(names, 0.8), cosines(names, 1.0)]
    ranges = {("tibia", "femur"): {c: {"low": 0.9, "high": 0.95} for c in ("Third-Last", "Last")}}
    assert heatmap(twice) != heatmap(twice, [ranges])
    middle = pixels(heatmap(twice))
    assert middle.shape == pixels(heatmap([cosines(names, 0.9)] * 2)).shape
    assert np.array_equal(middle, pixels(heatmap([cosines(names, 0.9)] * 2)))


def test_many_regions_and_names_with_dollars_fit():
    for names in (["a$b$", "c_d"], [f"vertebra_{n}" for n in range(30)]):
        height, width, _ = pixels(heatmap([cosines(names)])).shape
        assert height > 300
        assert width <= 1056  # what a page of 1200 pixels shows without shrinking it
