"""Regions of a scan: what is kept of each, what may not change, and what is refused."""

import numpy as np
import pytest

from condyle.core import KNEE, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, GridMismatch, LabelError, UnknownName
from condyle.features.regions import Scene, region_features

GRID = Grid.regular((40, 36, 44), (1, 1, 2), (5, 6, 7))


def scan(modality="CT"):
    """A scan with two blocks of bone in flesh, and their labels."""
    random = np.random.default_rng(0)
    array = np.full(GRID.shape, -1000.0)
    array[4:36, 4:32] = random.normal(40, 20, (32, 28, 44))
    labels = np.zeros(GRID.shape, np.uint8)
    labels[10:22, 10:22, 2:20] = 1
    labels[10:22, 10:22, 24:42] = 2
    array[labels > 0] += 700
    return Volume(array.round().astype(np.int16), GRID, modality), LabelMap(labels, GRID, KNEE)


class Means:
    """Stands for an encoder: its one map is the mean of each block of eight voxels a side."""

    multiple = 8

    def __call__(self, grey):
        i, j, k = (n // 8 for n in grey.shape)
        return {"Last": grey.reshape(i, 8, j, 8, k, 8).mean(axis=(1, 3, 5))[None]}


def test_regions_are_all_of_the_scan_and_air_is_zero():
    scene = Scene.of(*scan(), spacing=0)
    assert list(scene.shares) == ["tibia", "femur", "background"]
    np.testing.assert_allclose(sum(scene.shares.values()), 1)
    assert scene.intensities == {"rule": "CT", "air": -1000.0, "one": 2000.0}
    assert scene.grey[0, 0, 0] == 0
    assert scene.grey[scene.shares["tibia"] > 0].mean() == pytest.approx(1740 / 3000, abs=0.01)


def test_a_region_is_seen_in_air_or_in_its_box_and_pooled_as_asked():
    volume, labels = scan()
    scene = Scene.of(volume, labels, spacing=0)
    bone, whole = scene.shares["tibia"], scene.grey.size

    def mean(mode, pool):
        return float(region_features(Means(), scene, mode, pool)["tibia"]["Last"][0])

    kept = float((scene.grey * bone).sum())
    assert mean("volume", "volume") == pytest.approx(kept / whole, rel=1e-5)
    # blocks count by their share of the region, and a block of the region's edge holds air too
    assert kept / whole < mean("volume", "region") < kept / bone.sum()
    box = np.zeros((16, 16, 24))
    box[:12, :12, :18] = scene.grey[10:22, 10:22, 2:20]  # and air up to whole blocks
    weighted = 0.0
    for i, j, k in np.ndindex(2, 2, 3):
        inside = min(8, 12 - 8 * i) * min(8, 12 - 8 * j) * min(8, 18 - 8 * k)
        weighted += inside * box[8 * i :, 8 * j :, 8 * k :][:8, :8, :8].mean()
    assert mean("box", "volume") == pytest.approx(weighted / (12 * 12 * 18), rel=1e-5)
    assert mean("box", "region") == pytest.approx(mean("box", "volume"))  # it fills its box


def test_a_volume_of_whole_blocks_is_pooled_plainly():
    volume, labels = scan()
    scene = Scene.of(volume, labels, spacing=0)
    inside = Scene(
        scene.grey[:40, :32, :40], {n: s[:40, :32, :40] for n, s in scene.shares.items()},
        scene.grid, {},
    )  # fmt: skip
    found = region_features(Means(), inside)
    for name, share in inside.shares.items():
        assert found[name]["Last"][0] == pytest.approx((inside.grey * share).mean(), rel=1e-6)


@pytest.mark.parametrize("orientation", ["LPS", "PIR", "SAR"])
def test_the_order_of_axes_in_the_file_is_nothing(orientation):
    volume, labels = scan()
    one = Scene.of(volume, labels, spacing=1.5)
    other = Scene.of(volume.reoriented(orientation), labels.reoriented(orientation), spacing=1.5)
    assert one.grid.same_as(other.grid)
    np.testing.assert_allclose(one.grey, other.grey, atol=1e-6)
    np.testing.assert_allclose(one.shares["femur"], other.shares["femur"], atol=1e-6)


@pytest.mark.parametrize(("factor", "shift"), [(2, 0), (0.1, 300), (37.5, -12)])
def test_scale_and_shift_of_mr_intensities_are_nothing(factor, shift):
    volume, labels = scan("MR")
    array = volume.array.astype(np.float64) * factor + shift
    one, other = (Scene.of(v, labels) for v in (volume, volume.with_array(array)))
    np.testing.assert_allclose(one.grey, other.grey, atol=1e-5)
    assert one.intensities["rule"] == "percentiles 0.5 and 99.5"


def test_ct_keeps_its_scale_and_a_window_can_be_given():
    volume, labels = scan()
    denser = volume.with_array(volume.array + 500)
    assert Scene.of(denser, labels).grey.mean() > Scene.of(volume, labels).grey.mean() + 0.1
    window = Scene.of(volume, labels, window=(-100, 900))
    assert window.intensities == {"rule": "window", "air": -100, "one": 900}


def test_regions_come_in_the_order_of_the_scheme_however_they_are_asked_for():
    for asked in (["background", "femur"], ["femur", "background"]):
        assert list(Scene.of(*scan(), asked).shares) == ["femur", "background"]
    both = Scene.of(*scan(), ["femur", "tibia"], spacing=0)
    assert list(both.shares) == ["tibia", "femur"]


def test_background_is_all_that_lies_in_no_region_that_was_asked_for():
    every, one = Scene.of(*scan(), spacing=0), Scene.of(*scan(), ["femur", "background"], spacing=0)
    np.testing.assert_array_equal(
        one.shares["background"], every.shares["background"] + every.shares["tibia"]
    )


def test_voxels_that_nobody_labelled_are_in_no_region():
    volume, labels = scan()
    array = labels.array.copy()
    array[:4] = 9
    scheme = LabelScheme.of({"tibia": 1, "femur": 2, "ignore": 9})
    scene = Scene.of(volume, LabelMap(array, GRID, scheme), spacing=0)
    assert scene.shares["background"][:4].sum() == 0
    assert scene.shares["background"][4:].sum() > 0


def test_what_cannot_be_compared_is_refused_in_a_sentence():
    volume, labels = scan()
    array = labels.array.copy()
    array[array == 2] = 0
    with pytest.raises(LabelError, match=r"no femur in .* `regions` tibia background"):
        Scene.of(volume, labels.with_array(array))
    array[30, 30, 30] = 2
    with pytest.raises(LabelError, match=r"femur in .* features need 64"):
        Scene.of(volume, labels.with_array(array))
    moved = LabelMap(labels.array, Grid.regular(GRID.shape, (1, 1, 2)), KNEE)
    with pytest.raises(GridMismatch, match="grids differ"):
        Scene.of(volume, moved)
    with pytest.raises(UnknownName, match="unknown region 'fémur': did you mean 'femur'"):
        Scene.of(volume, labels, ["tibia", "fémur"])
    with pytest.raises(ConfigError, match="two regions or more"):
        Scene.of(volume, labels, ["tibia"])
    with pytest.raises(ConfigError, match="all voxels have one intensity"):
        Scene.of(Volume(np.ones(GRID.shape), GRID, "MR"), labels)
    scene = Scene.of(volume, labels)
    with pytest.raises(UnknownName, match="unknown mode"):
        region_features(Means(), scene, "sphere")
    with pytest.raises(UnknownName, match="unknown pool"):
        region_features(Means(), scene, "volume", "max")
