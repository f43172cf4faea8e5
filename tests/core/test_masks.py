"""Which voxels a mask means, whatever its type: 0 and one number, or probabilities."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.core.masks import cut_at_half, holds_fractions, mask_of
from condyle.errors import LabelError

KINDS = ("uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "float32", "float64")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [1, 2, 100])
def test_zero_and_one_positive_number_is_a_mask(kind, value):
    array = np.array([[0, value, 0, value]], kind)
    assert mask_of(array, "m").tolist() == [[False, True, False, True]]
    assert not mask_of(array * 0, "m").any()


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("values", [[0, -1], [-1000, 400], [0, 1, -3]])
def test_negative_numbers_are_refused(kind, values):
    if kind == "int8":
        values = [max(value, -100) // 4 for value in values]
    with pytest.raises(LabelError, match=f"mask m holds negative numbers, down to {min(values)}"):
        mask_of(np.array(values, kind), "m")


@pytest.mark.parametrize("kind", KINDS)
def test_several_numbers_are_refused_by_name(kind):
    with pytest.raises(LabelError, match=r"several numbers \(1, 2, 7\)"):
        mask_of(np.array([0, 7, 1, 2, 2], kind), "m")
    with pytest.raises(LabelError, match=re.escape("(1, 2, 3, 4, 5, 6, 7, 8, ...)")):
        mask_of(np.arange(20).astype(kind), "m")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(LabelError, match="NaN or infinite"):
        mask_of(np.array([0, 1, bad]), "m")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 0.4, 255], "from 0 to 255"),
        ([-0.2, 0.5, 1], "from -0.2 to 1"),
        ([0, 0.3, 1.2], "from 0 to 1.2"),
        ([0, 1 / 255], "at most 0.003922, none above 0.5"),
    ],
)
def test_fractions_that_are_no_probabilities_are_refused(values, words):
    array = np.array(values)
    assert holds_fractions(array, "m")
    with pytest.raises(LabelError, match=re.escape(words)):
        cut_at_half(array, "m")
    with pytest.raises(LabelError, match="fractions"):
        mask_of(array, "m")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40))
def test_probabilities_are_cut_at_half_and_every_voxel_is_counted(values):
    array = np.array([*values, 0.75, 1.0], np.float32)
    inside, said = cut_at_half(array, "m")
    assert inside.tolist() == [value > 0.5 for value in array]
    taken, left = map(int, re.findall(r"(?:the|taken,) (\d+)", said))
    assert (taken, left) == (inside.sum(), ((array > 0) & (array <= 0.5)).sum())


def test_rounding_errors_are_no_fractions():
    array = np.array([0, 1e-7, 0.9995, 1, 1.0004], np.float32)
    assert not holds_fractions(array, "m")
    assert mask_of(array, "m").tolist() == [False, False, True, True, True]
