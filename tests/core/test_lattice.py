from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from condyle.core import KNEE, Grid, LabelMap
from condyle.core.lattice import covering, on_grid, place_of, together
from condyle.errors import GridMismatch, OutsideGrid
from strategies import ORIENTATIONS, grids


def labels_on(grid, seed):
    """A label map with some structure in about half of its slices."""
    array = np.random.default_rng(seed).integers(0, 3, grid.shape).astype(np.uint8)
    array[:, :, ::2] = 0
    return LabelMap(array, grid, KNEE)


@st.composite
def saved_otherwise(draw):
    """A scan's label map, and the same with axes turned, cut to what is labelled, or padded."""
    grid = draw(grids(largest=7))
    labels = labels_on(grid, draw(st.integers(0, 99)))
    low, high = np.zeros(3, int), np.array(grid.shape)
    inside = np.argwhere(labels.array)
    if draw(st.booleans()) and inside.size:
        low, high = inside.min(0), inside.max(0) + 1
    saved = labels.cropped(low, high)
    before, after = ([draw(st.integers(0, 3)) for _ in range(3)] for _ in range(2))
    saved = replace(
        saved,
        array=np.pad(saved.array, list(zip(before, after, strict=True))),
        grid=saved.grid.cropped(-np.array(before), saved.grid.shape + np.array(after)),
    )
    return labels, saved.reoriented(draw(st.sampled_from(ORIENTATIONS)))


@settings(max_examples=200, deadline=None)
@given(saved_otherwise())
def test_labels_on_a_scans_lattice_come_back_voxel_for_voxel(pair):
    labels, saved = pair
    found = on_grid(saved, labels.grid, "labels")
    assert np.array_equal(found.array, labels.array)
    assert found.grid.same_as(labels.grid)
    assert found.array.dtype == labels.array.dtype


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_all_orders_of_axes_are_understood(orientation):
    labels = labels_on(Grid.regular((5, 4, 6), (0.7, 0.7, 3), (-9, 20, 4)), 1)
    assert np.array_equal(
        on_grid(labels.reoriented(orientation), labels.grid, "labels").array, labels.array
    )


@settings(max_examples=100, deadline=None)
@given(grids(largest=6), st.integers(0, 2), st.floats(0.02, 0.98))
def test_labels_between_the_voxels_are_refused(grid, axis, part):
    assume(min(grid.spacing) * min(part, 1 - part) > 2e-3)
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, axis] * part
    with pytest.raises(GridMismatch, match=r"of a voxel beside|corners .* apart"):
        on_grid(labels_on(Grid(grid.shape, affine), 0), grid, "labels")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (Grid.regular((8, 8, 8), (2, 1, 1)), "spacings 1x1x1 and 2x1x1"),
        (Grid.regular((4, 4, 4), (2, 2, 2)), "shapes .*; spacings"),
        (Grid((8, 8, 4), [[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
         "shapes .*; axes 36.9 degrees apart"),
        (Grid.regular((4, 4, 4), (1, 1, 1), (0.5, 0, 0)), "0.5 of a voxel beside"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_differs_and_what_to_do(own, words):
    with pytest.raises(GridMismatch, match=f"mask: the grids differ .*{words}.*3D Slicer"):
        on_grid(labels_on(own, 0), Grid.regular((8, 8, 8)), "mask")


def test_labels_outside_a_scan_are_refused_and_counted():
    scan = Grid.regular((6, 6, 6))
    labels = LabelMap(np.ones((3, 3, 3), np.uint8), scan.cropped((4, 0, 0), (7, 3, 3)), KNEE)
    with pytest.raises(OutsideGrid, match="9 labelled voxels lie outside the scan"):
        on_grid(labels, scan, "mask")


def test_two_label_maps_share_a_grid_that_holds_both():
    scan = Grid.regular((6, 6, 6), (1, 1, 2))
    truth = labels_on(scan, 0)
    beyond = LabelMap(np.full((2, 2, 2), 2, np.uint8), scan.cropped((5, 5, 5), (7, 7, 7)), KNEE)
    first, second = together(truth, beyond.reoriented("PIR"), "both")
    assert first.grid.same_as(second.grid)
    assert first.grid.shape == (7, 7, 7)
    assert (second.array == 2).sum() == 8
    assert first.array.sum() == truth.array.sum()
    inside = truth.reoriented("LPS")
    assert together(truth, inside, "both")[0] is truth
    far = replace(beyond, grid=scan.cropped((900, 0, 0), (902, 2, 2)))
    with pytest.raises(GridMismatch, match="far apart"):
        together(truth, far, "both")
    assert together(truth, far.emptied(), "both")[1].array.sum() == 0


def test_one_slice_lies_in_a_scan_whatever_thickness_it_claims():
    scan = Grid.regular((6, 5, 4), (1, 1, 3))
    one = Grid.regular((6, 5, 1), (1, 1, 5), (0, 0, 6))
    place = place_of(one, scan)
    assert place is not None
    assert place.start == (0, 0, 2)


def test_a_grid_that_covers_several():
    scan = Grid.regular((6, 5, 4), (1, 1, 3))
    parts = [scan.cropped((0, 1, 1), (3, 2, 2)), scan.cropped((2, 0, 1), (6, 1, 4))]
    assert covering(parts, "masks").same_as(scan.cropped((0, 0, 1), (6, 2, 4)))
