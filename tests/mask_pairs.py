"""Pairs of masks, true and predicted, on grids of all kinds: what figures are tried on."""

from functools import cache

import numpy as np
from scipy import ndimage

from condyle import read_labels
from condyle.core import Grid, LabelMap, LabelScheme
from strategies import rotation

RANDOM, REAL = 152, 48
"""How many of each there are."""

SCHEME = LabelScheme.of({"bone": 1})
OTHERS = (
    "sct_spinal_cord/t1w_seg-manual.nii.gz", "sct_spinal_cord/t2_seg-manual.nii.gz",
    "sct_spinal_cord/t2s_gmseg_manual.nii.gz", "sct_spinal_cord/t2s_seg.nii.gz",
    "tptbox_vertebrae/sub-ct_seg-vert_label-22_msk.nii.gz",
    "tptbox_vertebrae/sub-mri_seg-vert_label-6_msk.nii.gz",
)  # fmt: skip
RATERS = [f"knee_label_maps_only/ct3702_left_knee_femur_tibia_{who}.nii.gz"
          for who in ("kitarp07", "Krish0110")]  # fmt: skip


@cache
def random_pair(number):
    """Truth and prediction as label maps of one structure, drawn by number; grids are oblique."""
    rng = np.random.default_rng((7, number))
    shape = tuple(int(n) for n in rng.integers(2, 20, 3))
    if number % 10 == 9:
        shape = (*shape[:2], 1)
    truth = KINDS[number % len(KINDS)](rng, shape)
    predicted = CHANGES[number // len(KINDS) % len(CHANGES)](rng, truth)
    affine = np.eye(4)
    turn = rotation(tuple(rng.uniform(-0.6, 0.6, 3)))[:, rng.permutation(3)]
    affine[:3, :3] = turn * rng.choice([-1, 1], 3) * rng.uniform(0.3, 5, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    grid = Grid(shape, affine)
    return tuple(LabelMap.of(mask.astype(np.uint8), grid, SCHEME) for mask in (truth, predicted))


def nothing(rng, shape):
    return np.zeros(shape, bool)


def one_voxel(rng, shape):
    mask = np.zeros(shape, bool)
    mask[tuple(rng.integers(0, shape))] = True
    return mask


def noise(rng, shape):
    return rng.random(shape) < rng.choice([0.02, 0.3, 0.5, 0.95])


def blob(rng, shape):
    return ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.8, 3)) > 0


def ellipsoid(rng, shape):
    """Often past the border of the scan."""
    sizes = np.array(shape)
    centre, radii = rng.uniform(0.2, 0.8, 3) * sizes, rng.uniform(0.15, 0.7, 3) * sizes
    at = np.stack(np.indices(shape), axis=-1)
    return (((at - centre) / radii) ** 2).sum(axis=-1) < 1


def everything(rng, shape):
    return np.ones(shape, bool)


KINDS = (ellipsoid, blob, noise, ellipsoid, one_voxel, blob, everything, nothing)


def eroded(rng, mask):
    return ndimage.binary_erosion(mask)


def dilated(rng, mask):
    return ndimage.binary_dilation(mask)


def moved(rng, mask):
    return np.roll(mask, rng.integers(-3, 4, 3), axis=(0, 1, 2))


def with_errors(rng, mask):
    return mask ^ (rng.random(mask.shape) < 0.05)


CHANGES = (
    moved,
    with_errors,
    eroded,
    dilated,
    lambda rng, mask: mask,
    lambda rng, mask: one_voxel(rng, mask.shape),
    lambda rng, mask: nothing(rng, mask.shape),
    lambda rng, mask: blob(rng, mask.shape),
    lambda rng, mask: ~mask,
)


@cache
def real_pair(folder, number):
    """Two real masks on one grid: of two patients, of two raters, or one and a change of it."""
    rng = np.random.default_rng((8, number))
    if number < 20:
        hippocampi = sorted((folder / "msd_task04_hippocampus" / "labelsTr").glob("*.nii.gz"))
        one, other = (read_labels(path) for path in hippocampi[2 * number : 2 * number + 2])
        least = np.minimum(one.grid.shape, other.grid.shape)
        return tuple(
            _cut(m.array == 1 + number % 2, one.grid, (0, 0, 0), least) for m in (one, other)
        )
    if number < 24:
        first = (330, 230, (105, 130, 0, 60)[number - 20])
        raters = (read_labels(folder / name) for name in RATERS)
        return tuple(_cut(m.array > 0, m.grid, first, np.add(first, (96, 80, 8))) for m in raters)
    labels = read_labels(folder / OTHERS[number % len(OTHERS)])
    number_of = rng.choice(labels.present())
    mask = labels.array == number_of
    there = np.argwhere(mask)
    first, last = np.maximum(there.min(axis=0) - 4, 0), there.max(axis=0) + 5
    truth = _cut(mask, labels.grid, first, np.minimum(last, mask.shape))
    change = CHANGES[number // len(OTHERS) % 4]
    return truth, truth.with_array(change(rng, truth.array > 0).astype(np.uint8))


def _cut(mask, grid, first, last):
    """A mask within a box, as a label map."""
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return LabelMap.of(mask[box].astype(np.uint8), grid.cropped(first, last), SCHEME)
