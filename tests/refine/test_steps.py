"""Each step against a plain statement of its rule with scipy.ndimage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from condyle.errors import ConfigError
from condyle.refine import clean_slices, drop_small, fill_holes, keep_largest, smoothed

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7))
ALL_ROUND = np.ones((3, 3, 3))


def noise(density, shape=(24, 20, 22)):
    return np.random.default_rng(int(100 * density)).random(shape) < density


NOISE = [noise(density) for density in (0.05, 0.15, 0.5, 0.8, 0.9)]


def largest_by_scipy(mask, n):
    parts, found = ndimage.label(mask, ALL_ROUND)
    sizes = ndimage.sum_labels(mask, parts, range(1, found + 1))
    best = sorted(range(1, found + 1), key=lambda part: -sizes[part - 1])[:n]
    return np.isin(parts, best)


def clean_slice_by_scipy(image, ratio):
    """The lower-limb tool's rule, vectorised."""
    image, small = image.copy(), int(ratio * image.sum())
    for value in (False, True):
        parts, found = ndimage.label(image == value)
        sizes = ndimage.sum_labels(image == value, parts, range(found + 1))
        image[(sizes < small)[parts] & (parts > 0)] = not value
    return image


@pytest.mark.parametrize("mask", NOISE)
@pytest.mark.parametrize("n", [1, 3])
def test_the_largest_parts_are_scipys(mask, n):
    np.testing.assert_array_equal(keep_largest(mask, n), largest_by_scipy(mask, n))


@given(MASKS, st.integers(1, 4))
def test_the_largest_parts_of_any_mask_are_scipys(mask, n):
    np.testing.assert_array_equal(keep_largest(mask, n), largest_by_scipy(mask, n))


@given(MASKS, st.floats(0, 60), st.floats(0.2, 9))
def test_small_parts_go_and_no_others(mask, min_mm3, voxel_volume):
    parts, found = ndimage.label(mask, ALL_ROUND)
    wanted = np.zeros_like(mask)
    for part in range(1, found + 1):
        if (parts == part).sum() * voxel_volume >= min_mm3:
            wanted |= parts == part
    np.testing.assert_array_equal(drop_small(mask, min_mm3, voxel_volume), wanted)


def test_a_part_of_exactly_the_least_volume_stays():
    mask = np.ones((3, 1, 1), bool)
    assert drop_small(mask, min_mm3=0.3, voxel_volume=0.1).all()
    assert not drop_small(mask, min_mm3=0.31, voxel_volume=0.1).any()


@given(MASKS)
def test_filled_holes_are_scipys(mask):
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("mask", NOISE)
def test_filled_holes_of_noise_are_scipys(mask):
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("mask", NOISE)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ratio", [0, 0.01, 0.1])
def test_cleaned_slices_follow_the_lower_limb_rule(mask, axis, ratio):
    before = mask.copy()
    cleaned = clean_slices(mask, axis, ratio)
    for at in range(mask.shape[axis]):
        wanted = clean_slice_by_scipy(mask.take(at, axis), ratio)
        np.testing.assert_array_equal(cleaned.take(at, axis), wanted)
    np.testing.assert_array_equal(mask, before)


@given(
    hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)),
    st.sampled_from([0.05, 0.2, 0.5, 0.9]),
)
def test_any_slice_is_cleaned_by_the_lower_limb_rule(image, ratio):
    cleaned = clean_slices(image[:, :, None], ratio=ratio)[:, :, 0]
    np.testing.assert_array_equal(cleaned, clean_slice_by_scipy(image, ratio))


def test_what_is_exactly_of_the_ratio_stays():
    mask = np.zeros((60, 60, 1), bool)
    mask[:20, :15] = True  # 300 pixels: 3 are 1 %
    mask[30, 30:33] = mask[40, 30:32] = True
    mask[5, 5:8] = mask[10, 5:7] = False
    cleaned = clean_slices(mask, ratio=0.01)[:, :, 0]
    assert cleaned[30, 30:33].all()
    assert not cleaned[40, 30:32].any()
    assert not cleaned[5, 5:8].any()
    assert cleaned[10, 5:7].all()


def test_a_hollow_shaft_stays_hollow():
    """Its marrow has more than 1 % of the pixels of its cortex; a pin hole has fewer."""
    i, j = np.ogrid[:80, :80]
    away = np.hypot(i - 40, j - 40)
    shaft = (away < 30) & (away > 12)
    drilled = shaft.copy()
    drilled[62:64, 40:43] = False
    np.testing.assert_array_equal(clean_slices(drilled[:, :, None])[:, :, 0], shaft)


def test_smoothing_keeps_flat_faces_and_takes_off_specks():
    mask = np.zeros((30, 30, 30), bool)
    mask[:, :, :12] = True
    flat = mask.copy()
    mask[15, 15, 12:14] = mask[5, 5, 25] = True
    np.testing.assert_array_equal(smoothed(mask, 2.0, (1, 1, 1)), flat)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(bool, (70, 3, 34)), st.floats(0.3, 2.0))
def test_smoothing_in_blocks_is_smoothing(mask, sigma):
    near = ndimage.gaussian_filter(
        mask.astype(np.float64), sigma / np.array([1, 2, 1.5]), mode="nearest"
    )
    rounded = smoothed(mask, sigma, (1, 2, 1.5))
    clear = np.abs(near - 0.5) > 1e-4
    np.testing.assert_array_equal(rounded[clear], (near > 0.5)[clear])


def test_empty_masks_stay_empty():
    empty = np.zeros((5, 4, 3), bool)
    assert not keep_largest(empty).any()
    assert not drop_small(empty, 5, 1).any()
    assert not fill_holes(empty).any()
    assert not clean_slices(empty).any()


def test_no_parts_cannot_be_kept():
    with pytest.raises(ConfigError, match="1 or more"):
        keep_largest(NOISE[0], 0)
