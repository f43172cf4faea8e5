"""Phantoms look like legs to everything that measures them, and their truth is exact."""

import numpy as np
import pytest
from cc3d import connected_components
from scipy.ndimage import gaussian_filter

from condyle.core import LOWER_LIMB, Grid
from condyle.errors import UnknownName
from condyle.phantom import cohort, knee, leg, write_cohort
from condyle.phantom.body import Body
from condyle.phantom.scene import Scene

PLAUSIBLE_CM3 = {"femur": (350, 650), "tibia": (120, 260), "fibula": (8, 25), "pelvis": (200, 450)}
QUICK = (3.0, 3.0, 6.0)


@pytest.fixture(scope="module")
def legs():
    return list(cohort(6, seed=1))


def centre(truth, structure):
    """Middle of a structure in RAS+ mm."""
    return truth.grid.index_to_world(np.argwhere(truth.mask(structure))).mean(axis=0)


def test_the_seed_decides_everything():
    first, again, other = leg(5, spacing=(4, 4, 8)), leg(5, spacing=(4, 4, 8)), leg(6)
    for one, two in zip(first, again, strict=True):
        assert one.grid.same_as(two.grid)
        np.testing.assert_array_equal(one.array, two.array)
    assert not first[0].grid.same_as(other[0].grid)


def test_a_cohort_is_named_and_does_not_depend_on_its_size(legs):
    assert [name for name, _, _ in legs] == [f"leg_{n:03d}" for n in range(6)]
    _, volume, _ = next(cohort(1, seed=1))
    np.testing.assert_array_equal(volume.array, legs[0][1].array)


def test_scan_and_truth_share_a_grid_and_hold_what_files_hold(legs):
    for _, volume, truth in legs:
        assert volume.grid.same_as(truth.grid)
        assert volume.modality == "CT"
        assert volume.array.dtype == np.int16
        assert volume.array.min() >= -1024
        assert truth.scheme == LOWER_LIMB
        assert truth.present() == (1, 2, 3, 4)


@pytest.mark.parametrize("structure", LOWER_LIMB.names)
def test_each_bone_is_whole_plausible_and_brighter_than_muscle(legs, structure):
    low, high = PLAUSIBLE_CM3[structure]
    for name, volume, truth in legs:
        mask = truth.mask(structure)
        assert low < truth.volume_cm3(structure) < high, name
        assert connected_components(mask, connectivity=6).max() == 1, name
        assert volume.array[mask].mean() > 150, name


def test_tissues_have_their_hounsfield_units(legs):
    for _, volume, truth in legs:
        soft = volume.array[truth.array == 0]
        muscle, fat = soft[(soft > 0) & (soft < 120)], soft[(soft < -40) & (soft > -160)]
        assert 40 < np.median(muscle) < 65
        assert -110 < np.median(fat) < -85
        assert np.median(soft[soft < -800]) == pytest.approx(-1000, abs=8)
        assert np.percentile(volume.array[truth.mask("femur")], 98) > 900


def test_scans_of_a_cohort_differ_as_files_do(legs):
    grids = [volume.grid for _, volume, _ in legs]
    oblique = [np.abs(grid.direction).max(axis=0).min() < 0.99999 for grid in grids]
    assert 0 < sum(oblique) < len(grids)
    assert len({grid.orientation for grid in grids}) > 1
    assert len({grid.spacing for grid in grids}) == len(grids)


def test_both_sides_occur_and_a_right_leg_lies_on_the_right_of_the_world(legs):
    sides = set()
    for _, _, truth in legs:
        side = np.sign(centre(truth, "femur")[0])
        sides.add(side)
        assert side * (centre(truth, "fibula") - centre(truth, "tibia"))[0] > 0
        assert side * centre(truth, "pelvis")[0] > 0
    assert sides == {-1.0, 1.0}


def test_the_head_is_up(legs):
    for _, _, truth in legs:
        heights = [centre(truth, name)[2] for name in ("pelvis", "femur", "tibia")]
        assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("seed", [0, 3])
