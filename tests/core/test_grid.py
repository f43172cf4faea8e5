import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from condyle.core import Grid
from condyle.errors import GeometryError, GridMismatch, UnknownName
from strategies import ORIENTATIONS, grids


@given(grids(), st.sampled_from(ORIENTATIONS))
def test_turning_moves_no_voxel_in_the_world(grid, orientation):
    turn = grid.turn_to(orientation)
    index = np.stack(np.indices(grid.shape), axis=-1).astype(float)
    world = grid.index_to_world(index)
    turned = grid.turned(turn)
    there = turned.index_to_world(np.stack(np.indices(turned.shape), axis=-1))
    moved = np.stack([turn.apply(world[..., axis]) for axis in range(3)], axis=-1)
    np.testing.assert_allclose(there, moved, atol=1e-9)


@given(grids(tilt=0.3), st.sampled_from(ORIENTATIONS))
def test_turning_reaches_the_orientation_asked_for(grid, orientation):
    assert grid.turned(grid.turn_to(orientation)).orientation == orientation


@given(grids(), st.sampled_from(ORIENTATIONS))
def test_the_inverse_turn_brings_array_and_grid_back(grid, orientation):
    array = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    turn = grid.turn_to(orientation)
    back = grid.turned(turn).turned(turn.inverse())
    assert back.same_as(grid, 1e-9)
    np.testing.assert_array_equal(turn.inverse().apply(turn.apply(array)), array)


@given(grids(tilt=0.3))
def test_orientation_is_what_nibabel_says(grid):
    assert grid.orientation == "".join(nib.aff2axcodes(grid.affine))


@given(grids())
def test_index_and_world_are_inverse(grid):
    points = np.random.default_rng(0).uniform(-50, 50, (5, 3))
    np.testing.assert_allclose(grid.world_to_index(grid.index_to_world(points)), points, atol=1e-6)


@given(grids(), st.tuples(*[st.integers(1, 30)] * 3))
def test_resizing_keeps_the_box_of_space(grid, shape):
    resized = grid.resized(shape)
    outer = grid.index_to_world([[-0.5] * 3, np.array(grid.shape) - 0.5])
    there = resized.index_to_world([[-0.5] * 3, np.array(shape) - 0.5])
    np.testing.assert_allclose(outer, there, atol=1e-6)
    volume = np.prod(grid.shape) * grid.voxel_volume
    assert np.prod(shape) * resized.voxel_volume == pytest.approx(volume)


def test_a_crop_starts_where_its_first_voxel_was():
    grid = Grid.regular((10, 10, 10), spacing=(1, 2, 3), origin=(5, 6, 7))
    assert grid.cropped((1, 2, 3), (4, 5, 6)).origin == (6, 10, 16)


def test_a_grid_half_a_voxel_away_is_another_one_and_the_message_says_how_far():
    one = Grid.regular((5, 5, 5), spacing=(1, 1, 1))
    other = Grid.regular((5, 5, 5), spacing=(1, 1, 1), origin=(0.4, 0, 0))
    assert not one.same_as(other)
    with pytest.raises(GridMismatch, match=r"knee: the grids differ \(corners 0.4 mm apart\)"):
        one.require_same(other, "knee")


def test_rounding_noise_is_no_difference():
    one = Grid.regular((500, 500, 500), spacing=(0.7, 0.7, 0.7))
    assert one.same_as(Grid(one.shape, one.affine.astype(np.float32)))


@pytest.mark.parametrize(
    ("shape", "change"),
    [
        ((0, 3, 3), None),
        ((3, 3, 3), (0, 0, np.nan)),
        ((3, 3, 3), (0, 0, 0.0)),
        ((3, 3, 3), (3, 0, 1.0)),
    ],
)
def test_impossible_grids_are_refused(shape, change):
    affine = np.eye(4)
    if change:
        affine[change[0], change[1]] = change[2]
    with pytest.raises(GeometryError):
        Grid(shape, affine)


def test_an_orientation_that_names_an_axis_twice_is_refused():
    with pytest.raises(UnknownName, match="RRS"):
        Grid.regular((2, 2, 2)).turn_to("RRS")


def test_grids_cannot_be_changed():
    grid = Grid.regular((2, 2, 2))
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 5
