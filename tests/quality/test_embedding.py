"""The distance of a scan from the training set."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from condyle.config import Preparation
from condyle.core import KNEE, Grid, Volume
from condyle.errors import DatasetError
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.quality.embedding import TrainingEmbeddings, embed


@pytest.fixture(scope="module", params=[2, 3])
def segmenter(request):
    torch.manual_seed(0)
    name = "unet-plain" if request.param == 2 else "3d:unet-plain"
    network, _ = build(name, 1, 3, "none")
    preprocessor = RecipePreprocessing(
        settings=Preparation(intensity="minmax"),
        spatial=request.param,
        window=(16, 16, 16) if request.param == 3 else None,
    )
    return Segmenter(name, network.eval(), preprocessor, KNEE)


def scan(seed, shape=(24, 20, 18), flat=False):
    rng = np.random.default_rng(seed)
    array = rng.normal(size=shape).astype(np.float32)
    if not flat:
        array[6:14, 6:14, 6:14] += 8
    return (Volume(array, Grid.regular(shape)),)


def test_a_scan_becomes_one_point_the_same_each_time_and_as_long_for_any_size(segmenter):
    one = embed(segmenter, scan(0), "cpu").point
    assert one.ndim == 1
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, embed(segmenter, scan(0), "cpu").point)
    assert embed(segmenter, scan(1, (20, 28, 40)), "cpu").point.shape == one.shape


def test_a_scan_of_another_kind_is_farther_than_one_of_the_same(segmenter):
    training = TrainingEmbeddings.of(
        np.stack([embed(segmenter, scan(n), "cpu").point for n in range(8)])
    )
    same = training.distance(embed(segmenter, scan(50), "cpu").point)
    other = training.distance(embed(segmenter, scan(51, flat=True), "cpu").point)
    assert other > same
    assert other > training.farthest


def test_distance_is_counted_in_what_is_usual_and_in_each_features_own_spread():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 5)).astype(np.float32)
    training = TrainingEmbeddings.of(points)
    wide = TrainingEmbeddings.of(points * [1, 1000, 1, 1, 1] + 5)
    fresh = rng.normal(size=(40, 5)).astype(np.float32)
    assert np.median([training.distance(p) for p in fresh]) == pytest.approx(1, abs=0.25)
    for point in fresh[:5]:
        shifted = wide.distance((point * [1, 1000, 1, 1, 1] + 5).astype(np.float32))
        assert shifted == pytest.approx(training.distance(point), rel=1e-3)


def test_a_training_survives_json():
    points = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)
    training = TrainingEmbeddings.of(points)
    again = TrainingEmbeddings.from_dict(json.loads(json.dumps(training.to_dict())))
    assert again.distance(points[0] + 1) == pytest.approx(
        training.distance(points[0] + 1), rel=1e-2
    )
    assert again.farthest == pytest.approx(training.farthest, rel=1e-2)


def test_one_training_scan_is_too_few():
    with pytest.raises(DatasetError, match="two training scans"):
        TrainingEmbeddings.of(np.zeros((1, 4), np.float32))


def test_a_window_larger_than_the_scan_sees_it_whole(segmenter):
    wide = segmenter.by_recipe.changed(window=(64, 64, 64))
    whole = replace(segmenter, preprocessor=wide)
    assert np.isfinite(embed(whole, scan(0), "cpu").point).all()
