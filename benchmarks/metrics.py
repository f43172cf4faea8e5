"""All figures of a pair of 512 x 512 x 300 label maps with five structures.

`condyle.measure.score_case` beside DeepMind's surface-distance and MONAI, which get masks of the
whole scan, and are asked for the figures they have: Dice, IoU, Hausdorff, HD95, ASSD and NSD. They
take turns in one process, on one thread; times are the processor's. The prediction has no specks:
one far from the bone makes the box that is looked at as large as the scan, which costs Condyle
three times as much, and surface-distance twenty times.
"""

import statistics
import sys
import time
import warnings
from types import SimpleNamespace

import numpy as np
import torch
from scipy import ndimage

from condyle.core import Grid, LabelMap, LabelScheme
from condyle.measure import score_case

SHAPE, SPACING = (512, 512, 300), (0.8, 0.8, 1.5)
BONES = {
    "femur_left": (0, 170, 26, (170, 250)),
    "femur_right": (0, 172, 26, (345, 255)),
    "tibia_left": (178, 300, 30, (165, 260)),
    "tibia_right": (180, 300, 30, (350, 262)),
    "fibula_left": (190, 300, 9, (125, 290)),
}
"""Name -> first slice, slice after the last, widest radius in pixels, centre."""
TOLERANCE_MM = 2.0
ROUNDS = {"condyle": 5, "surface-distance": 3, "monai": 1}
GOAL = 5.0


def the_pair():
    """Truth and prediction: borders about a voxel apart, one end missed."""
    truth, predicted = np.zeros((2, *SHAPE), np.uint8)
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for number, (first, last, widest, (x, y)) in enumerate(BONES.values(), 1):
        for k in range(first, last):
            along = (k - first) / (last - first)
            radius = widest * (0.55 + 0.45 * np.cos(np.pi * along) ** 4)
            centre = x + 12 * along, y - 8 * along
            far, turn = np.hypot(i - centre[0], j - centre[1]), np.arctan2(j - y, i - x)
            true = radius * (1 + 0.08 * np.sin(3 * turn + k / 20))
            truth[:, :, k][far < true] = number
            if k < last - 4:
                error = 1.5 * np.sin(5 * turn + k / 7) + 0.5
                predicted[:, :, k][far < true + error] = number
    grid = Grid(SHAPE, np.diag([*SPACING, 1.0]))
    scheme = LabelScheme.of({name: n for n, name in enumerate(BONES, 1)})
    return LabelMap(truth, grid, scheme), LabelMap(predicted, grid, scheme)


def by_condyle(truth, predicted):
    rows = score_case(truth, predicted, TOLERANCE_MM)
    names = ("dice", "iou", "hausdorff_mm", "hd95_mm", "assd_mm", "nsd")
    return [[row[name] for name in names] for row in rows]


def by_surface_distance(truth, predicted):
    found = []
    for number in truth.scheme.ids:
        a, b = truth.array == number, predicted.array == number
        between = deepmind.compute_surface_distances(a, b, SPACING)
        ways = deepmind.compute_average_surface_distance(between)
        areas = between["surfel_areas_gt"].sum(), between["surfel_areas_pred"].sum()
        overlap = deepmind.compute_dice_coefficient(a, b)
        found.append([
            overlap,
            overlap / (2 - overlap),
            deepmind.compute_robust_hausdorff(between, 100),
            deepmind.compute_robust_hausdorff(between, 95),
            np.average(ways, weights=areas),
            deepmind.compute_surface_dice_at_tolerance(between, TOLERANCE_MM),
        ])  # fmt: skip
    return found


def by_monai(truth, predicted):
    numbers = torch.tensor(truth.scheme.ids).reshape(1, -1, 1, 1, 1)
    a, b = (torch.from_numpy(x.array)[None, None] == numbers for x in (truth, predicted))
    figures = [
        monai.compute_dice(b, a),
        monai.compute_iou(b, a),
        monai.compute_hausdorff_distance(b, a, True, spacing=SPACING),
        monai.compute_hausdorff_distance(b, a, True, percentile=95, spacing=SPACING),
        monai.compute_average_surface_distance(b, a, True, symmetric=True, spacing=SPACING),
        monai.compute_surface_dice(
            b, a, [TOLERANCE_MM] * len(BONES), True, spacing=SPACING, use_subvoxels=True
        ),
    ]
    return torch.stack([each[0].double() for each in figures], dim=1).tolist()


def main():
    torch.set_num_threads(1)
    pair = the_pair()
    contest = {"condyle": by_condyle, "surface-distance": by_surface_distance, "monai": by_monai}
    seconds = {name: [] for name in contest}
    found = {}
    for turn in range(max(ROUNDS.values())):
        for name in (name for name in contest if turn < ROUNDS[name]):
            started = time.process_time()
            found[name] = contest[name](*pair)
            seconds[name].append(time.process_time() - started)
    np.testing.assert_allclose(found["condyle"], found["surface-distance"], rtol=1e-6)
    same = [0, 1, 2, 5]  # MONAI's HD95 and ASSD weigh surface voxels alike, whatever their area
    np.testing.assert_allclose(
        np.array(found["condyle"])[:, same], np.array(found["monai"])[:, same], rtol=1e-5
    )
    median = {name: statistics.median(each) for name, each in seconds.items()}
    voxels = np.count_nonzero(pair[0].array)
    print(
        f"{'x'.join(map(str, SHAPE))}, {len(BONES)} structures, {voxels / 1e6:.1f} million voxels"
    )
    for name, each in median.items():
        print(f"{name:16} {each:6.2f} s = {each / median['condyle']:5.1f} x condyle's time")
    if min(median[name] for name in contest if name != "condyle") < GOAL * median["condyle"]:
        sys.exit(f"missed the goal: {GOAL:g} times as fast as either")


def libraries():
    """surface-distance, with the names that it wants of numpy 1 and an older scipy, and MONAI."""
    warnings.simplefilter("ignore")
    import monai.metrics
    from surface_distance import metrics

    metrics.np = SimpleNamespace(**vars(np), Inf=np.inf, NaN=np.nan)
    metrics.ndimage = SimpleNamespace(filters=ndimage, morphology=ndimage)
    return metrics, monai.metrics


deepmind, monai = libraries()

if __name__ == "__main__":
    main()
