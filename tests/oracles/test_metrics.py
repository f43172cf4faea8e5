"""Every figure of `condyle.measure` beside other people's programs, on 200 pairs of masks.

Where a program defines a figure otherwise, its definition is said here and held against ours by a
relation that is exact, or by a bound that is proved.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial import KDTree

from condyle.measure import (
    SurfaceDistances,
    absolute_volume_similarity,
    pixel_accuracy,
    score_case,
    surface_distances,
)
from mask_pairs import RANDOM, REAL, random_pair, real_pair

TOLERANCES_MM = (0.53, 1.27, 3.1)
"""That no distance equals: whether one is within its own length is left to rounding."""

pytestmark = pytest.mark.filterwarnings("ignore")  # MONAI's imports and empty masks warn


@pytest.fixture(params=range(RANDOM + REAL))
def pair(request):
    """Truth and prediction, label maps of one structure."""
    if request.param < RANDOM:
        return random_pair(request.param)
    return real_pair(request.getfixturevalue("shared"), request.param - RANDOM)


@pytest.fixture(scope="module")
def deepmind():
    metrics = pytest.importorskip("surface_distance.metrics")
    # The package was written for numpy 1 and an older scipy; the names it uses still exist.
    patch = pytest.MonkeyPatch()
    patch.setattr(metrics, "np", SimpleNamespace(**vars(np), Inf=np.inf, NaN=np.nan))
    patch.setattr(metrics, "ndimage", SimpleNamespace(filters=ndimage, morphology=ndimage))
    yield metrics
    patch.undo()


@pytest.fixture(scope="module")
def monai():
    pytest.importorskip("torch")
    return pytest.importorskip("monai.metrics")


def masks(pair):
    return tuple(labels.array == 1 for labels in pair)


def figures(pair):
    """Our row for the pair's structure."""
    [row] = score_case(*pair)
    return row


def same(mine, theirs, rel=1e-6, **how):
    assert mine == pytest.approx(theirs, rel=rel, abs=1e-12, nan_ok=True, **how)


def image(array, spacing=(1.0, 1.0, 1.0)):
    """The array, (i, j, k), as ITK's image."""
    made = sitk.GetImageFromArray(np.ascontiguousarray(array.astype(np.uint8).T))
    made.SetSpacing([float(s) for s in spacing])
    return made


def batch(*arrays):
    """MONAI's batches of one, with one channel."""
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(a))[None, None] for a in arrays)


def test_overlaps_are_scikit_learns(pair):
    """It leaves to us what 0/0 is; where one mask is empty we say 0, where both are nan."""
    from sklearn import metrics

    a, b = (mask.ravel() for mask in masks(pair))
    row = figures(pair)
    undefined = 0.0 if a.any() or b.any() else np.nan
    wanted = metrics.precision_recall_fscore_support(
        a, b, average="binary", zero_division=undefined
    )
    for name, theirs in zip(("precision", "recall", "dice"), wanted, strict=False):
        same(row[name], theirs)
    union = metrics.jaccard_score(a, b, zero_division=0) if (a | b).any() else np.nan
    same(row["iou"], union)
    same(pixel_accuracy(a, b), metrics.accuracy_score(a, b))
    same(row["accuracy"], pixel_accuracy(a, b) if (a | b).any() else np.nan)


def test_overlaps_and_volumes_are_itks(pair):
    """ITK's volume similarity is 2 (V_predicted - V_truth) / (V_predicted + V_truth), of any sign.

    So ours, which is 1 where the volumes are equal, is 1 + ITK's / 2.
    """
    a, b = masks(pair)
    row, spacing = figures(pair), pair[0].spacing
    volumes = sitk.LabelShapeStatisticsImageFilter(), sitk.LabelShapeStatisticsImageFilter()
    sizes = []
    for mask, volume in zip((a, b), volumes, strict=True):
        volume.Execute(image(mask, spacing))
        sizes.append(volume.GetPhysicalSize(1) / 1000 if mask.any() else 0.0)
    if not (a.any() or b.any()):
        assert np.isnan(row["volume_error_cm3"])
        assert np.isnan(row["volume_similarity"])
        return
    scale = max(sizes)
    assert row["volume_error_cm3"] == pytest.approx(sizes[1] - sizes[0], abs=1e-6 * scale)
    same(row["volume_truth_cm3"], sizes[0])
    same(row["volume_predicted_cm3"], sizes[1])
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(image(b, spacing), image(a, spacing))
    same(row["volume_similarity"], 1 + overlap.GetVolumeSimilarity(1) / 2)
    same(row["abs_volume_similarity"], absolute_volume_similarity(a, b))
    same(absolute_volume_similarity(a, b), 1 - abs(overlap.GetVolumeSimilarity(1)) / 2)
    same(row["dice"], overlap.GetDiceCoefficient(1))
    same(row["iou"], overlap.GetJaccardCoefficient(1))


