"""Rules of anatomy: each broken one is said in a sentence, and a training case breaks none."""

import json

import numpy as np
import pytest

from condyle.core import Grid, LabelMap, LabelScheme
from condyle.errors import DatasetError
from condyle.quality.anatomy import Anatomy

SCHEME = LabelScheme.of({"femur_left": 1, "femur_right": 2, "sacrum": 3})
SHAPE = (24, 12, 12)


def labels(*, left=4, right=14, size=4, sacrum=True, orientation="RAS"):
    """Boxes: the left femur at lower x than the right one, as RAS has it."""
    array = np.zeros(SHAPE, np.uint8)
    array[left : left + size, 4 : 4 + size, 4 : 4 + size] = 1
    array[right : right + size, 4 : 4 + size, 4 : 4 + size] = 2
    if sacrum:
        array[10:13, 8:11, 8:11] = 3
    return LabelMap(array, Grid.regular(SHAPE, (1, 1, 2)), SCHEME).reoriented(orientation)


@pytest.fixture(scope="module")
def anatomy():
    maps = [labels(size=4), labels(size=5), labels(size=4, sacrum=False)]
    return Anatomy.of(maps, SCHEME)


def said(anatomy, found, name):
    return " | ".join(anatomy.broken(found)[name])


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR"])
def test_a_training_case_breaks_no_rule_however_it_is_stored(anatomy, orientation):
    found = anatomy.broken(labels(orientation=orientation))
    assert found == {name: [] for name in SCHEME.names}


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR"])
def test_sides_that_changed_places(anatomy, orientation):
    found = anatomy.broken(labels(left=14, right=4, orientation=orientation))
    sentence = "femur_left lies to the right of femur_right"
    assert found == {"femur_left": [sentence], "femur_right": [sentence], "sacrum": []}


def test_parts_but_not_specks(anatomy):
    halves = labels()
    halves.array[20:22, 9:11, 9:11] = 1
    assert "femur_left is in 2 parts; in training in 1" in said(anatomy, halves, "femur_left")
    speck = labels()
    speck.array[22, 10, 10] = 1  # one voxel of 65
    assert anatomy.broken(speck)["femur_left"] == []


def test_volumes_outside_the_training_range_and_its_margin(anatomy):
    # in training 128 to 250 mm³, so 102 to 312 mm³ are let pass
    assert "femur_right has" in said(anatomy, labels(size=3), "femur_right")
    assert "0.128 to 0.25 cm³" in said(anatomy, labels(size=3), "femur_right")
    slightly = labels(size=5)
    slightly.array[14:19, 9:10, 4:9] = 2
    assert anatomy.broken(slightly)["femur_right"] == []


def test_a_structure_that_is_cut_by_the_border(anatomy):
    assert "border of the scan" in said(anatomy, labels(left=0), "femur_left")
    trained_on_cut = Anatomy.of([labels(left=0), labels(left=0)], SCHEME)
    assert trained_on_cut.broken(labels(left=0))["femur_left"] == []


def test_only_what_is_always_there_may_not_be_missing(anatomy):
    empty = labels().with_array(np.zeros(SHAPE, np.uint8))
    assert "was not found, and every training scan has it" in said(anatomy, empty, "femur_left")
    assert anatomy.broken(empty)["sacrum"] == []
    never = Anatomy.of([labels(sacrum=False)], SCHEME)
    assert "no training scan has it" in said(never, labels(), "sacrum")


def test_the_volume_ratio(anatomy):
    found = anatomy.volume_ratio(labels(size=5, sacrum=False))
    assert found["femur_left"] == pytest.approx(np.log(125 / 64))
    assert np.isnan(found["sacrum"])


def test_the_rules_survive_json(anatomy):
    assert Anatomy.from_dict(json.loads(json.dumps(anatomy.to_dict()))) == anatomy


def test_no_training_labels_are_refused():
    with pytest.raises(DatasetError, match="training case"):
        Anatomy.of([], SCHEME)
