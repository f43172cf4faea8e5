"""DeepMind's surface-distance and MONAI give the same numbers as `condyle.measure`."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from condyle.measure import dice, iou, surface_distances

SPACINGS = [(1.0, 1.0, 1.0), (0.8, 0.8, 2.5), (3.1, 0.45, 0.7)]


@pytest.fixture
def deepmind(monkeypatch):
    metrics = pytest.importorskip("surface_distance.metrics")
    # The package was written for numpy 1 and an older scipy; the names it uses still exist.
    old_numpy = SimpleNamespace(**vars(np), Inf=np.inf, NaN=np.nan)
    monkeypatch.setattr(metrics, "np", old_numpy)
    monkeypatch.setattr(metrics, "ndimage", SimpleNamespace(filters=ndimage, morphology=ndimage))
    return metrics


def noise(seed, density):
    random = np.random.default_rng(seed)
    return random.random((11, 9, 13)) < density


def blob(seed):
    random = np.random.default_rng(seed)
    return ndimage.gaussian_filter(random.normal(size=(24, 20, 22)), 2.5) > 0.03


def one_voxel(at):
    mask = np.zeros((7, 6, 5), bool)
    mask[at] = True
    return mask


PAIRS = {
    "noise": (noise(0, 0.5), noise(1, 0.5)),
    "sparse": (noise(2, 0.02), noise(3, 0.05)),
    "dense, on the border": (noise(4, 0.95), noise(5, 0.9)),
    "blobs, on the border": (blob(0), blob(1)),
    "full and one voxel": (np.ones((7, 6, 5), bool), one_voxel((3, 3, 3))),
    "one voxel each, in corners": (one_voxel((0, 0, 0)), one_voxel((6, 5, 4))),
    "the same": (blob(2), blob(2)),
    "nothing predicted": (one_voxel((1, 2, 3)), np.zeros((7, 6, 5), bool)),
    "nothing there": (np.zeros((7, 6, 5), bool), one_voxel((1, 2, 3))),
}


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
def test_surface_figures_are_deepminds(deepmind, pair, spacing):
    mine = surface_distances(*pair, spacing)
    theirs = deepmind.compute_surface_distances(*pair, spacing)
    np.testing.assert_allclose(mine.from_truth, theirs["distances_gt_to_pred"], rtol=1e-9)
    np.testing.assert_allclose(mine.from_predicted, theirs["distances_pred_to_gt"], rtol=1e-9)
    same_areas = ("truth_areas", "surfel_areas_gt"), ("predicted_areas", "surfel_areas_pred")
    for ours, name in same_areas:
        np.testing.assert_allclose(np.sort(getattr(mine, ours)), np.sort(theirs[name]), rtol=1e-9)
    robust = deepmind.compute_robust_hausdorff
    assert mine.hausdorff() == pytest.approx(robust(theirs, 100), rel=1e-6)
    assert mine.hd95() == pytest.approx(robust(theirs, 95), rel=1e-6)
    for tolerance in (0.5, 1.2, 3.0):
        wanted = deepmind.compute_surface_dice_at_tolerance(theirs, tolerance)
        assert mine.nsd(tolerance) == pytest.approx(wanted, rel=1e-6)
    if all(mask.any() for mask in pair):
        ways = deepmind.compute_average_surface_distance(theirs)
        areas = mine.truth_areas.sum(), mine.predicted_areas.sum()
        assert mine.assd() == pytest.approx(np.average(ways, weights=areas), rel=1e-6, abs=1e-12)


def test_every_neighbourhood_has_deepminds_area(deepmind):
    # 256 cubes of 2x2x2 voxels, each apart from the others: all codes, and their borders.
    bits = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool).reshape(-1, 2, 2, 2)
    mask = np.zeros((256 * 4, 4, 4), bool)
    for n, cube in enumerate(bits):
        mask[4 * n + 1 : 4 * n + 3, 1:3, 1:3] = cube
    for spacing in SPACINGS:
        mine = surface_distances(mask, mask, spacing).truth_areas
        theirs = deepmind.compute_surface_distances(mask, mask, spacing)["surfel_areas_gt"]
        np.testing.assert_allclose(np.sort(mine), np.sort(theirs), rtol=1e-9)


@pytest.mark.filterwarnings("ignore")  # MONAI's own imports warn
def test_overlaps_are_monais():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    for a, b in list(PAIRS.values())[:6]:
        x, y = (torch.from_numpy(mask)[None, None].float() for mask in (b, a))
        assert dice(a, b) == pytest.approx(float(monai.compute_dice(x, y)), rel=1e-6)
        assert iou(a, b) == pytest.approx(float(monai.compute_iou(x, y)), rel=1e-6)
