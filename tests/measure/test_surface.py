import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from condyle.errors import GeometryError, GridMismatch
from condyle.measure import surface_distances

MASKS = hnp.arrays(bool, (4, 3, 5))
EMPTY = np.zeros((9, 9, 9), bool)
ONE = EMPTY.copy()
ONE[4, 4, 4] = True


def test_empty_masks_follow_the_rule():
    nothing = surface_distances(EMPTY, EMPTY, (1, 1, 1))
    figures = [nothing.hausdorff(), nothing.hd95(), nothing.assd(), nothing.nsd(1)]
    assert all(math.isnan(figure) for figure in figures)
    for pair in ((ONE, EMPTY), (EMPTY, ONE)):
        one = surface_distances(*pair, (1, 1, 1))
        assert [one.hausdorff(), one.hd95(), one.assd()] == [math.inf] * 3
        assert one.nsd(1000) == 0


def test_a_shift_of_a_block_is_measured_in_millimetres():
    truth, predicted = np.zeros((2, 12, 12, 12), bool)
    truth[2:8, 3:8, 3:8] = True
    predicted[4:10, 3:8, 3:8] = True
    distances = surface_distances(truth, predicted, (2.5, 0.7, 0.7))
    assert distances.hausdorff() == pytest.approx(5)
    assert 0 < distances.assd() < 5
    assert distances.nsd(5) == 1
    assert 0 < distances.nsd(4.9) < 1


def test_the_area_of_a_sphere_is_that_of_its_elements():
    at = np.indices((41, 41, 41)) - 20.0
    ball = (at**2).sum(axis=0) < 18.5**2
    areas = surface_distances(ball, ball, (1, 1, 1)).truth_areas
    assert areas.sum() == pytest.approx(4 * np.pi * 18.5**2, rel=0.1)


def test_masks_far_apart_and_a_shell_round_a_core_are_measured_exactly():
    at = np.indices((60, 40, 40)).astype(float)

    def ball(centre, radius):
        return sum((x - c) ** 2 for x, c in zip(at, centre, strict=True)) < radius**2

    apart = surface_distances(ball((10, 20, 20), 6), ball((45, 20, 20), 6), (1, 1, 2))
    assert apart.hausdorff() == pytest.approx(35)
    shell = surface_distances(ball((20, 20, 20), 18), ball((20, 20, 20), 3), (1, 1, 1))
    assert shell.hausdorff() == pytest.approx(15, abs=1)
    speck = ball((15, 20, 20), 12)
    speck[58, 20, 20] = True
    assert surface_distances(ball((15, 20, 20), 12), speck, (1, 1, 1)).hausdorff() > 30


@given(MASKS, MASKS, st.tuples(*[st.sampled_from([0.5, 1.0, 2.3])] * 3))
def test_swapping_truth_and_prediction_changes_no_symmetric_figure(a, b, spacing):
    one, other = surface_distances(a, b, spacing), surface_distances(b, a, spacing)
    for figure in ("hausdorff", "hd95", "assd"):
        mine, yours = getattr(one, figure)(), getattr(other, figure)()
        assert mine == pytest.approx(yours, nan_ok=True)
    assert one.nsd(1.1) == pytest.approx(other.nsd(1.1), nan_ok=True)


@given(MASKS, MASKS)
def test_axes_may_be_turned_and_flipped(a, b):
    one = surface_distances(a, b, (1, 2, 3))
    other = surface_distances(a.transpose(2, 0, 1)[::-1], b.transpose(2, 0, 1)[::-1], (3, 1, 2))
    assert one.assd() == pytest.approx(other.assd(), nan_ok=True)
    assert one.hd95() == pytest.approx(other.hd95(), nan_ok=True)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(GridMismatch, match="one grid"):
        surface_distances(EMPTY, EMPTY[:-1], (1, 1, 1))
    with pytest.raises(GeometryError, match="above 0 mm"):
        surface_distances(EMPTY, EMPTY, (1, 0, 1))
    with pytest.raises(GeometryError, match=r"\(i, j, k\)"):
        surface_distances(EMPTY[0], EMPTY[0], (1, 1))


def test_a_tolerance_of_whole_voxels_holds_whatever_a_header_rounds():
    truth, predicted = np.zeros((2, 9, 9, 9), bool)
    truth[2:5, 2:5, 2:5] = predicted[4:7, 2:5, 2:5] = True
    for half in (0.5, float(np.float32(0.1)) * 5, 0.5 * (1 + 1e-7)):
        assert surface_distances(truth, predicted, (half,) * 3).nsd(1.0) == 1