def test_truth_is_the_same_body_at_every_spacing(seed):
    _, coarse = leg(seed, spacing=QUICK)
    _, fine = leg(seed, spacing=(2, 2, 4))
    for name in ("femur", "pelvis"):
        assert coarse.volume_cm3(name) == pytest.approx(fine.volume_cm3(name), rel=0.03)
        np.testing.assert_allclose(centre(coarse, name), centre(fine, name), atol=1.5)


def test_truth_is_sampled_at_the_centres_of_the_voxels():
    body = Body.drawn(np.random.default_rng(4))
    turned = np.array([[4, 0.3, 0, 0], [-0.3, 4, 0, 0], [0, 0, 12, 0], [0, 0, 0, 1]])
    turned[:3, 3] = (body.to_world @ [*body.knee, 1])[:3] - (100, 100, 200)
    coarse = Grid((50, 50, 34), turned)
    fine = coarse.resized((150, 150, 102))
    scene = Scene(body, coarse)
    assert scene.factors == (1, 1, 3)
    np.testing.assert_array_equal(scene.truth, Scene(body, fine).truth[1::3, 1::3, 1::3])
    assert set(np.unique(scene.truth)) >= {0, 1, 2, 3}


@pytest.mark.parametrize("spacing", [(1, 1, 3), (2, 2, 2)])
def test_the_surface_of_the_truth_lies_halfway_up_the_edge_of_the_picture(spacing):
    body = Body.drawn(np.random.default_rng(9))
    middle = (body.to_world @ [*body.femur(0, 0, 215), 1])[:3]
    shape = tuple(60 // s for s in spacing)
    origin = middle - np.array(spacing) * (np.array(shape) - 1) / 2
    scene = Scene(body, Grid.regular(shape, spacing, origin))
    bone, window, _, distance = scene.bones[0]
    assert bone.name == "femur"
    blurred = gaussian_filter(scene.picture(), [0.8 / s for s in scene.grid.spacing])[window]

    def mean_hu(depth):
        return blurred[np.abs(distance - depth) < 0.25].mean()

    inside, surface, outside = mean_hu(-2.5), mean_hu(0), mean_hu(2.5)
    assert inside > 1000 > 100 > outside
    assert (surface - outside) / (inside - outside) == pytest.approx(0.5, abs=0.05)


def test_a_knee_shows_three_bones_and_a_kneecap_without_a_label():
    volume, truth = knee(1)
    assert truth.present() == (1, 2, 3)
    assert max(volume.spacing) <= 1.5
    bright = connected_components((volume.array > 450) & (truth.array == 0), connectivity=6)
    kneecap_cm3 = np.bincount(bright.ravel())[1:].max() * volume.grid.voxel_volume / 1000
    assert kneecap_cm3 > 2


def test_a_hip_shows_pelvis_and_femur():
    assert leg(1, extent="hip", spacing=QUICK)[1].present() == (2, 4)


def test_bones_keep_a_gap_at_the_hip():
    _, truth = leg(1, extent="hip", spacing=(1.5, 1.5, 1.5))
    femur, pelvis = truth.mask("femur"), truth.mask("pelvis")
    for axis in range(3):
        near, far = [slice(None)] * 3, [slice(None)] * 3
        near[axis], far[axis] = slice(1, None), slice(None, -1)
        assert not (femur[tuple(near)] & pelvis[tuple(far)]).any()
        assert not (femur[tuple(far)] & pelvis[tuple(near)]).any()


def test_an_unknown_extent_names_the_known_ones():
    with pytest.raises(UnknownName, match="leg, knee, hip"):
        leg(0, extent="ankle")  # type: ignore[arg-type]


def test_a_cohort_is_written_as_a_data_set(tmp_path):
    from condyle.io.datasets.layouts import open_dataset

    dataset = open_dataset(write_cohort(tmp_path / "phantoms", 2))
    assert [case.id for case in dataset.cases] == ["leg_000", "leg_001"]
    channels, labels = dataset["leg_001"].pair()
    _, volume, truth = list(cohort(2))[1]
    np.testing.assert_array_equal(channels[0].array, volume.array)
    np.testing.assert_array_equal(labels.array, truth.array)
    assert labels.grid.same_as(truth.grid)
    assert dataset.scheme.to_dict() == LOWER_LIMB.to_dict()
