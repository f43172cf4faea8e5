"""Other numbers of voxels in the same box of space, against scipy and torch."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import zoom

from condyle.core import Grid
from condyle.errors import GeometryError, LabelError, UnknownName
from condyle.prepare import resample as module
from condyle.prepare.resample import (
    Weighted,
    most_likely,
    resample_image,
    resample_labels,
    resample_probabilities,
    weights,
)

sides = st.integers(1, 9)
shapes = st.tuples(sides, sides, sides)
orders = st.sampled_from(["linear", "cubic"])


def moved(array, shape, order="linear"):
    return resample_image(array, Grid.regular(array.shape), shape, order)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), old=shapes, factor=st.tuples(*[st.integers(1, 4)] * 3))
def test_linear_enlargement_agrees_with_scipy(seed, old, factor):
    array = np.random.default_rng(seed).normal(size=old).astype(np.float32)
    expected = zoom(array, factor, order=1, grid_mode=True, mode="nearest")
    found = moved(array, expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4)


wide = st.tuples(st.integers(2, 9), st.integers(2, 9), sides)  # one pixel wide, torch 2.15 errs


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), old=wide, new=wide, order=orders)
def test_any_ratio_in_plane_agrees_with_torchs_antialiased_interpolation(seed, old, new, order):
    array = np.random.default_rng(seed).normal(size=old).astype(np.float32)
    slices = torch.from_numpy(array.transpose(2, 0, 1)[None].copy())
    mode = "bilinear" if order == "linear" else "bicubic"
    expected = torch.nn.functional.interpolate(slices, new[:2], mode=mode, antialias=True)[0]
    found = moved(array, (*new[:2], old[2]), order)
    np.testing.assert_allclose(found, expected.numpy().transpose(1, 2, 0), atol=2e-4)


@settings(max_examples=60, deadline=None)
@given(old=shapes, new=shapes, order=orders, value=st.floats(-3000, 3000, width=32))
def test_a_constant_stays_constant(old, new, order, value):
    found = moved(np.full(old, value, np.float32), new, order)
    assert found.shape == new
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("order", ["linear", "cubic"])
@pytest.mark.parametrize("new", [12, 17, 40, 97])
def test_a_ramp_keeps_its_places_in_space(order, new):
    grid = Grid.regular((40, 1, 1), (2, 1, 1), origin=(-7, 0, 0))
    place = grid.index_to_world([(i, 0, 0) for i in range(40)])[:, 0]
    found = resample_image(place[:, None, None], grid, (new, 1, 1), order)[:, 0, 0]
    target = grid.resized((new, 1, 1))
    expected = target.index_to_world([(i, 0, 0) for i in range(new)])[:, 0]
    border = 2 if new <= 40 else 5  # the reach of the wider kernel
    inside = slice(border, -border)
    np.testing.assert_allclose(found[inside], expected[inside], atol=0.02 * target.spacing[0])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), old=shapes, new=shapes)
def test_linear_stays_within_the_scans_bounds(seed, old, new):
    array = np.random.default_rng(seed).integers(-1000, 2000, old).astype(np.int16)
    found = moved(array, new)
    assert found.min() >= array.min() - 0.01
    assert found.max() <= array.max() + 0.01


def test_shrinking_averages_so_that_thin_bone_fades_but_stays():
    array = np.zeros((64, 4, 4), np.float32)
    array[31] = 1000
    found = moved(array, (16, 4, 4))
    assert found.max() > 100
    assert found[:, 0, 0].sum() * 4 == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float64])
def test_any_type_and_any_memory_order_is_taken(dtype):
    array = (np.arange(60).reshape(3, 4, 5) * 2).astype(dtype)
    expected = moved(array.astype(np.float32), (5, 3, 5))
    np.testing.assert_array_equal(moved(np.asfortranarray(array), (5, 3, 5)), expected)
    np.testing.assert_allclose(moved(array[::-1], (5, 3, 5)), expected[::-1], atol=1e-4)


def test_the_array_given_is_neither_changed_nor_shared():
    array = np.ones((2, 2, 2), np.float32)
    found = moved(array, (2, 2, 2))
    found[:] = 5
    assert (array == 1).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(GeometryError, match="does not lie on"):
        resample_image(np.zeros((2, 2, 2)), Grid.regular((2, 2, 3)), (4, 4, 4))
    with pytest.raises(UnknownName, match="did you mean 'linear'"):
        weights(3, 4, "liner")
    with pytest.raises(UnknownName, match="one-hot"):
        resample_labels(np.zeros((2, 2, 2), np.uint8), (3, 3, 3), "onehot")


# Labels

label_arrays = shapes.flatmap(lambda s: arrays(np.uint8, s, elements=st.integers(0, 3)))


@settings(max_examples=60, deadline=None)
@given(labels=label_arrays, new=shapes, method=st.sampled_from(["nearest", "one-hot"]))
def test_labels_are_never_mixed_and_never_vanish_unseen(labels, new, method):
    try:
        found = resample_labels(labels, new, method)
    except LabelError:
        found = resample_labels(labels, new, method, allow_loss=True)
        assert set(np.unique(labels)) - set(np.unique(found)) - {0}
    else:
        assert set(np.unique(found)) | {0} == set(np.unique(labels)) | {0}
    assert found.dtype == labels.dtype
    assert found.shape == new


@settings(max_examples=40, deadline=None)
@given(labels=label_arrays, method=st.sampled_from(["nearest", "one-hot"]))
def test_labels_keep_their_places_at_the_same_size_and_thrice_the_size(labels, method):
    np.testing.assert_array_equal(resample_labels(labels, labels.shape, method), labels)
    thrice = resample_labels(labels, tuple(3 * n for n in labels.shape), method)
    np.testing.assert_array_equal(thrice[1::3, 1::3, 1::3], labels)


@settings(max_examples=40, deadline=None)
@given(labels=label_arrays, new=shapes)
def test_one_hot_agrees_with_the_plain_way(labels, new):
    plain = np.stack([moved((labels == n).astype(np.float32), new) for n in range(4)])
    ordered = np.sort(plain, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-3  # elsewhere it is a tie
    found = resample_labels(labels, new, "one-hot", allow_loss=True)
    np.testing.assert_array_equal(found[clear], plain.argmax(axis=0)[clear])


def test_a_tie_goes_to_the_larger_number():
    labels = np.array([1, 1, 2, 2], np.uint16).reshape(4, 1, 1)
    assert resample_labels(labels, (1, 1, 1), "one-hot", allow_loss=True).item() == 2
    labels = np.array([0, 0, 1, 1], np.uint16).reshape(4, 1, 1)
    assert resample_labels(labels, (1, 1, 1), "one-hot").item() == 1


def test_a_lost_structure_is_named():
    labels = np.zeros((10, 10, 50), np.uint8)
    labels[5, 5, 3] = 7
    with pytest.raises(LabelError, match="fibula would be lost"):
        resample_labels(labels, (10, 10, 10), names={7: "fibula"})
    assert not resample_labels(labels, (10, 10, 10), allow_loss=True).any()


# Probabilities


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), old=shapes, new=shapes, block=st.sampled_from([1, 500, 10**9]))
def test_the_winner_in_blocks_is_the_winner_of_the_whole(seed, old, new, block):
    scores = np.random.default_rng(seed).random((4, *old)).astype(np.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", block)
        found = most_likely(scores, new)
    whole = resample_probabilities(scores, new)
    assert whole.shape == (4, *new)
    ordered = np.sort(whole, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    assume(clear.any())
    np.testing.assert_array_equal(found[clear], whole.argmax(axis=0)[clear])


def test_probabilities_still_sum_to_one():
    scores = np.random.default_rng(0).random((3, 6, 7, 8))
    found = resample_probabilities(scores / scores.sum(axis=0), (9, 5, 8))
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)


def test_more_classes_than_fit_are_refused():
    with pytest.raises(LabelError, match="257 classes"):
        most_likely(np.zeros((257, 1, 1, 1), np.float16), (1, 1, 1))


@pytest.mark.parametrize(("old", "new"), [((9, 7, 5), (13, 20, 5)), ((11, 8, 6), (5, 6, 7))])
def test_spline_equals_the_cubic_spline_of_nnunet(old, new):
    """nnU-Net's way, order 3: scikit-image over the whole volume, ends repeated, no smoothing."""
    resize = pytest.importorskip("skimage.transform").resize
    array = np.random.default_rng(3).normal(size=old) * 300
    expected = resize(array, new, 3, mode="edge", anti_aliasing=False)
    found = resample_image(array, Grid.regular(old), new, "spline")
    assert found.shape == new
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(found - resample_image(array, Grid.regular(old), new, "cubic")).max() > 10


def test_spline_does_not_swing_beyond_the_scan():
    step = np.repeat([0.0, 1000.0], 6)[:, None, None]
    found = resample_image(step, Grid.regular((12, 1, 1)), (40, 1, 1), "spline")
    assert found.min() == 0
    assert found.max() == 1000


def test_probabilities_of_a_box_are_background_beyond_it():
    inside = np.zeros((2, 2, 2, 2), np.float16)
    inside[1] = 2  # two predictions, summed
    whole = np.zeros((2, 4, 4, 4), np.float16)
    whole[1] = 1
    box = (slice(1, 3), slice(0, 2), slice(2, 4))
    alone = most_likely([Weighted(inside, box=box)], (4, 4, 4))
    assert alone[box].all()
    assert alone.sum() == 8
    both = most_likely([Weighted(inside, box=box), Weighted(whole)], (4, 4, 4))
    assert (both == alone).all()  # two for background, one against
