"""There and back: what a network answers lies where it was seen, whatever the scan's axes."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.config import Preparation
from condyle.core import KNEE, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import GeometryError, GridMismatch, LabelError
from condyle.io import read, read_labels
from condyle.prepare import resample
from condyle.prepare.recipe import Recipe
from condyle.prepare.resample import resample_labels
from strategies import ORIENTATIONS, rotation

ALL_ORIENTATIONS = st.sampled_from(ORIENTATIONS)


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def one_hot(labels):
    """Class probabilities (classes, i, j, k) that are sure of every voxel."""
    return np.stack([labels == n for n in range(int(labels.max()) + 1)]).astype(np.float16)


def oblique(shape, spacing, angles):
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) * spacing
    affine[:3, 3] = (-40, 12, 700)
    return Grid(shape, affine)


def blobs(grid):
    """Two balls, 1 the smaller, in voxels of different sides."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    mm = (places + 0.5) * grid.spacing
    extent = np.multiply(grid.shape, grid.spacing)
    array = np.zeros(grid.shape, np.uint8)
    for number, centre, radius in ((1, 0.33, 0.25), (2, 0.68, 0.28)):
        away = np.linalg.norm(mm - extent * centre, axis=-1)
        array[away < radius * extent.min()] = number
    return LabelMap(array, grid, KNEE)


def there_and_back(labels, preparation):
    """The label indices that come back from a network that answers without a mistake."""
    recipe = Recipe(preparation)
    prepared = recipe.apply((Volume(labels.array.astype(np.int16), labels.grid),))
    seen = recipe.apply_labels(labels)
    assert seen.grid.same_as(prepared.grid)
    assert seen.grid.orientation == "RAS"
    return recipe.undo(one_hot(seen.array), prepared)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_scans_own_voxels_come_back_bit_for_bit_from_any_orientation(orientation):
    rng = np.random.default_rng(0)
    grid = oblique((5, 6, 7), (1, 2, 3), (0.2, -0.1, 0.3))
    grid = grid.turned(grid.turn_to(orientation))
    labels = LabelMap(rng.integers(0, 3, grid.shape).astype(np.uint8), grid, KNEE)
    for preparation in (Preparation(), Preparation(spacing=(0, 0, 0))):
        found = there_and_back(labels, preparation)
        np.testing.assert_array_equal(found, labels.array)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous


@settings(max_examples=25, deadline=None)
@given(
    orientation=ALL_ORIENTATIONS,
    angles=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    shrink=st.tuples(*[st.floats(0.7, 1.2)] * 3),
    plane=st.sampled_from([None, "axial", "sagittal", "coronal"]),
)
def test_blobs_come_back_from_oblique_scans_at_modest_shrinking(orientation, angles, shrink, plane):
    grid = oblique((80, 74, 70), (0.9, 1.0, 1.1), angles)
    labels = blobs(grid).reoriented(orientation)
    ras = labels.reoriented("RAS").spacing
    preparation = (
        Preparation(size=66, plane=plane)
        if plane
        else Preparation(spacing=tuple(s * f for s, f in zip(ras, shrink, strict=True)))
    )
    found = there_and_back(labels, preparation)
    for number in (1, 2):
        assert dice(found == number, labels.array == number) >= 0.98


@pytest.mark.parametrize("orientation", ["RAS", "PIR", "LPS", "SAL", "IPR"])
def test_a_landmark_is_where_it_was_in_the_world(orientation):
    grid = oblique((40, 44, 36), (1, 1.2, 2), (0.3, 0.2, -0.4))
    array = np.zeros(grid.shape, np.float32)
    array[10, 30, 20] = 1000
    scan = Volume(array, grid).reoriented(orientation)
    prepared = Recipe(Preparation(spacing=(1.5, 1.5, 1.5), intensity="max")).apply((scan,))
    brightest = np.unravel_index(prepared.array[0].argmax(), prepared.grid.shape)
    found = prepared.grid.index_to_world(brightest)
    assert np.linalg.norm(found - grid.index_to_world((10, 30, 20))) < 1.5
    assert prepared.source.same_as(scan.grid)


