"""One scan under two names is found, however it was saved; two scans are never called one."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from condyle.audit import duplicates
from condyle.core import Grid, Volume
from condyle.io import open_dataset

SHAPE = (34, 40, 30)


def volume(array):
    return Volume(array, Grid.regular(array.shape))


def scan(seed=0, noise=1.0):
    """A body that is always the same, and noise that is not."""
    body = gaussian_filter(np.random.default_rng(99).normal(size=SHAPE), 3) * 500
    return body + np.random.default_rng(seed).normal(0, noise, SHAPE)


def found(one, other):
    """How the second duplicates the first; None if it does not."""
    both = [volume(one), volume(other)]
    pairs = list(duplicates.candidates([duplicates.thumbnail(v) for v in both]))
    assert len(pairs) <= 1
    return next((flip for _, _, flip in pairs if duplicates.same_scan(*both, flip)), None)


NONE = (False, False, False)


@pytest.mark.parametrize(
    ("change", "flip"),
    [
        (lambda a: a.astype(np.float32), NONE),
        (lambda a: 0.3 * a + 7, NONE),
        (lambda a: np.rint((a - a.min()) / np.ptp(a) * 255).astype(np.uint8), NONE),
        (lambda a: a[:, :, 1:], NONE),
        (lambda a: a[1:, :-1], NONE),
        (lambda a: a[::-1], (True, False, False)),
        (lambda a: a[::-1, :, ::-1].astype(np.float32), (True, False, True)),
    ],
)
def test_a_scan_saved_again_is_found(change, flip):
    assert found(scan(), change(scan())) == flip


def test_two_scans_of_one_body_are_two_scans():
    assert found(scan(0), scan(1)) is None
    assert found(scan(0), np.zeros(SHAPE)) is None


def test_few_or_empty_scans():
    assert list(duplicates.candidates([])) == []
    assert list(duplicates.candidates([duplicates.thumbnail(volume(scan()))])) == []
    tiny = volume(np.zeros((2, 3, 1)))
    assert not duplicates.thumbnail(tiny).any()
    assert not duplicates.same_scan(tiny, tiny, NONE)


def test_thumbnails_are_means_of_cells():
    array = np.arange(32 * 16 * 48, dtype=float).reshape(32, 16, 48)
    cells = array.reshape(16, 2, 16, 1, 16, 3).mean(axis=(1, 3, 5))
    cells -= cells.mean()
    assert np.allclose(
        duplicates.thumbnail(volume(array)), cells / np.linalg.norm(cells), atol=1e-6
    )


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["knee_07_L", "knee_07_R", "knee_08_L"], [("knee_07_L", "knee_07_R")]),
        (["left-12", "right-12", "12"], [("left-12", "right-12")]),
        (["p01_1", "p01_2", "p02_1"], [("p01_1", "p01_2")]),
        (["sub-03_ses-1", "sub-03_ses-2"], [("sub-03_ses-1", "sub-03_ses-2")]),
        (["leg_000", "leg_001", "leg_1", "leg_2"], []),
        ([f"site1_{n}" for n in range(9)], []),
        (["alpha", "alphar", "liver"], []),
    ],
)
def test_names_that_tell_of_one_patient(make_case, names, groups):
    assert duplicates.same_patient_names([make_case(name) for name in names]) == groups
    assert duplicates.same_patient_names([make_case(n, patient="someone") for n in names]) == []


def test_no_two_real_scans_are_called_duplicates(shared):
    cases = open_dataset(shared / "msd_task04_hippocampus").cases[:60]
    assert list(duplicates.candidates([duplicates.thumbnail(case.image()) for case in cases])) == []
