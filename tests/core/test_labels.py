import numpy as np
import pytest
from hypothesis import given

from condyle.core import KNEE, LOWER_LIMB, Grid, LabelMap, LabelScheme, Volume
from condyle.core.labels import whole_numbers
from condyle.errors import GeometryError, LabelError, UnknownName
from strategies import grids


def test_mirrored_sides_are_found_by_name_in_the_ways_people_write_sides():
    scheme = LabelScheme.of(
        {"R_tibia": 1, "L_tibia": 2, "femur_left": 3, "femur_right": 4, "Left Hip": 5,
         "Right Hip": 6, "sacrum": 7, "rib_left_1": 8}
    )  # fmt: skip
    assert scheme.mirrored() == {1: 2, 2: 1, 3: 4, 4: 3, 5: 6, 6: 5, 7: 7, 8: 8}


def test_names_without_sides_have_no_opposite():
    assert not LOWER_LIMB.is_sided()
    assert LOWER_LIMB.mirrored() == {1: 1, 2: 2, 3: 3, 4: 4}


def test_the_studies_schemes():
    assert LOWER_LIMB.to_dict() == {"tibia": 1, "femur": 2, "fibula": 3, "pelvis": 4}
    assert KNEE.to_dict() == {"tibia": 1, "femur": 2}


def test_background_is_no_structure_and_colours_differ():
    scheme = LabelScheme.of({"background": 0, **{f"bone_{n}": n for n in range(1, 40)}})
    assert len(scheme) == 39
    assert len({label.colour for label in scheme.labels}) == 39


@pytest.mark.parametrize("ids", [{}, {"a": 1, "b": 1}, {"a": -1}, {"a": 70000}])
def test_schemes_that_cannot_be_are_refused(ids):
    with pytest.raises(LabelError):
        LabelScheme.of(ids)


def test_an_unknown_structure_names_the_known_ones():
    with pytest.raises(UnknownName, match="did you mean 'femur'"):
        KNEE["femru"]


def test_volume_counts_the_voxel_size():
    labels = LabelMap(
        np.array([[[1, 1, 0, 2]]], np.uint8), Grid.regular((1, 1, 4), (10, 10, 5)), KNEE
    )
    assert labels.volume_cm3("tibia") == pytest.approx(1.0)
    assert labels.volume_cm3("femur") == pytest.approx(0.5)
    assert labels.present() == (1, 2)


def test_floats_are_no_labels_until_they_are_proved_whole():
    grid = Grid.regular((1, 1, 2))
    with pytest.raises(LabelError, match="float64"):
        LabelMap(np.zeros((1, 1, 2)), grid, KNEE)
    assert whole_numbers(np.array([0.0, 2.0]), "x").dtype == np.uint8
    assert whole_numbers(np.array([0.0, 300.0002]), "x").tolist() == [0, 300]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0, 0.98], r"mask.nii.gz: labels must be whole numbers, but voxel \(1,\) holds 0.98"),
        ([0, np.nan], "NaN"),
        ([0, -1], "between 0 and 65535"),
        ([0, 70000], "between 0 and 65535"),
    ],
)
def test_labels_that_are_none_are_refused_with_the_place(values, words):
    with pytest.raises(LabelError, match=words):
        whole_numbers(np.array(values, float), "mask.nii.gz")


def test_numbers_that_the_scheme_does_not_know_are_named():
    labels = LabelMap(np.array([[[7]]], np.uint8), Grid.regular((1, 1, 1)), KNEE)
    with pytest.raises(LabelError, match=r"\[7\]"):
        labels.require_known("case 3")


@given(grids())
def test_reorienting_a_volume_moves_no_value_in_the_world(grid):
    array = np.random.default_rng(0).normal(size=grid.shape)
    volume = Volume(array, grid)
    turned = volume.reoriented("RAS")
    at = tuple(n // 2 for n in grid.shape)
    there = np.rint(turned.grid.world_to_index(grid.index_to_world(at))).astype(int)
    assert turned.array[tuple(there)] == array[at]


def test_an_array_must_fit_its_grid_and_a_crop_must_lie_inside():
    with pytest.raises(GeometryError, match="does not fit"):
        Volume(np.zeros((2, 2, 3)), Grid.regular((2, 2, 2)))
    with pytest.raises(GeometryError, match="cannot crop"):
        Volume(np.zeros((2, 2, 2)), Grid.regular((2, 2, 2))).cropped((0, 0, 0), (3, 2, 2))


def test_numpy_takes_a_volume_as_it_is():
    assert np.asarray(Volume(np.ones((2, 2, 2)), Grid.regular((2, 2, 2)))).sum() == 8


def test_a_lumbar_vertebra_has_no_side():
    scheme = LabelScheme.of({"vertebrae_L5": 1, "vertebrae_L4": 2})
    assert not scheme.is_sided()
    assert scheme.mirrored() == {1: 1, 2: 2}


def test_only_the_exact_name_ignore_marks_what_nobody_labelled():
    scheme = LabelScheme.of({"background": 0, "femur": 1, "ignore": 7, "tibia": 2, "Ignore": 3})
    assert (scheme.ignore, scheme.ids, len(scheme)) == (7, (1, 2, 3), 3)
    assert scheme.names == ("femur", "tibia", "Ignore")
    assert LabelScheme.of(scheme.to_dict()) == scheme
    assert list(scheme.to_dict()) == ["femur", "tibia", "Ignore", "ignore"]
    for wrong in ({"femur": 1, "ignore": 1}, {"ignore": 1}, {"femur": 1, "ignore": -1}):
        with pytest.raises(LabelError):
            LabelScheme.of(wrong)
    with pytest.raises(UnknownName):
        scheme["ignore"]


def test_what_nobody_labelled_is_no_structure():
    array = np.array([[[0, 1, 2, 3]]], np.uint8)
    labels = LabelMap(array, Grid.regular(array.shape), LabelScheme.of({"femur": 2, "ignore": 3}))
    assert labels.present() == (1, 2)
    with pytest.raises(LabelError, match=r"\[1\]"):
        labels.require_known("it")
    assert labels.known().tolist() == [[[True, True, True, False]]]
    assert labels.within(labels.known()).array.tolist() == [[[0, 1, 2, 0]]]
    assert labels.with_scheme(KNEE).known() is None
