"""Scans made worse: the truth stays the truth, and nothing else changes than what is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.core import Grid, LabelMap, Volume
from condyle.errors import UnknownName
from condyle.quality.degrade import DEGRADATIONS, degraded

GRID = Grid.regular((20, 24, 30), (1, 1, 2), (5, -3, 8))


@pytest.fixture(scope="module")
def case():
    """A scan whose bright voxels are its labels."""
    array = np.zeros(GRID.shape, np.uint8)
    array[5:12, 6:15, 8:25] = 1
    noise = np.random.default_rng(0).normal(size=GRID.shape)
    image = (300.0 * array + 10 * noise).astype(np.int16)
    return (Volume(image, GRID, "CT"),), LabelMap.of(array, GRID)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_it_changes_the_scan_is_the_same_for_the_same_draws_and_lies_on_its_labels_grid(name, case):
    channels, labels = case
    (worse,), truth = degraded(name, channels, labels, np.random.default_rng(3))
    (again,), _ = degraded(name, channels, labels, np.random.default_rng(3))
    np.testing.assert_array_equal(worse.array, again.array)
    worse.grid.require_same(truth.grid, "a scan made worse and its truth")
    assert worse.modality == "CT"
    assert np.isfinite(worse.array).all()
    assert worse.array.shape != GRID.shape or (worse.array != channels[0].array).any()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["crop", "flip"]), st.integers(0, 2**31), st.sampled_from(["RAS", "PIR"]))
def test_labels_go_where_the_scan_goes(name, seed, orientation):
    rng = np.random.default_rng(seed)
    array = (rng.random(GRID.shape) > 0.7).astype(np.uint8)
    labels = LabelMap.of(array, GRID).reoriented(orientation)
    volume = Volume(labels.array.astype(np.int16), labels.grid)
    (worse,), truth = degraded(name, (volume,), labels, rng)
    np.testing.assert_array_equal(worse.array, truth.array)


def test_a_crop_leaves_what_is_left_where_it_was(case):
    channels, labels = case
    _, truth = degraded("crop", channels, labels, np.random.default_rng(0))
    inside = truth.grid.index_to_world(np.argwhere(truth.array == 1))
    at = np.rint(GRID.world_to_index(inside)).astype(int)
    assert (labels.array[tuple(at.T)] == 1).all()


def test_a_flip_is_never_a_mirror_image_from_left_to_right(case):
    channels, labels = case
    for seed in range(12):
        (worse,), _ = degraded("flip", channels, labels, np.random.default_rng(seed))
        mirrored = np.flip(channels[0].array, 0)
        assert (worse.array != mirrored).any()


def test_channels_suffer_alike(case):
    (volume,), labels = case
    (one, other), _ = degraded("noise", (volume, volume), labels, np.random.default_rng(0))
    np.testing.assert_array_equal(one.array, other.array)


def test_an_unknown_name_is_refused(case):
    with pytest.raises(UnknownName, match="noise"):
        degraded("noize", *case, np.random.default_rng(0))
