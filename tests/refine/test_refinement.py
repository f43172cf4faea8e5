import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from condyle.core import KNEE, Grid, LabelMap
from condyle.errors import ConfigError, UnknownName
from condyle.refine import Refinement, clean_slices, fill_holes, keep_largest, refine, refined

ARRAYS = hnp.arrays(np.uint8, (5, 6, 7), elements=st.integers(0, 3))
STEPS = st.builds(
    Refinement,
    slice_ratio=st.sampled_from([0, 0.01, 0.2]),
    slice_plane=st.sampled_from(["axial", "sagittal", "coronal"]),
    smooth_mm=st.sampled_from([0, 0.8]),
    min_mm3=st.sampled_from([0, 3]),
    keep_largest=st.integers(0, 2),
    fill_holes=st.booleans(),
)


def knee(array, affine=None):
    return LabelMap(array, Grid(array.shape, np.eye(4) if affine is None else affine), KNEE)


def block():
    array = np.zeros((20, 20, 20), np.uint8)
    array[2:12, 2:12, 2:12] = 1
    return array


def test_no_steps_change_nothing():
    array = np.random.default_rng(0).integers(0, 3, (9, 9, 9)).astype(np.uint8)
    np.testing.assert_array_equal(refine(knee(array), Refinement()).array, array)


def test_each_structure_is_cleaned_alone():
    array = block()
    array[15, 15, 15] = 1
    array[14:18, 4, 4] = 2
    array[10, 18, 18] = 2
    cleaned = refine(knee(array), Refinement(keep_largest=1)).array
    np.testing.assert_array_equal(cleaned == 1, block() == 1)
    assert (cleaned == 2).sum() == 4


def test_volumes_are_in_cubic_millimetres():
    array = block()
    array[15:17, 15, 15] = 1
    grid = np.diag([1.0, 1, 2.5, 1])
    assert refine(knee(array, grid), Refinement(min_mm3=5.0)).array[15, 15, 15] == 1
    assert refine(knee(array, grid), Refinement(min_mm3=5.1)).array[15, 15, 15] == 0


def test_filling_takes_no_voxel_from_another_structure():
    array = block()
    array[4:9, 4:9, 4:9] = 0
    array[6, 6, 6] = 2
    filled = refine(knee(array), Refinement(fill_holes=True)).array
    assert filled[6, 6, 6] == 2
    assert (filled == 1).sum() == 1000 - 1


def test_what_another_structure_lost_is_filled():
    array = block()
    array[6, 6, 6] = 2
    array[14:18, 14:18, 14:18] = 2
    filled = refine(knee(array), Refinement(keep_largest=1, fill_holes=True)).array
    assert filled[6, 6, 6] == 1


