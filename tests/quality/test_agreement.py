"""Votes compared: hand-made label maps whose answer can be counted."""

import numpy as np
import pytest

from condyle.core import Grid, LabelMap, LabelScheme
from condyle.errors import ConfigError, GridMismatch
from condyle.measure import dice
from condyle.quality.agreement import agreement, disputed, look_at

SCHEME = LabelScheme.of({"femur": 1, "tibia": 3})


def labels(*voxels, shape=(6, 5, 8)):
    """A label map with these (i, j, k, number)."""
    array = np.zeros(shape, np.uint8)
    for i, j, k, number in voxels:
        array[i, j, k] = number
    return LabelMap(array, Grid.regular(shape), SCHEME)


def test_the_mean_dice_of_all_pairs():
    one = labels((1, 1, 1, 1), (1, 1, 2, 1))
    other = labels((1, 1, 1, 1))
    found = agreement([one, one, other])
    assert found["femur"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)


def test_what_no_vote_has_is_nan_and_what_one_vote_has_is_0():
    empty, found = labels(), labels((2, 2, 2, 3))
    shared = agreement([empty, found, empty])
    assert np.isnan(shared["femur"])
    assert shared["tibia"] == 0.0


def test_it_is_the_dice_of_the_whole_arrays():
    rng = np.random.default_rng(0)
    arrays = rng.choice([0, 1, 3], size=(3, 6, 5, 8), p=[0.8, 0.1, 0.1]).astype(np.uint8)
    maps = [LabelMap(a, Grid.regular(a.shape), SCHEME) for a in arrays]
    for name, number in SCHEME.to_dict().items():
        masks = arrays == number
        by_hand = np.mean([dice(masks[a], masks[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
        assert agreement(maps)[name] == pytest.approx(by_hand)


def test_one_vote_and_votes_of_other_scans_are_refused():
    with pytest.raises(ConfigError, match="two label maps"):
        agreement([labels()])
    with pytest.raises(GridMismatch):
        agreement([labels(), labels(shape=(6, 5, 7))])


def test_disputed_voxels_are_counted_slice_by_slice_of_the_scans_own_array():
    votes = [labels((1, 1, 5, 1), (2, 1, 5, 1), (1, 1, 2, 1)), labels((1, 1, 2, 1))]
    np.testing.assert_array_equal(disputed(votes, 2)["femur"], [0, 0, 0, 0, 0, 2, 0, 0])
    np.testing.assert_array_equal(disputed(votes, 0)["femur"], [0, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(disputed(votes, 2)["tibia"], np.zeros(8))


def test_the_worst_places_come_first():
    assert look_at(np.array([0, 6, 0, 9, 8, 5, 0, 1, 7])) == [(3, 5), (8, 8), (1, 1)]
    assert look_at(np.array([3, 3, 0]), most=1) == [(0, 1)]
    assert look_at(np.zeros(4, int)) == []
