"""Cleaning a leg of 501 slices of 256 x 256 with four structures, slice by slice.

Condyle's `refine` beside the plain loop over slices with scipy and scikit-image, which follows the
same rule (fill holes, drop parts of fewer than 1 % of the structure's pixels in the slice). They
take turns in one process and must give the same labels; every step at once is timed as well. Times
are the processor's.
"""

import statistics
import sys
import time

import numpy as np
from scipy import ndimage
from skimage import measure

from condyle.core import LOWER_LIMB, Grid, LabelMap
from condyle.refine import Refinement, refine

SHAPE = (256, 256, 501)
BONES = {1: (0, 180, 24), 2: (150, 420, 30), 3: (0, 170, 10), 4: (380, 501, 70)}
"""Number -> first slice, slice after the last, widest radius in pixels."""
CENTRES = {1: (120, 120), 2: (130, 130), 3: (165, 150), 4: (120, 125)}
ROUNDS = 3
GOALS = {"the rule": 0.4, "every step": 1.1}
"""Of the plain loop's time, at most."""


def a_leg(seed=0):
    """Label numbers (i, j, k), uint8: shafts with holes in them, and specks about them."""
    rng = np.random.default_rng(seed)
    array = np.zeros(SHAPE, np.uint8)
    i, j = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for number, (first, last, radius) in BONES.items():
        for k in range(first, last):
            along = (k - first) / (last - first)
            here = radius * (0.6 + 0.4 * np.cos(2 * np.pi * along) ** 2)
            far = np.hypot(i - CENTRES[number][0] - 8 * along, j - CENTRES[number][1])
            wobble = 1 + 0.05 * np.sin(5 * np.arctan2(j - 128, i - 128) + k / 9)
            array[:, :, k][far < here * wobble] = number
    noise = ndimage.zoom(rng.random([n // 3 + 1 for n in SHAPE], np.float32), 3, order=1)
    noise = noise[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    bone = array > 0
    low, high = np.quantile(noise[:, :, ::20], (0.0002, 0.99))
    array[bone & (noise > high)] = 0
    specks = ~bone & (noise < low)
    array[specks] = rng.integers(1, 5, int(specks.sum()))
    return array


def by_loop(array):
    """The rule as one would write it down."""
    cleaned = np.where(np.isin(array, list(BONES)), 0, array)
    gains = []
    for number in BONES:
        for k in range(array.shape[2]):
            mask = array[:, :, k] == number
            if not mask.any():
                continue
            filled = ndimage.binary_fill_holes(mask)
            parts = measure.label(filled, connectivity=2)
            sizes = np.bincount(parts.ravel())
            sizes[0] = 0
            stays = (sizes >= 0.01 * sizes.sum())[parts] & filled
            cleaned[:, :, k][stays & mask] = number
            gains.append((number, k, stays & ~mask))
    for number, k, gained in gains:
        cleaned[:, :, k][gained & (cleaned[:, :, k] == 0)] = number
    return cleaned


def timed(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def main():
    leg = LabelMap(a_leg(), Grid(SHAPE, np.diag([0.8, 0.8, 1.5, 1])), LOWER_LIMB)
    rule = Refinement(slice_ratio=0.01)
    every = Refinement(
        slice_ratio=0.01, smooth_mm=1.0, min_mm3=50.0, keep_largest=1, fill_holes=True
    )
    refine(leg, every)  # libraries start
    seconds = {"plain loop": [], "the rule": [], "every step": []}
    for _ in range(ROUNDS):
        took, wanted = timed(lambda: by_loop(leg.array))
        seconds["plain loop"].append(took)
        for name, steps in (("the rule", rule), ("every step", every)):
            took, cleaned = timed(lambda steps=steps: refine(leg, steps))
            seconds[name].append(took)
            assert name != "the rule" or np.array_equal(cleaned.array, wanted)
    median = {name: statistics.median(each) for name, each in seconds.items()}
    changed = float(np.mean(wanted != leg.array))
    print(f"{SHAPE[2]} slices of 256x256, 4 structures, {changed:.2%} of voxels changed")
    for name, each in median.items():
        print(f"{name:11} {each:6.2f} s = {each / median['plain loop']:5.3f} x the plain loop")
    if any(median[name] > goal * median["plain loop"] for name, goal in GOALS.items()):
        sys.exit(f"missed the goals: {GOALS} x the plain loop")


if __name__ == "__main__":
    main()
