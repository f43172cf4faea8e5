"""Masks are held to their scans: flips and displacements are found, whatever the contrast."""

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from condyle.audit.alignment import FLIPS, alignments, borders
from condyle.audit.alignment_findings import misfits
from condyle.core import Grid, LabelMap, LabelScheme, Volume

SCHEME = LabelScheme.of({"ball": 1, "rod": 2})
SHAPE = (40, 44, 36)


@cache
def scan(seed, contrast=1.0, noise=0.3, spacing=(1, 1, 1)):
    """A bright ball and a dark rod off the middle, in a grey that differs from side to side."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    cx, cy, cz = rng.uniform((14, 17, 14), (17, 20, 17))
    labels = np.zeros(SHAPE, np.uint8)
    labels[(x - cx - 9) ** 2 + (y - cy - 9) ** 2 < 16] = 2
    labels[(x - cx) ** 2 + ((y - cy) / 1.2) ** 2 + (z - cz) ** 2 < 49] = 1
    labels[:, :, :4] = labels[:, :, -4:] = 0
    image = contrast * (1.0 * (labels == 1) - 0.7 * (labels == 2)) + 0.01 * x
    image = gaussian_filter(image, 0.7) + rng.normal(0, noise, SHAPE)
    grid = Grid.regular(SHAPE, spacing)
    return Volume(image.astype(np.float32), grid), LabelMap(labels, grid, SCHEME)


@cache
def sound(seed, **kw):
    return borders(f"c{seed}", *scan(seed, **kw), False)


def spoiled(change, cases=8, which=3, **kw):
    """Findings where one mask was changed."""
    volume, labels = scan(which, **kw)
    changed = borders(f"c{which}", volume, labels.with_array(change(labels.array)), False)
    return misfits([changed if n == which else sound(n, **kw) for n in range(cases)], 2)


def test_sound_masks_have_no_findings():
    assert spoiled(lambda a: a) == []


@pytest.mark.parametrize("contrast", [1.0, -1.0, 30.0])
@pytest.mark.parametrize("flip", FLIPS[1:])
def test_each_flip_is_named(flip, contrast):
    turn = tuple(slice(None, None, -1 if f else 1) for f in flip)
    (found,) = spoiled(lambda a: a[turn], contrast=contrast, noise=0.3 * abs(contrast))
    names = [n for n, f in zip(("left-right", "front-back", "head-foot"), flip, strict=True) if f]
    assert (found.case, found.severity, found.kind) == ("c3", "error", "flip")
    assert found.what.endswith("flipped " + " and ".join(names))


@pytest.mark.parametrize(
    ("axis", "step", "side"),
    [(0, 1, "right"), (0, -1, "left"), (1, 1, "front"), (1, -1, "back"), (2, 1, "head"),
     (2, -2, "feet")],
)  # fmt: skip
def test_masks_moved_by_a_voxel(axis, step, side):
    (found,) = spoiled(lambda a: np.roll(a, step, axis), spacing=(0.5, 0.5, 3))
    assert (found.case, found.kind) == ("c3", "shift")
    assert f"too far to the {side}" in found.what
    assert f"about {abs(step)} voxel" in found.what


def test_where_the_voxels_lie_on_disk_does_not_matter():
    turned = []
    for seed, letters in enumerate(("RAS", "LPS", "PIR", "ASL", "SRA")):
        volume, labels = (thing.reoriented(letters) for thing in scan(seed))
        turned.append(borders(f"c{seed}", volume, labels, False))
    assert misfits(turned, 2) == []
    plain = [borders(f"c{s}", *scan(s), False) for s in range(5)]
    assert [f.fit for f in alignments(turned, 2)] == pytest.approx(
        [f.fit for f in alignments(plain, 2)]
    )


def test_a_mask_of_another_scan():
    (found,) = spoiled(lambda a: np.roll(a, (9, 7, -6), (0, 1, 2)))
    assert (found.case, found.severity) == ("c3", "error")
    assert found.kind in ("misfit", "flip")


def test_nothing_is_said_where_nothing_can_be_known():
    assert spoiled(lambda a: a[::-1], cases=3, which=1) == []
    assert spoiled(lambda a: a[::-1], contrast=0.0) == []
    volume, labels = scan(0)
    assert borders("c", volume, labels.with_array(0 * labels.array), False) is None


def test_a_habit_of_the_whole_data_set_is_no_finding():
    found = []
    for seed in range(8):
        volume, labels = scan(seed)
        moved = labels.with_array(np.roll(labels.array, 1, 0))
        found.append(borders(f"c{seed}", volume, moved, False))
    assert misfits(found, 2) == []


def test_where_nobody_labelled_there_is_no_border():
    volume, labels = scan(3)
    marked = labels.array.copy()
    marked[:16] = 9
    scheme = LabelScheme.of({**SCHEME.to_dict(), "ignore": 9})
    known = LabelMap(marked, labels.grid, scheme)
    to_the_left = [
        np.count_nonzero(borders("c", volume, m, False).place // 8 % 6 == 1)
        for m in (known, known.within(known.known()).with_scheme(SCHEME))
    ]
    assert to_the_left[1] - to_the_left[0] == np.count_nonzero(labels.array[16])
    whole = LabelMap(np.full_like(marked, 9), labels.grid, scheme)
    assert borders("c", volume, whole, False) is None
