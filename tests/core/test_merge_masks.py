"""Masks become one label map: nothing is added up, nothing vanishes uncounted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from condyle.core import KNEE, LOWER_LIMB, Grid, LabelMap, Volume
from condyle.core.merge import merge
from condyle.errors import GridMismatch, LabelError, OverlapError, UnknownName

SHAPE = (3, 4, 5)
GRID = Grid.regular(SHAPE, (2, 5, 10))
NAMES = LOWER_LIMB.names


def masks_of(claims):
    """A mask a structure from booleans (structure, i, j, k), of 0 and another number each."""
    return {n: Volume(c * np.int16(7), GRID) for n, c in zip(NAMES, claims, strict=True)}


@settings(max_examples=60, deadline=None)
@given(claims=arrays(bool, (4, *SHAPE)), policy=st.sampled_from(["background", "priority"]))
def test_policies_and_counts_agree_with_a_plain_count(claims, policy):
    labels, report = merge(masks_of(claims), LOWER_LIMB, policy)
    times = claims.sum(axis=0)
    first = np.argmax(claims, axis=0) + 1
    expected = np.where(times > 0, first, 0)
    if policy == "background":
        expected[times > 1] = 0
    np.testing.assert_array_equal(labels.array, expected)
    counted = {(o.first, o.second): o.voxels for o in report.pairs}
    plain = {
        (NAMES[a], NAMES[b]): int((claims[a] & claims[b]).sum())
        for a in range(4) for b in range(a + 1, 4) if (claims[a] & claims[b]).any()
    }  # fmt: skip
    assert counted == plain
    assert report.voxels == int((times > 1).sum())
    assert report.cm3 == pytest.approx(report.voxels * 0.1)


def test_codes_are_never_added():
    ones = np.ones(SHAPE, np.uint8)
    masks = {"tibia": Volume(ones, GRID), "femur": Volume(ones * 2, GRID)}
    assert merge(masks, KNEE, "priority")[0].present() == (1,)
    assert merge(masks, KNEE, "background")[0].present() == ()


def test_an_overlap_is_an_error_that_names_the_pair():
    ones = Volume(np.ones(SHAPE), GRID)
    with pytest.raises(OverlapError, match=r"tibia and femur share 60 voxels \(6 cm³\)"):
        merge({"femur": ones, "tibia": ones}, KNEE, "error")


def test_two_sides_of_one_structure_are_joined_and_no_overlap():
    left, right = np.zeros((2, *SHAPE), np.uint8)
    left[0], right[:2] = 1, 255
    masks = {"L_tibia.nii.gz": Volume(left, GRID), "R_tibia.nii.gz": Volume(right, GRID)}
    labels, report = merge(masks, LOWER_LIMB, "error")
    assert not report.pairs
    np.testing.assert_array_equal(labels.array, np.where(left | right, 1, 0))


def test_each_mask_is_asked_for_once():
    class Counting(dict):
        asked = 0

        def __getitem__(self, name):
            self.asked += 1
            return super().__getitem__(name)

    masks = Counting(masks_of(np.zeros((4, *SHAPE), bool)))
    merge(masks, LOWER_LIMB, "error")
    assert masks.asked == 4


def test_label_maps_are_masks_too():
    array = np.zeros(SHAPE, np.uint8)
    array[1] = 3
    labels, _ = merge({"femur": LabelMap.of(array, GRID)}, KNEE, "error")
    assert labels.volume_cm3("femur") == pytest.approx(2.0)


def test_a_mask_on_another_grid_is_named():
    other = Volume(np.ones(SHAPE), Grid.regular(SHAPE, (2, 5, 11)))
    with pytest.raises(GridMismatch, match="mask femur"):
        merge({"tibia": Volume(np.ones(SHAPE), GRID), "femur": other}, KNEE, "background")


def test_names_and_policies_that_do_not_exist():
    ones = Volume(np.ones(SHAPE), GRID)
    with pytest.raises(UnknownName, match="aorta"):
        merge({"aorta": ones}, KNEE, "error")
    with pytest.raises(UnknownName, match="priority"):
        merge({"tibia": ones}, KNEE, "prioritty")
    with pytest.raises(LabelError, match="no masks"):
        merge({}, KNEE, "error")
    with pytest.raises(LabelError, match="NaN"):
        merge({"tibia": Volume(np.full(SHAPE, np.nan), GRID)}, KNEE, "error")
