"""Cosines of regions, and where they stand among random regions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from condyle.features.similarity import cosine, scattered, similarities, standing

vectors = arrays(np.float64, 8, elements=st.floats(-100, 100).filter(lambda x: abs(x) > 1e-3))


@given(vectors, vectors, st.floats(0.01, 100))
def test_a_cosine_is_symmetric_bounded_and_blind_to_length(a, b, factor):
    assert -1 <= cosine(a, b) <= 1
    assert cosine(a, b) == pytest.approx(cosine(b, a * factor), abs=1e-9)
    assert cosine(a, a) == pytest.approx(1)
    assert cosine(a, -a) == pytest.approx(-1)


def test_a_vector_of_zeros_has_no_angle():
    assert math.isnan(cosine([0, 0], [1, 2]))


def test_every_two_regions_are_compared_in_every_layer():
    features = {n: {"Last": np.arange(3.0) + i, "First": np.eye(3)[i]} for i, n in enumerate("abc")}
    found = similarities(features)
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert all(row["First"] == 0 and 0.7 < row["Last"] < 1 for row in found.values())


def test_where_a_cosine_stands():
    values = list(np.linspace(0.90, 0.99, 99))
    low, middle, high = (standing(x, values) for x in (0.5, values[49], 0.995))
    assert low["percentile"] == 0
    assert low["p"] == pytest.approx(0.02)
    assert middle["percentile"] == pytest.approx(50)
    assert middle["p"] == 1
    assert high["percentile"] == 100
    assert high["p"] == pytest.approx(0.02)
    assert low["low"] < low["median"] < low["high"]


def test_a_chance_is_never_zero_and_even_where_nothing_is_special():
    random = np.random.default_rng(0)
    chances = [standing(random.random(), list(random.random(39)))["p"] for _ in range(2000)]
    assert min(chances) == pytest.approx(2 / 40)
    assert np.mean(np.array(chances) <= 0.1) == pytest.approx(0.1, abs=0.02)


def leg():
    """Two bars in a cylinder of tissue, and what is left."""
    i, j, k = np.mgrid[:40, :40, :50]
    tissue = (i - 20) ** 2 + (j - 20) ** 2 < 18**2
    one = (abs(i - 12) < 4) & (abs(j - 20) < 4) & (k < 30)
    two = (abs(i - 28) < 3) & (abs(j - 20) < 3) & (k > 25)
    shares = {"one": one, "two": two, "background": ~(one | two)}
    return {name: mask.astype(np.float32) for name, mask in shares.items()}, tissue


@pytest.mark.parametrize("seed", range(5))
def test_scattered_regions_keep_size_and_shape_lie_in_tissue_and_share_no_voxel(seed):
    shares, tissue = leg()
    moved, overlap = scattered(shares, "background", tissue, np.random.default_rng(seed))
    assert list(moved) == list(shares)
    assert overlap < 0.06
    np.testing.assert_allclose(sum(moved.values()), 1, atol=1e-6)
    for name in ("one", "two"):
        assert moved[name].sum() >= 0.94 * shares[name].sum()
        assert moved[name][tissue].sum() >= 0.9 * moved[name].sum()
        spans = [np.ptp(np.nonzero(m)[2]) for m in (shares[name], moved[name])]
        assert abs(spans[0] - spans[1]) <= 1
    assert any((moved[name] != shares[name]).any() for name in ("one", "two"))


def test_scattering_is_counted_by_the_seed():
    shares, tissue = leg()
    first, again, other = (
        scattered(shares, "background", tissue, np.random.default_rng(s))[0] for s in (1, 1, 2)
    )
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert any((first[n] != other[n]).any() for n in first)


def test_without_background_only_the_regions_move():
    shares, tissue = leg()
    del shares["background"]
    assert list(scattered(shares, "background", tissue, np.random.default_rng(0))[0]) == [
        "one", "two",
    ]  # fmt: skip