def test_working_grids():
    grid = Grid.regular((200, 100, 30), (0.5, 0.5, 4)).turned(
        Grid.regular((200, 100, 30), (0.5, 0.5, 4)).turn_to("SPL")
    )

    def working(**preparation):
        return Recipe(Preparation(**preparation)).working_grid(grid)

    assert working().shape == (200, 100, 30)
    assert working(spacing=(1, 1, 0)).shape == (100, 50, 30)
    assert working(spacing=(1, 2, 2)).shape == (100, 25, 60)
    assert working(size=256).shape == (256, 128, 30)
    assert working(size=64).spacing == pytest.approx((100 / 64, 100 / 64, 4))
    assert working(size=60, plane="sagittal").shape == (200, 25, 60)
    for found in (working(spacing=(1, 2, 2)), working(size=64)):  # the same box, edge to edge
        edges = found.index_to_world([(-0.5,) * 3, np.array(found.shape) - 0.5])
        ras = grid.turned(grid.turn_to("RAS"))
        np.testing.assert_allclose(
            edges, ras.index_to_world([(-0.5,) * 3, np.array(ras.shape) - 0.5]), atol=1e-6
        )


def test_every_channel_is_scaled_by_itself():
    rng = np.random.default_rng(0)
    grid = Grid.regular((8, 9, 10))
    channels = tuple(Volume(rng.normal(m, 1, grid.shape), grid) for m in (0, 5000))
    prepared = Recipe(Preparation()).apply(channels)
    assert prepared.array.shape == (2, 8, 9, 10)
    assert prepared.array.dtype == np.float32
    np.testing.assert_allclose(prepared.array.mean(axis=(1, 2, 3)), 0, atol=1e-3)


def test_a_voxel_that_is_no_number_does_not_spread(caplog):
    array = np.full((8, 8, 8), 10, np.float32)
    array[4, 4, 4] = np.nan
    array[0] = 20
    with caplog.at_level(logging.WARNING, "condyle"):
        prepared = Recipe(Preparation(spacing=(2, 2, 2))).apply(
            (Volume(array, Grid.regular((8,) * 3)),)
        )
    assert np.isfinite(prepared.array).all()
    assert "1 voxels that are NaN" in caplog.text


def test_a_structure_that_would_vanish_is_named():
    array = np.zeros((10, 10, 50), np.uint8)
    array[5, 5, 3] = 2
    labels = LabelMap(array, Grid.regular(array.shape), KNEE)
    with pytest.raises(LabelError, match="femur would be lost"):
        Recipe(Preparation(spacing=(1, 1, 5))).apply_labels(labels)


def test_what_lies_elsewhere_is_refused():
    grid = Grid.regular((8, 8, 8))
    scan = Volume(np.zeros((8, 8, 8)), grid)
    shifted = Volume(scan.array, Grid.regular((8, 8, 8), origin=(0.5, 0, 0)))
    recipe = Recipe(Preparation(spacing=(2, 2, 2)))
    with pytest.raises(GridMismatch, match="channels"):
        recipe.apply((scan, shifted))
    prepared = recipe.apply((scan,))
    with pytest.raises(GeometryError, match="working grid"):
        recipe.undo(np.zeros((3, 8, 8, 8)), prepared)
    with pytest.raises(GridMismatch, match="working grid"):
        recipe.undo_labels(LabelMap(np.zeros((8, 8, 8), np.uint8), grid, KNEE), prepared)


def test_labels_come_back_to_the_scans_own_axes():
    labels = blobs(Grid.regular((50, 48, 46))).reoriented("SLP")
    recipe = Recipe(Preparation(spacing=(1.25, 1.25, 1)))
    prepared = recipe.apply((Volume(labels.array, labels.grid),))
    found = recipe.undo_labels(recipe.apply_labels(labels), prepared)
    assert found.grid.same_as(labels.grid)
    assert found.scheme == labels.scheme
    for name in ("tibia", "femur"):
        assert dice(found.mask(name), labels.mask(name)) > 0.95


