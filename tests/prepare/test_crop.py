import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from condyle.core import KNEE, Grid, LabelMap, Volume
from condyle.errors import GeometryError, LabelError, UnknownName
from condyle.prepare.crop import (
    below_slice,
    bounding_box,
    labelled_slices,
    near_slice,
    restore,
    slab,
)

SHAPE = (7, 8, 9)
GRID = Grid.regular(SHAPE, (1, 2, 5))


@settings(max_examples=60, deadline=None)
@given(mask=arrays(bool, SHAPE, elements=st.booleans()), margin=st.floats(0, 30))
def test_the_box_holds_all_and_what_is_cut_out_goes_back(mask, margin):
    mask[3, 3, 3] = True
    start, stop = bounding_box(mask, margin, GRID)
    labels = LabelMap(mask.astype(np.uint8), GRID, KNEE)
    part = labels.cropped(start, stop)
    np.testing.assert_array_equal(restore(part.array, (start, stop), SHAPE), labels.array)
    for axis, places in enumerate(np.nonzero(mask)):
        if start[axis] > 0:
            assert (places.min() - start[axis]) * GRID.spacing[axis] >= margin - 1e-4
        if stop[axis] < SHAPE[axis]:
            assert (stop[axis] - 1 - places.max()) * GRID.spacing[axis] >= margin - 1e-4


def test_without_a_margin_the_box_is_tight():
    mask = np.zeros(SHAPE, bool)
    mask[2:4, 5, 1:7] = True
    assert bounding_box(mask, 0, GRID) == ((2, 5, 1), (4, 6, 7))
    assert bounding_box(mask, 2.0, GRID) == ((0, 4, 0), (6, 7, 8))


def legs():
    array = np.zeros(SHAPE, np.uint8)
    array[1:3, 2:4, 2:5] = 1
    return LabelMap(array, GRID, KNEE)


def test_labelled_slices_keep_whole_slices():
    assert labelled_slices(legs()) == ((0, 0, 2), (7, 8, 5))
    assert labelled_slices(legs(), margin=1) == ((0, 0, 1), (7, 8, 6))
    assert labelled_slices(legs(), margin=99) == ((0, 0, 0), SHAPE)
    assert labelled_slices(legs(), "coronal") == ((0, 2, 0), (7, 4, 9))


@pytest.mark.parametrize("orientation", ["PIR", "LPS", "SAL"])
def test_labelled_slices_cut_the_same_place_out_of_any_orientation(orientation):
    stored = legs().reoriented(orientation)
    scan = Volume(stored.array * 100, stored.grid)
    box = labelled_slices(stored)
    cut = scan.reoriented("RAS").cropped(*box)
    assert cut.grid.same_as(GRID.cropped(*box))
    assert (cut.array > 0).any(axis=(0, 1)).all()


def test_what_cannot_be_is_refused():
    empty = LabelMap(np.zeros(SHAPE, np.uint8), GRID, KNEE)
    with pytest.raises(LabelError, match="empty"):
        labelled_slices(empty)
    with pytest.raises(UnknownName, match="plane"):
        labelled_slices(legs(), "oblique")
    with pytest.raises(GeometryError, match="does not lie"):
        bounding_box(np.ones((2, 2, 2)), 0, GRID)
    with pytest.raises(GeometryError, match="does not fit"):
        restore(np.ones((1, 1, 1)), ((0, 0, 0), (2, 2, 2)), SHAPE)
    with pytest.raises(GeometryError, match="does not fit"):
        restore(np.ones((2, 2, 2)), ((6, 0, 0), (8, 2, 2)), SHAPE)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SRA", "PIR"])
def test_slices_are_counted_along_the_body_as_the_file_has_them(orientation):
    grid = GRID.turned(GRID.turn_to(orientation))
    axis = [letter in "IS" for letter in orientation].index(True)
    start, stop = near_slice(grid, 4, reach_mm=7.5)  # slices are 5 mm apart: two either way
    assert (start[axis], stop[axis]) == (2, 7)
    assert [start[a] for a in range(3) if a != axis] == [0, 0]
    assert slab(grid, 2, 6) == (start, stop)
    assert slab(grid) == ((0, 0, 0), grid.shape)
    assert slab(grid, -5, 99) == slab(grid)


def test_an_area_outside_the_scan_is_refused():
    with pytest.raises(GeometryError, match="slices 0 to 8"):
        slab(GRID, 9)
    with pytest.raises(GeometryError, match="no slice 9: the scan has 0 to 8"):
        near_slice(GRID, 9, 10)


@pytest.mark.parametrize(
    ("letters", "box"),
    [("RAS", ((0, 0, 0), (4, 5, 7))), ("RAI", ((0, 0, 6), (4, 5, 10)))],
)
def test_below_a_slice_is_towards_the_feet_whichever_way_slices_are_counted(letters, box):
    affine = np.diag([1.0, 1.0, 1.0 if letters[2] == "S" else -1.0, 1.0])
    assert below_slice(Grid((4, 5, 10), affine), 6) == box


def test_below_a_slice_is_refused_where_the_axis_leans_or_the_slice_is_not_there():
    leaning = np.eye(4)
    leaning[:3, 2] = (0.6, 0.65, 0.47)  # 62 degrees from the line of feet and head
    leaning[:3, 2] /= np.linalg.norm(leaning[:3, 2])
    with pytest.raises(GeometryError, match="leans by 62 degrees"):
        below_slice(Grid((4, 5, 6), leaning), 3)
    with pytest.raises(GeometryError, match="there is no slice 99"):
        below_slice(Grid.regular((4, 5, 6)), 99)