def test_surface_figures_are_deepminds(pair, deepmind):
    """Both give inf where one mask is empty, but for its mean distances, which are nan there."""
    a, b = masks(pair)
    mine, row = surface_distances(a, b, pair[0].spacing), figures(pair)
    theirs = deepmind.compute_surface_distances(a, b, pair[0].spacing)
    np.testing.assert_allclose(mine.from_truth, theirs["distances_gt_to_pred"], rtol=1e-9)
    np.testing.assert_allclose(mine.from_predicted, theirs["distances_pred_to_gt"], rtol=1e-9)
    same_areas = ("truth_areas", "surfel_areas_gt"), ("predicted_areas", "surfel_areas_pred")
    for ours, name in same_areas:
        np.testing.assert_allclose(np.sort(getattr(mine, ours)), np.sort(theirs[name]), rtol=1e-9)
    if not (a.any() or b.any()):
        assert all(np.isnan(row[name]) for name in ("hausdorff_mm", "hd95_mm", "assd_mm", "nsd"))
        return
    same(row["hausdorff_mm"], deepmind.compute_robust_hausdorff(theirs, 100))
    same(row["hd95_mm"], deepmind.compute_robust_hausdorff(theirs, 95))
    for tolerance in TOLERANCES_MM:
        same(mine.nsd(tolerance), deepmind.compute_surface_dice_at_tolerance(theirs, tolerance))
    if a.any() and b.any():
        ways = deepmind.compute_average_surface_distance(theirs)
        areas = mine.truth_areas.sum(), mine.predicted_areas.sum()
        same(row["assd_mm"], np.average(ways, weights=areas))
    else:
        assert row["assd_mm"] == np.inf


def test_overlaps_and_surface_dice_are_monais(pair, monai):
    """It gives nan to a Dice and a surface Dice whose truth is empty; ours is 0 if invented."""
    a, b = masks(pair)
    row, spacing = figures(pair), pair[0].spacing
    truth, predicted = batch(a, b)
    if not a.any():
        assert np.isnan(float(monai.compute_dice(predicted, truth)))
        return
    same(row["dice"], float(monai.compute_dice(predicted, truth)))
    same(row["iou"], float(monai.compute_iou(predicted, truth)))
    near = monai.compute_surface_dice(
        predicted, truth, [TOLERANCES_MM[1]], True, spacing=spacing, use_subvoxels=True
    )
    same(surface_distances(a, b, spacing).nsd(TOLERANCES_MM[1]), float(near))


def test_distances_and_areas_are_those_of_monais_subvoxel_edges(pair, monai):
    """All surface figures are made from these, so Hausdorff, HD95 and ASSD follow."""
    a, b = masks(pair)
    if not (a.any() and b.any()):
        return
    [[one]], [[other]] = batch(a, b)
    spacing = pair[0].spacing
    mine = surface_distances(a, b, spacing)
    edges, distances, areas = monai.utils.get_edge_surface_distance(
        other, one, spacing=spacing, use_subvoxels=True, symmetric=True
    )
    for ours, theirs in (
        (mine.from_predicted, distances[0]),
        (mine.from_truth, distances[1]),
        (np.sort(mine.predicted_areas), np.sort(areas[0][edges[0]])),
        (np.sort(mine.truth_areas), np.sort(areas[1][edges[1]])),
    ):
        np.testing.assert_allclose(ours, np.sort(theirs), rtol=1e-6, atol=1e-7)


def test_hausdorff_is_itks_between_corners(pair):
    """ITK's Hausdorff distance of two images of points is ours of the masks they come from.

    ITK asks how far the voxels of each mask, all of them, lie from the nearest voxel of the
    other. Ours asks this of surface elements, which lie at the corners of voxels whose eight
    neighbours are not all in or all out. So ITK is given images of these corners.
    """
    a, b = masks(pair)
    if not (a.any() and b.any()):
        return
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*(image(corners(mask), pair[0].spacing) for mask in (a, b)))
    same(figures(pair)["hausdorff_mm"], hausdorff.GetHausdorffDistance())


