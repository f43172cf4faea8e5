import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from condyle.errors import GridMismatch
from condyle.measure import dice, iou, pixel_accuracy, precision, recall
from condyle.measure.volume import (
    absolute_volume_similarity,
    volume_error_cm3,
    volume_similarity,
)

EMPTY, FULL = np.zeros((3, 4), bool), np.ones((3, 4), bool)
OVERLAPS = [dice, iou, precision, recall]

pairs = hnp.array_shapes(min_dims=1, max_dims=3, max_side=5).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@pytest.mark.parametrize("figure", [*OVERLAPS, volume_similarity, absolute_volume_similarity])
def test_two_empty_masks_have_no_figure(figure):
    assert math.isnan(figure(EMPTY, EMPTY))


@pytest.mark.parametrize("figure", [*OVERLAPS, absolute_volume_similarity])
def test_a_missed_and_an_invented_structure_count_zero(figure):
    assert figure(FULL, EMPTY) == 0
    assert figure(EMPTY, FULL) == 0


def test_signed_volume_similarity_says_which_way():
    assert volume_similarity(FULL, EMPTY) == 0
    assert volume_similarity(EMPTY, FULL) == 2
    assert volume_similarity(FULL, FULL) == 1
    more, less = FULL, np.arange(12).reshape(3, 4) < 4
    assert volume_similarity(less, more) == pytest.approx(1.5)
    assert volume_similarity(more, less) == pytest.approx(0.5)
    assert absolute_volume_similarity(less, more) == pytest.approx(0.5)


def test_volume_error_is_in_cm3_and_signed():
    assert volume_error_cm3(FULL, EMPTY, voxel_volume_mm3=250) == -3
    assert volume_error_cm3(EMPTY, FULL, voxel_volume_mm3=250) == 3
    assert volume_error_cm3(EMPTY, EMPTY, voxel_volume_mm3=250) == 0


def test_pixel_accuracy_of_labels_and_of_empty_masks():
    assert pixel_accuracy([0, 1, 2, 3], [0, 1, 2, 2]) == 0.75
    assert pixel_accuracy(EMPTY, EMPTY) == 1
    assert pixel_accuracy(EMPTY, FULL) == 0
    assert math.isnan(pixel_accuracy([], []))


@pytest.mark.parametrize("figure", [*OVERLAPS, pixel_accuracy, volume_similarity])
def test_shapes_that_numpy_would_stretch_are_refused(figure):
    with pytest.raises(GridMismatch, match=r"\(3, 4\) and \(4,\)"):
        figure(FULL, FULL[0])


@given(pairs)
def test_figures_agree_with_sets_of_voxels(pair):
    truth, predicted = ({tuple(at) for at in np.argwhere(mask)} for mask in pair)
    both = len(truth & predicted)
    if truth | predicted:
        assert dice(*pair) == pytest.approx(2 * both / (len(truth) + len(predicted)))
        assert iou(*pair) == pytest.approx(both / len(truth | predicted))
        assert iou(*pair) == pytest.approx(dice(*pair) / (2 - dice(*pair)))
    if truth and predicted:
        assert precision(*pair) == pytest.approx(both / len(predicted))
        assert recall(*pair) == pytest.approx(both / len(truth))
        assert precision(*pair) == recall(*pair[::-1])
