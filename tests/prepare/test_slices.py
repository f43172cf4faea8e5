import numpy as np
import pytest

from condyle.core import KNEE, Grid, LabelMap
from condyle.errors import ConfigError, UnknownName
from condyle.prepare.slices import AXIS, hard_slices, slices


@pytest.mark.parametrize("plane", list(AXIS))
def test_slices_are_views_that_stack_back_to_the_array(plane):
    array = np.arange(24).reshape(2, 3, 4)
    found = list(slices(array, plane))
    np.testing.assert_array_equal(np.stack(found, axis=AXIS[plane]), array)
    assert all(np.shares_memory(s, array) for s in found)


def bones():
    array = np.zeros((5, 6, 100), np.uint8)
    array[2, 2, 10:90] = 1
    array[2, 2, 50] = 0  # a gap is no slice of the bone
    array[4, 4, 40:45] = 2
    return LabelMap(array, Grid.regular(array.shape), KNEE)


def test_hard_slices_are_the_ends_of_each_bone():
    found = hard_slices(bones(), n=20)
    assert found["tibia"].tolist() == [*range(10, 30), *range(70, 90)]
    assert found["femur"].tolist() == [*range(40, 45)]  # short bones count once
    assert hard_slices(bones(), n=1)["tibia"].tolist() == [10, 89]
    assert hard_slices(bones(), n=20, plane="sagittal")["femur"].tolist() == [4]


def test_hard_slices_follow_the_body_not_the_file():
    turned = bones().reoriented("SLP")
    for name, indices in hard_slices(bones(), n=3).items():
        assert hard_slices(turned, n=3)[name].tolist() == indices.tolist()


def test_an_absent_bone_has_none():
    array = bones().array.copy()
    array[array == 2] = 0
    assert hard_slices(LabelMap(array, Grid.regular(array.shape), KNEE))["femur"].size == 0


def test_what_cannot_be_is_refused():
    with pytest.raises(UnknownName, match="did you mean 'axial'"):
        hard_slices(bones(), plane="axail")
    with pytest.raises(UnknownName, match="plane"):
        next(slices(np.zeros((2, 2, 2)), "x"))
    with pytest.raises(ConfigError, match="1 or more"):
        hard_slices(bones(), n=0)
