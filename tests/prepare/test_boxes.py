"""Boxes of labels are scipy's, in any order in memory."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import find_objects

from condyle.prepare.boxes import box_of, boxes

LABELS = arrays.arrays(
    np.uint8, arrays.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 4),
    fill=st.just(0),
)  # fmt: skip


@given(LABELS, st.permutations(range(3)), st.sampled_from([-1, 1]))
def test_boxes_are_scipys_whatever_the_strides(labels, order, step):
    turned = labels.transpose(order)[::step]
    wanted = {n: box for n, box in enumerate(find_objects(turned), 1) if box is not None}
    assert boxes(turned) == wanted
    around = box_of(turned)
    assert (around is None) == (not wanted)
    if around is not None:
        assert np.count_nonzero(turned[around]) == np.count_nonzero(turned)
