"""What a data set is like, and the settings that follow."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.core import KNEE, Grid, LabelScheme, Volume
from condyle.errors import DatasetError, UnknownName
from condyle.io import open_dataset, read
from condyle.prepare.fingerprint import (
    CaseFacts,
    Fingerprint,
    fingerprint,
    looks_like_ct,
    settings_for,
)
from condyle.prepare.recipe import Recipe
from condyle.prepare.slices import plane_across

SHAPE = (20, 30, 10)


def knee_ct(seed=0, shape=SHAPE):
    """Air about a leg of water and bone, in whole Hounsfield units; and where the bone is."""
    rng = np.random.default_rng(seed)
    array = np.full(shape, -1000.0)
    labels = np.zeros(shape, np.uint8)
    array[4:-4, 4:-4] = 40
    labels[8:12, 10:20] = 1
    array[labels == 1] = 500
    return np.rint(array + rng.normal(0, 10, shape)).astype(np.int16), labels


def facts(shape, spacing, is_ct=False):
    return CaseFacts("a", shape, spacing, "RAS", is_ct, (0, 1, 2), (0, 1, 2), 1, 1, {})


def seen(shape, spacing, is_ct=False):
    return Fingerprint((facts(shape, spacing, is_ct),), (100.0, 400.0, 1100.0), 420.0, 150.0)


def test_what_a_case_is_like(make_case):
    array, labels = knee_ct()
    grid = Grid.regular(SHAPE, (1, 1, 3))
    turn = grid.turn_to("SPL")
    case = make_case("k", turn.apply(array), turn.apply(labels), grid=grid.turned(turn))
    found = fingerprint([case])
    (one,) = found.cases
    assert (one.shape, one.spacing, one.orientation) == (SHAPE, (1, 1, 3), "SPL")
    assert one.is_ct
    assert found.is_ct
    np.testing.assert_allclose(one.intensities, np.percentile(array, (0.5, 50, 99.5)))
    bone = array[labels == 1]
    np.testing.assert_allclose(one.foreground, np.percentile(bone, (0.5, 50, 99.5)))
    assert one.foreground_mean == pytest.approx(bone.mean())
    assert one.foreground_std == pytest.approx(bone.std())
    assert one.volumes == pytest.approx({"tibia": 400 * 3 / 1000, "femur": 0})
    assert found.foreground_mean == pytest.approx(bone.mean())
    assert found.extent == (20, 30, 30)


def test_medians_over_cases_and_json(make_case):
    cases = []
    for n, spacing in enumerate([(1, 1, 2), (1, 1, 3), (1, 1, 9)]):
        array, labels = knee_ct(n)
        cases.append(make_case(f"k{n}", array, labels, grid=Grid.regular(SHAPE, spacing)))
    found = fingerprint(cases)
    assert found.spacing == (1, 1, 3)
    assert found.shape == SHAPE
    again = json.loads(json.dumps(found.to_dict()))
    assert again["spacing"] == [1, 1, 3]
    assert [case["id"] for case in again["cases"]] == ["k0", "k1", "k2"]


def test_each_case_is_read_once_and_one_at_a_time(make_case):
    read_order = []

    def cases():
        for n in range(3):
            read_order.append(n)
            yield make_case(f"k{n}", *knee_ct(n))

    fingerprint(cases())
    assert read_order == [0, 1, 2]


def test_an_unlabelled_body_part_counts_for_nothing_and_none_at_all_is_refused(make_case):
    array, labels = knee_ct()
    empty = make_case("e", array, np.zeros_like(labels))
    found = fingerprint([empty, make_case("k", array, labels)])
    assert found.cases[0].foreground is None
    assert found.foreground_mean == pytest.approx(array[labels == 1].mean())
    with pytest.raises(DatasetError, match="nothing to learn from"):
        fingerprint([empty])


def test_a_voxel_that_is_no_number_spoils_nothing(make_case):
    array, labels = knee_ct()
    spoilt = array.astype(np.float32)
    spoilt[9, 12, 3] = np.nan
    found = fingerprint([make_case("k", spoilt, labels)])
    assert np.isfinite([found.foreground_mean, found.foreground_std, *found.foreground]).all()
    assert found.is_ct


def volume(array, modality=""):
    return Volume(array, Grid.regular(array.shape), modality)


def test_is_it_ct():
    array, _ = knee_ct()
    rng = np.random.default_rng(0)
    assert looks_like_ct(volume(array))
    assert looks_like_ct(volume(array.astype(np.float32)))
    assert looks_like_ct(volume(np.where(array < -900, -3024, array)))  # padded
    assert looks_like_ct(volume(np.abs(array), "CT"))  # the file's word counts
    assert not looks_like_ct(volume(array, "MR"))
    assert not looks_like_ct(volume(array + 1000))  # not in Hounsfield units
    assert not looks_like_ct(volume(array + 0.5))
    assert not looks_like_ct(volume(rng.integers(-4096, 4096, SHAPE)))  # MR phase
    assert not looks_like_ct(volume(rng.integers(0, 900, SHAPE)))
    assert not looks_like_ct(volume(np.full(SHAPE, np.nan)))


def test_real_ct_and_mr_are_told_apart_by_their_numbers(shared):
    paths = [
        *shared.glob("totalsegmentator_reference/example_*.nii.gz"),
        *shared.glob("totalsegmentator_reference/chest_1p5mm/ct*.nii.gz"),
        *shared.glob("tptbox_vertebrae/*[wt].nii.gz"),
        *shared.glob("sts_extremity/*/*_image.nii.gz"),
    ]
    assert len(paths) > 10
    for path in paths:
        if "seg" not in path.name:
            assert looks_like_ct(read(path)) == ("ct" in path.name.lower()), path


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(*[st.integers(8, 700)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    plane=st.sampled_from([None, "axial", "coronal", "sagittal"]),
)
def test_slices_of_the_typical_scan_get_96_to_256_square_pixels(shape, spacing, plane):
    found = settings_for(seen(shape, spacing), 2, plane)
    assert found.plane == (plane or plane_across(spacing))
    working = Recipe(found).working_grid(Grid.regular(shape, spacing))
    through = {"sagittal": 0, "coronal": 1, "axial": 2}[found.plane]
    flat = [axis for axis in range(3) if axis != through]
    assert 95 <= max(working.shape[axis] for axis in flat) <= 257
    assert working.shape[through] == shape[through]
    assert found.spacing[flat[0]] == found.spacing[flat[1]]


@settings(max_examples=100, deadline=None)
@given(shape=st.tuples(*[st.integers(8, 700)] * 3), spacing=st.tuples(*[st.floats(0.2, 8)] * 3))
def test_volumes_keep_their_spacing_unless_too_large(shape, spacing):
    found = settings_for(seen(shape, spacing), 3)
    ratio = np.array(found.spacing) / spacing
    if np.prod(shape) <= 160**3:
        np.testing.assert_allclose(ratio, 1, rtol=1e-3)
    else:
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
        working = Recipe(found).working_grid(Grid.regular(shape, spacing))
        assert np.prod(working.shape) < 1.25 * 160**3


def test_ct_keeps_its_scale_and_other_scans_are_scaled_one_by_one():
    found = settings_for(seen(SHAPE, (1, 1, 3), is_ct=True), 3)
    assert found.intensity == "ct"
    assert found.window == pytest.approx((0, 1200), abs=0.1)  # a tenth wider than 100 to 1100
    assert (found.mean, found.std) == (420, 150)
    assert settings_for(seen(SHAPE, (1, 1, 3)), 3).intensity == "zscore"


def test_structures_of_one_intensity_still_give_settings_that_work(make_case):
    array, labels = knee_ct()
    array[labels == 1] = 500
    found = settings_for(fingerprint([make_case("k", array, labels)]), 2)
    prepared = Recipe(found).apply((volume(array),))
    assert np.isfinite(prepared.array).all()


def test_an_unknown_plane_is_named():
    with pytest.raises(UnknownName, match="axail"):
        settings_for(seen(SHAPE, (1, 1, 1)), 2, "axail")


def test_the_hippocampus_is_enlarged_and_scaled_scan_by_scan(shared):
    dataset = open_dataset(shared / "msd_task04_hippocampus")
    found = fingerprint(dataset.labelled()[:6])
    assert found.spacing == pytest.approx((1, 1, 1))
    assert not found.is_ct
    assert all(0.5 < sum(case.volumes.values()) < 10 for case in found.cases)
    chosen = settings_for(found, 2)
    assert chosen.intensity == "zscore"
    assert 0.3 < chosen.spacing[0] < 0.7
    assert settings_for(found, 3).spacing == pytest.approx((1, 1, 1))


def test_the_scheme_names_the_volumes(make_case):
    assert tuple(fingerprint([make_case("k", *knee_ct())]).cases[0].volumes) == KNEE.names


def test_what_nobody_labelled_counts_for_nothing(make_case):
    array, labels = knee_ct()
    scheme = LabelScheme.of({"tibia": 1, "femur": 2, "ignore": 9})
    marked = np.where(labels == 0, 9, labels)
    plain, partly = (
        fingerprint([make_case("k", array, those, scheme=scheme)]) for those in (labels, marked)
    )
    assert plain == partly
    with pytest.raises(DatasetError, match="nothing to learn from"):
        fingerprint([make_case("k", array, np.full_like(labels, 9), scheme=scheme)])