def corners(mask):
    """(i+1, j+1, k+1) where the eight voxels round a corner are neither all in nor all out."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(mask, 1), (2, 2, 2))
    return around.any(axis=(3, 4, 5)) & ~around.all(axis=(3, 4, 5))


def test_figures_between_voxel_centres_are_monais_and_itks(pair, monai):
    """MONAI's Hausdorff, HD95 and ASSD are between centres of border voxels, all of one weight.

    Border voxels are those with a neighbour by face outside. Exact: our formulas on those
    distances, with areas of 1, give MONAI's figures; its HD95 lies between two neighbouring
    distances, of which ours takes the upper. ITK's Hausdorff of such borders is the same.

    Bound: each element's corner lies half a voxel's diagonal from the centre of a border voxel
    (among the eight voxels round it an outer and an inner one share a face), and each border voxel
    has such a corner, at the face that it shares with the outside. So moving both surfaces'
    points changes a largest distance by at most one diagonal.
    """
    a, b = masks(pair)
    if not (a.any() and b.any()):
        return
    spacing = np.array(pair[0].spacing)
    truth, predicted = batch(a, b)
    found = centres_apart(a, b, spacing)
    theirs = float(monai.compute_hausdorff_distance(predicted, truth, True, spacing=[*spacing]))
    same(found.hausdorff(), theirs)
    mean = monai.compute_average_surface_distance(
        predicted, truth, True, symmetric=True, spacing=[*spacing]
    )
    same(found.assd(), float(mean))
    p95 = monai.compute_hausdorff_distance(
        predicted, truth, True, percentile=95, spacing=[*spacing]
    )
    lower, upper = (
        max(np.percentile(d, 95, method=way) for d in (found.from_truth, found.from_predicted))
        for way in ("lower", "higher")
    )
    assert lower * (1 - 1e-6) <= float(p95) <= upper * (1 + 1e-6) + 1e-12
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*(image(border(mask), spacing) for mask in (a, b)))
    same(found.hausdorff(), hausdorff.GetHausdorffDistance())
    assert abs(figures(pair)["hausdorff_mm"] - theirs) <= np.linalg.norm(spacing) * (1 + 1e-6)


def border(mask):
    return mask & ~ndimage.binary_erosion(mask)


def centres_apart(a, b, spacing):
    """Distances between the centres of border voxels, both ways, with areas of 1."""
    points = [np.argwhere(border(mask)) * spacing for mask in (a, b)]
    ways = [np.sort(KDTree(points[1 - n]).query(points[n])[0]) for n in (0, 1)]
    return SurfaceDistances(ways[0], np.ones(len(ways[0])), ways[1], np.ones(len(ways[1])))


def test_oblique_grids_are_measured_in_the_patients_millimetres(pair):
    """The elements' corners, brought into the patient's space, are as far apart as we say."""
    a, b = masks(pair)
    if not (a.any() and b.any()):
        return
    one, other = (pair[0].grid.index_to_world(np.argwhere(corners(m)) - 0.5) for m in (a, b))
    farthest = max(KDTree(y).query(x)[0].max() for x, y in ((one, other), (other, one)))
    assert figures(pair)["hausdorff_mm"] == pytest.approx(farthest, rel=1e-6, abs=1e-9)


def test_itks_hausdorff_of_whole_masks_is_another_thing():
    """It asks how deep voxels lie, where ours asks how far surfaces are apart; neither bounds it.

    A ball in a shell: the ball's middle is its voxel that is farthest from the shell, though
    the surfaces touch. A ball with a hole: the hole's wall is far from any wall, though no voxel
    is far from the other mask.
    """
    away = np.linalg.norm(np.indices((25, 25, 25)) - 12, axis=0)
    ball, shell, holed = away < 8, (away >= 8) & (away < 9), (away < 8) & (away > 0)
    itk = sitk.HausdorffDistanceImageFilter()
    itk.Execute(image(ball), image(shell))
    assert itk.GetHausdorffDistance() >= 8
    assert surface_distances(ball, shell, (1, 1, 1)).hausdorff() < 2
    itk.Execute(image(ball), image(holed))
    assert itk.GetHausdorffDistance() == 1
    assert surface_distances(ball, holed, (1, 1, 1)).hausdorff() > 6


def test_every_neighbourhood_has_deepminds_area(deepmind):
    # 256 cubes of 2x2x2 voxels, each apart from the others: all codes, and their borders.
    bits = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool).reshape(-1, 2, 2, 2)
    mask = np.zeros((256 * 4, 4, 4), bool)
    for n, cube in enumerate(bits):
        mask[4 * n + 1 : 4 * n + 3, 1:3, 1:3] = cube
    for spacing in [(1.0, 1.0, 1.0), (0.8, 0.8, 2.5), (3.1, 0.45, 0.7)]:
        mine = surface_distances(mask, mask, spacing).truth_areas
        theirs = deepmind.compute_surface_distances(mask, mask, spacing)["surfel_areas_gt"]
        np.testing.assert_allclose(np.sort(mine), np.sort(theirs), rtol=1e-9)