def test_the_probabilities_are_never_all_there_at_full_size(monkeypatch):
    seen = []
    block = resample._Enlarged.block

    def watched(*arguments):
        result = block(*arguments)
        seen.append(result.numel())
        return result

    monkeypatch.setattr(resample._Enlarged, "block", watched)
    monkeypatch.setattr(resample, "BLOCK_BYTES", 4 * 60 * 60 * 5)
    labels = blobs(Grid.regular((60, 60, 60)))
    recipe = Recipe(Preparation(spacing=(2, 2, 2)))
    prepared = recipe.apply((Volume(labels.array, labels.grid),))
    probabilities = one_hot(recipe.apply_labels(labels).array)
    recipe.undo(probabilities, prepared)
    assert max(seen) == 60 * 60 * 5
    assert sum(seen) == 3 * 60**3


# Real scans


def round_trip(labels, preparation, structures):
    """Lowest Dice of the structures, on the scan's grid and on the working grid."""
    index = np.zeros(int(max(labels.scheme.ids)) + 1, np.uint8)
    index[list(structures)] = np.arange(1, len(structures) + 1)
    mapped = LabelMap(
        index[labels.array],
        labels.grid,
        LabelScheme.of({f"s{n}": n for n in range(1, len(structures) + 1)}),
    )
    found = there_and_back(mapped, preparation)
    seen = Recipe(preparation).apply_labels(mapped)
    again = resample_labels(
        LabelMap(found, labels.grid, mapped.scheme).reoriented("RAS").array, seen.grid.shape
    )
    numbers = range(1, len(structures) + 1)
    return (
        min(dice(found == n, mapped.array == n) for n in numbers),
        min(dice(again == n, seen.array == n) for n in numbers),
    )


@pytest.mark.parametrize(("kind", "structures"), [("ct", (21, 22, 23)), ("mri", (5, 6, 7))])
def test_vertebrae_in_pir_axes(shared, kind, structures):
    folder = shared / "tptbox_vertebrae"
    scan = read(next(folder.glob(f"sub-{kind}_label-*[ctw].nii.gz")))
    labels = read_labels(next(folder.glob(f"sub-{kind}_seg-vert_*.nii.gz")))
    assert scan.grid.orientation == "PIR"
    scan.grid.require_same(labels.grid, "scan and labels")
    assert round_trip(labels, Preparation(), structures) == (1.0, 1.0)
    own, working = round_trip(labels, Preparation(spacing=(1, 1, 1)), structures)
    assert min(own, working) >= 0.98
    prepared = Recipe(Preparation(spacing=(1, 1, 1))).apply((scan,))
    bone = Recipe(Preparation(spacing=(1, 1, 1))).apply_labels(labels).array > 0
    own_contrast = scan.array[labels.array > 0].mean() - scan.array[labels.array == 0].mean()
    contrast = prepared.array[0][bone].mean() - prepared.array[0][~bone].mean()
    assert np.sign(contrast) == np.sign(own_contrast)


def test_femora_of_a_ct_at_the_working_size(shared):
    folder = shared / "totalsegmentator_reference"
    scan = read(folder / "example_ct.nii.gz")
    labels = read_labels(folder / "example_seg_fast_force_split.nii.gz")
    scan.grid.require_same(labels.grid, "scan and labels")
    for preparation in (
        Preparation(size=256), Preparation(spacing=(1.5, 1.5, 0)), Preparation(spacing=(2, 2, 2))
    ):  # fmt: skip
        own, working = round_trip(labels, preparation, (75, 76))
        assert own >= 0.98
        assert working >= 0.98


def test_hippocampus_enlarged_for_pretrained_encoders(shared):
    folder = shared / "msd_task04_hippocampus"
    for path in sorted((folder / "labelsTr").glob("*.nii.gz"))[:3]:
        labels = read_labels(path)
        own, working = round_trip(labels, Preparation(size=96), (1, 2))
        assert own >= 0.98
        assert working >= 0.98


def test_shrinking_costs_little_by_little(shared):
    labels = read_labels(
        shared / "totalsegmentator_reference" / "example_seg_fast_force_split.nii.gz"
    )
    scores = [round_trip(labels, Preparation(spacing=(s, s, s)), (75, 76))[0] for s in (3, 4, 6)]
    assert scores[0] == 1
    assert all(a > b for a, b in pairwise(scores))