@pytest.mark.parametrize(("plane", "axis"), [("sagittal", 1), ("coronal", 2), ("axial", 0)])
def test_slices_lie_in_the_bodys_planes_whatever_the_order_of_axes(plane, axis):
    array = np.random.default_rng(1).integers(0, 3, (12, 13, 14)).astype(np.uint8)
    turned = np.array([[0, -1.0, 0, 0], [0, 0, 1.0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])
    labels = LabelMap(np.where(array == 1, 1, 0), Grid(array.shape, turned), KNEE)
    assert labels.grid.orientation == "SLA"
    steps = Refinement(slice_ratio=0.05, slice_plane=plane)
    wanted = clean_slices(labels.mask("tibia"), axis, 0.05)
    np.testing.assert_array_equal(refine(labels, steps).mask("tibia"), wanted)


@given(ARRAYS, STEPS)
def test_no_structure_takes_from_another_and_strangers_stay(array, steps):
    before = array.copy()
    cleaned = refine(knee(array), steps)
    np.testing.assert_array_equal(array, before)
    assert cleaned.array.dtype == array.dtype
    changed = cleaned.array != array
    lost_or_empty = {0, 1, 2}
    assert set(np.unique(array[changed])) <= lost_or_empty
    np.testing.assert_array_equal(cleaned.array == 3, array == 3)
    if not steps.fill_holes and not steps.slice_ratio and not steps.smooth_mm:
        assert not cleaned.array[changed].any()
    assert set(cleaned.present()) <= set(knee(array).present())


@given(ARRAYS)
def test_a_structure_alone_is_what_the_steps_make_of_it(array):
    only = np.where(array == 1, 1, 0).astype(np.uint8)
    steps = Refinement(keep_largest=1, fill_holes=True)
    wanted = fill_holes(keep_largest(only == 1))
    np.testing.assert_array_equal(refine(knee(only), steps).array == 1, wanted)


def test_smoothing_does_not_round_off_a_bone_at_the_end_of_the_scan():
    array = np.zeros((20, 20, 12), np.uint8)
    array[6:14, 6:14, :] = 1
    rounded = refine(knee(array), Refinement(smooth_mm=1.0)).array
    np.testing.assert_array_equal(rounded[..., 0], rounded[..., 6])
    assert rounded[10, 10, 0] == 1
    assert 0 < rounded.sum() < array.sum()


def test_a_structures_own_steps_replace_those_of_all():
    array = np.zeros((20, 20, 20), np.uint8)
    for number, first in ((1, 2), (2, 12)):
        array[first : first + 5, 2:7, 2:7] = number
        array[first + 2, 4, 4] = 0
        array[first, 15, 15] = number
    steps = Refinement(keep_largest=1, structures={"femur": Refinement(fill_holes=True)})
    cleaned = refine(knee(array), steps).array
    assert (cleaned[2, 15, 15], cleaned[4, 4, 4]) == (0, 0)
    assert (cleaned[12, 15, 15], cleaned[14, 4, 4]) == (2, 2)
    alone = Refinement(keep_largest=1, structures={"femur": Refinement()})
    np.testing.assert_array_equal(refine(knee(array), alone).array == 2, array == 2)


def test_steps_for_a_structure_that_is_not_there_name_those_that_are():
    with pytest.raises(UnknownName, match="did you mean 'femur'"):
        refine(knee(block()), Refinement(structures={"femour": Refinement(keep_largest=1)}))


def test_what_a_segmenter_stores_is_what_is_done():
    array = block()
    array[15, 15, 15] = 1
    labels = knee(array)
    assert refined(labels, {}) is labels
    cleaned = refined(labels, {"structures": {"tibia": {"keep_largest": 1}}})
    np.testing.assert_array_equal(cleaned.array, block())


@given(STEPS, st.dictionaries(st.text(min_size=1), STEPS, max_size=3))
def test_steps_are_written_and_read_again(steps, structures):
    steps = replace(steps, structures=structures)
    assert Refinement.from_dict(json.loads(json.dumps(steps.to_dict()))) == steps


def test_no_steps_are_nothing():
    assert Refinement().to_dict() == {}
    assert Refinement.from_dict({}) == Refinement()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"keep_largest": 1.5}, "keep_largest must be a whole number"),
        ({"keep_largest": True}, "keep_largest must be a whole number"),
        ({"fill_holes": 1}, "fill_holes must be true or false"),
        ({"smooth_mm": "1"}, "smooth_mm must be a number"),
        ({"structures": 3}, "structures must be a table"),
        ({"structures": {"tibia": 3}}, "tibia must be a table"),
        ({"structures": {"tibia": {"structures": {"femur": {}}}}}, "tibia"),
        ({"tibia": {"keep_largest": 1}}, "refinement step 'tibia'"),
    ],
)
def test_files_with_wrong_settings_are_refused_in_a_sentence(bad, words):
    with pytest.raises(ConfigError, match=words):
        Refinement.from_dict(bad)


@pytest.mark.parametrize(
    "bad",
    [{"min_mm3": -1}, {"keep_largest": -2}, {"slice_ratio": 1.0}, {"smooth_mm": float("nan")}],
)
def test_steps_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Refinement(**bad)


def test_unknown_steps_and_planes_name_the_known():
    with pytest.raises(UnknownName, match="did you mean 'keep_largest'"):
        Refinement.from_dict({"keep_larges": 1})
    with pytest.raises(UnknownName, match="axial"):
        Refinement(slice_plane="axail")
