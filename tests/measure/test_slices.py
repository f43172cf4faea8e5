import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.core import KNEE, Grid, LabelMap
from condyle.measure import dice, score_case
from condyle.measure.slices import SLICE_METRICS, pooled, score_slices

GRID = Grid.regular((6, 5, 9), spacing=(0.7, 1, 2))


def random_pair(seed):
    rng = np.random.default_rng(seed)
    arrays = rng.choice(3, (2, *GRID.shape), p=rng.dirichlet((4, 1, 1))).astype(np.uint8)
    arrays[:, :, :, rng.integers(0, 2, 9) == 1] = 0  # some slices hold nothing
    return [LabelMap(array, GRID, KNEE) for array in arrays]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_slice_has_the_dice_of_its_masks_and_all_slices_that_of_the_volume(seed):
    truth, predicted = random_pair(seed)
    rows = score_slices(truth, predicted)
    for name in KNEE.names:
        a, b = truth.mask(name), predicted.mask(name)
        mine = [row for row in rows if row["structure"] == name]
        assert [row["slice"] for row in mine] == np.flatnonzero((a | b).any(axis=(0, 1))).tolist()
        for row in mine:
            assert row["dice"] == dice(a[..., row["slice"]], b[..., row["slice"]])
        volume = next(row for row in score_case(truth, predicted) if row["structure"] == name)
        together = pooled(mine)
        for figure in SLICE_METRICS:
            assert together[figure] == pytest.approx(volume[figure], nan_ok=True)


def test_slices_are_axial_and_counted_from_the_feet_whatever_the_order_of_voxels():
    truth, predicted = random_pair(3)
    wanted = score_slices(truth, predicted, ends=1)
    for orientation in ("LPS", "SAR", "IRP"):
        turned = [labels.reoriented(orientation) for labels in (truth, predicted)]
        assert score_slices(*turned, ends=1) == wanted


def test_the_ends_are_the_first_and_last_slices_that_the_truth_has():
    array = np.zeros((4, 4, 10), np.uint8)
    array[1:3, 1:3, 2:9] = 1
    truth = LabelMap(array, Grid.regular(array.shape), KNEE)
    longer = truth.with_array(np.repeat(array[..., 4:5], 10, axis=2))
    rows = score_slices(truth, longer, ends=2)
    assert [row["slice"] for row in rows if row["end"]] == [2, 3, 7, 8]
    assert [row["dice"] for row in rows] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