def test_what_nobody_labelled_is_one_label_more_that_never_mixes_and_may_vanish():
    array = np.zeros((20, 20, 40), np.uint8)
    array[5:15, 5:15, 5:35] = 1
    array[:, :, 20:] = 7
    array[2, 2, 3] = 7  # alone, it falls between the new voxels
    grid = Grid.regular(array.shape)
    recipe = Recipe(Preparation(spacing=(2, 2, 3)))
    known = LabelMap(array, grid, LabelScheme.of({"bone": 1, "ignore": 7}))
    ready = recipe.apply_labels(known)
    assert ready.scheme == known.scheme
    assert set(np.unique(ready.array)) == {0, 1, 7}
    # as a structure of that number
    array[2, 2, 3] = 0
    other = recipe.apply_labels(LabelMap(array, grid, LabelScheme.of({"bone": 1, "other": 7})))
    np.testing.assert_array_equal(ready.array, other.array)
    sparse = np.full(array.shape, 7, np.uint8)
    sparse[5, 5, 5] = 1
    with pytest.raises(LabelError, match="bone would be lost"):
        recipe.apply_labels(known.with_array(sparse))


def test_crop_keeps_the_box_of_what_is_not_zero_and_puts_labels_back():
    """nnU-Net's crop: holes inside stay, all channels count, and nothing moves on the way back."""
    affine = np.diag([-1.5, 2, 3, 1.0])[[1, 0, 2, 3]]  # turned axes: RAS is another order
    grid = Grid((20, 24, 16), affine)
    first, second = np.zeros((2, *grid.shape), np.float32)
    first[4:12, 6:18, 3:12] = 100
    first[6:9, 9:12, 5:8] = 0  # a hole
    second[5, 7, 13] = -5  # one voxel of another channel, further up
    labels = np.zeros(grid.shape, np.uint8)
    labels[5:11, 8:16, 4:10] = 1
    labels[7:9, 10:12, 6:8] = 2
    truth = LabelMap(labels, grid, KNEE)
    channels = (Volume(first, grid), Volume(second, grid))
    recipe = Recipe(Preparation(crop="nonzero", intensity="minmax"))
    prepared = recipe.apply(channels)
    seen = recipe.apply_labels(truth, prepared.box)
    assert sorted(prepared.grid.shape) == sorted((8, 12, 11))
    assert seen.grid.same_as(prepared.grid)
    middle = np.argwhere(seen.array == 2).mean(axis=0)  # in its place in the patient, too
    there = prepared.grid.affine @ [*middle, 1]
    assert np.allclose(there, grid.affine @ [*np.argwhere(labels == 2).mean(axis=0), 1])
    assert (recipe.undo(one_hot(seen.array), prepared) == labels).all()
    assert (recipe.undo_labels(seen, prepared).array == labels).all()
    coarse = Recipe(Preparation(crop="nonzero", spacing=(2, 2, 3)))
    prepared = coarse.apply(channels)
    back = coarse.undo(one_hot(coarse.apply_labels(truth, prepared.box).array), prepared)
    assert dice(back == 1, labels == 1) > 0.9
    assert dice(back == 2, labels == 2) > 0.6


def test_crop_of_nothing_keeps_all_and_of_labels_outside_is_refused():
    grid = Grid.regular((6, 6, 6))
    recipe = Recipe(Preparation(crop="nonzero"))
    empty = recipe.apply((Volume(np.zeros(grid.shape, np.float32), grid),))
    assert empty.box is None
    assert empty.grid.same_as(grid)
    array = np.zeros(grid.shape, np.float32)
    array[2:4, 2:4, 2:4] = 7
    prepared = recipe.apply((Volume(array, grid),))
    labels = np.zeros(grid.shape, np.uint8)
    labels[0, 0, 0] = 1
    with pytest.raises(LabelError, match=f"{KNEE.labels[0].name} lies where the scan is 0"):
        recipe.apply_labels(LabelMap(labels, grid, KNEE), prepared.box)
