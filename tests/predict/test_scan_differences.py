"""What is said of a scan that is unlike those that a network was trained on; and how seldom."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.core import Grid, LabelScheme, Volume
from condyle.predict.scan_differences import differences
from condyle.predict.training_record import TrainingRecord
from condyle.prepare.fingerprint import fingerprint

SHAPE, SPACING = (24, 30, 20), (0.8, 0.8, 2.0)
BODY = np.linalg.norm(np.stack(np.indices(SHAPE), -1) - (12, 15, 10), axis=-1) < 9
BONE = np.linalg.norm(np.stack(np.indices(SHAPE), -1) - (12, 15, 10), axis=-1) < 4


def ct(seed=0, spacing=SPACING, modality=""):
    """Air, soft tissue and bone in HU."""
    rng = np.random.default_rng(seed)
    array = np.where(BONE, 900, np.where(BODY, 40, -1000)) + rng.normal(0, 25, SHAPE)
    return Volume(np.rint(np.maximum(array, -1024)).astype(np.int16), grid(spacing), modality)


def mr(seed=0, modality=""):
    rng = np.random.default_rng(seed)
    array = np.where(BONE, 80, np.where(BODY, 600, 5)) + np.abs(rng.normal(0, 20, SHAPE))
    return Volume(array.astype(np.int16), grid(SPACING), modality)


def grid(spacing):
    return Grid.regular(SHAPE, spacing)


def changed(scan, array):
    return Volume(np.asarray(array, np.float32), scan.grid, scan.modality)


def trained_on(make_case, scans, channel="image"):
    scheme = LabelScheme.of({"bone": 1})
    cases = [
        make_case(f"case_{n}", scan.array, BONE.astype(np.uint8), grid=scan.grid,
                  modality=scan.modality, scheme=scheme)
        for n, scan in enumerate(scans)
    ]  # fmt: skip
    return TrainingRecord().with_scans(fingerprint(cases), channel)


@pytest.fixture
def on_ct(make_case):
    return trained_on(make_case, [ct(n) for n in range(3)])


@pytest.fixture
def on_mr(make_case):
    return trained_on(make_case, [mr(n) for n in range(3)])


def test_scans_of_the_training_s_kind_are_not_remarked_on(on_ct, on_mr):
    inside = Volume(np.where(BODY, ct(5).array, 40).astype(np.int16), grid(SPACING))
    metal = ct(7).array.copy()
    metal[10:12, 10:12, 10] = 20000
    assert differences(on_ct, ct(9)) == []
    assert differences(on_ct, ct(9, modality="CT")) == []
    assert differences(on_ct, ct(9, (0.4, 0.4, 5.0))) == []
    assert differences(on_ct, changed(ct(), metal)) == []
    assert differences(on_ct, changed(inside, inside.array - 30 * ~BODY - 60)) == []
    for scan in (mr(9), mr(9, "MR"), changed(mr(9), mr(9).array / 600)):
        assert differences(on_mr, scan) == []


@pytest.mark.parametrize("modality", ["MR", "PT", "NM", "US"])
def test_another_modality_by_header_is_named(on_ct, modality):
    (said,) = differences(on_ct, Volume(ct().array, grid(SPACING), modality))
    assert "by its header" in said
    assert {"PT": "PET", "US": "ultrasound"}.get(modality, modality) in said


def test_the_name_of_a_channel_says_the_modality_where_files_do_not(make_case):
    known = trained_on(make_case, [mr(0), mr(1)], "MRI")
    assert known.modality == "MR"
    (said,) = differences(known, mr(0, "PT"))
    assert "PET" in said
    assert "MR" in said


@pytest.mark.parametrize(
    "other",
    [
        mr(3),
        changed(ct(3), (ct(3).array + 1024) / 4096),  # scaled to 0..1
        changed(ct(3), ct(3).array + 1024),  # as stored, without the rescale intercept
        changed(ct(3), (ct(3).array - ct(3).array.mean()) / ct(3).array.std()),  # z-scores
        changed(ct(3), ct(3).array * 100.0),
    ],
    ids=["MR", "0..1", "stored values", "z-scores", "hundredfold"],
)
def test_intensities_that_are_not_hounsfield_units_are_named(on_ct, other):
    (said,) = differences(on_ct, other)
    assert "intensities" in said


def test_ct_is_known_by_its_intensities_to_a_network_of_mr(on_mr):
    (said,) = differences(on_mr, ct())
    assert "CT" in said
    (said,) = differences(on_mr, ct(modality="CT"))
    assert "header" in said


@settings(deadline=None, max_examples=60)
@given(
    axis=st.integers(0, 2),
    factor=st.sampled_from([0.001, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 25, 1000]),
    orientation=st.sampled_from(["RAS", "LPS", "ASL", "SRP"]),
)
def test_voxels_ten_times_off_are_named_in_patient_axes(axis, factor, orientation):
    known = TrainingRecord(spacing=(SPACING, SPACING))
    spacing = [s * factor if n == axis else s for n, s in enumerate(SPACING)]
    scan = ct(0, tuple(spacing)).reoriented(orientation)
    said = differences(known, scan)
    assert len(said) == (not 1 / 9 < factor < 9)
    if said:
        side = ("left to right", "back to front", "feet to head")[axis]
        assert side in said[0]
        assert f"{SPACING[axis]:.3g} mm" in said[0]


def test_a_scan_of_another_length_is_named(on_ct):
    known = on_ct.changed(extent=((200, 200, 400), (250, 250, 600)))
    assert any("feet to head" in words for words in differences(known, ct()))


def test_what_is_not_known_is_not_compared():
    for scan in (ct(), mr(), ct(modality="CT"), mr(modality="PT")):
        assert differences(TrainingRecord(), scan) == []
