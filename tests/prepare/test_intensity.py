"""One rule a volume: figures known beforehand, and volumes that would divide by zero."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.config import Preparation
from condyle.errors import ConfigError
from condyle.prepare.intensity import RULES, finite, sample, scaled

CT = {"window": (-200, 1000), "mean": 100, "std": 50}


def volume(shape=(20, 21, 22), seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(300, 80, shape).astype(dtype)


def test_every_rule_of_the_settings_is_there():
    rules = Preparation.model_fields["intensity"].annotation
    assert set(RULES) == set(rules.__args__)


def test_zscore_has_mean_0_and_deviation_1_over_the_whole_volume():
    found = scaled(volume(), Preparation())
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(0, abs=1e-4)
    assert found.std() == pytest.approx(1, abs=1e-4)
    slice_means = found.mean(axis=(0, 1))
    assert slice_means.std() > 1e-3  # not slice by slice


def test_zscore_clips_what_metal_does():
    array = volume()
    array[0, 0, 0] = 1e6
    np.testing.assert_allclose(
        scaled(array, Preparation())[1:], scaled(volume(), Preparation())[1:], atol=0.05
    )


def test_ct_and_window_are_the_same_for_every_scan():
    array = np.array([-3000, -200, 100, 400, 5000], np.float32).reshape(5, 1, 1)
    found = scaled(array, Preparation(intensity="ct", **CT)).ravel()
    np.testing.assert_allclose(found, [-6, -6, 0, 6, 18])
    found = scaled(array, Preparation(intensity="window", window=(-200, 1000))).ravel()
    np.testing.assert_allclose(found, [0, 0, 0.25, 0.5, 1])


def test_minmax_and_max():
    array = np.array([-10, 0, 30], np.float32).reshape(3, 1, 1)
    np.testing.assert_allclose(scaled(array, Preparation(intensity="minmax")).ravel(), [0, 0.25, 1])
    np.testing.assert_allclose(
        scaled(array + 10, Preparation(intensity="max")).ravel(), [0, 0.25, 1]
    )


@settings(max_examples=60, deadline=None)
@given(
    rule=st.sampled_from(["zscore", "ct", "window", "minmax", "max"]),
    value=st.floats(-5000, 5000, width=32),
    noise=st.sampled_from([0, 1e-7]),
)
def test_a_volume_without_contrast_stays_quiet(rule, value, noise):
    array = np.full((3, 4, 5), value, np.float32)
    array *= 1 + noise * np.random.default_rng(0).standard_normal(array.shape).astype(np.float32)
    found = scaled(array, Preparation(intensity=rule, **CT))
    assert np.isfinite(found).all()
    assert np.ptp(found) < 1e-3


@pytest.mark.parametrize("given_settings", [
    {"intensity": "ct"}, {"intensity": "window"}, {"intensity": "window", "window": (5, 5)},
    {"intensity": "ct", "window": (0, 1)},
])  # fmt: skip
def test_settings_that_are_missing_are_named(given_settings):
    with pytest.raises(ConfigError, match="needs preparation"):
        scaled(volume(), Preparation(**given_settings))


def test_nan_and_infinity_become_the_lowest_value_with_a_count(caplog):
    array = volume()
    lowest = array.min()
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    with caplog.at_level(logging.WARNING, "condyle"):
        found = finite(array, "case knee_7")
    assert "case knee_7 holds 3 voxels" in caplog.text
    assert (found[0, 0, :3] == min(lowest, found.min())).all()
    np.testing.assert_array_equal(found[1:], array[1:])
    assert np.isfinite(scaled(found, Preparation())).all()


def test_sound_volumes_pass_without_a_word(caplog):
    for array in (volume(), volume(dtype=np.int16)):
        assert finite(array, "it") is array
    assert not caplog.records
    assert (finite(np.full((2, 2, 2), np.nan), "it") == 0).all()


@pytest.mark.parametrize("shape", [(100, 100, 25), (64, 64, 64), (50, 10, 500)])
def test_a_sample_sees_every_column_of_a_large_volume(shape):
    column = np.broadcast_to(np.arange(shape[2]), shape)
    found = sample(column, most=10_000)
    assert found.size <= 10_000
    assert set(found.tolist()) == set(range(shape[2]))
    assert sample(column, most=column.size).size == column.size
