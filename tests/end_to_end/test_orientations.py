"""However a scan lies in its file, the same bones are found at the same places."""

import numpy as np
import pytest
import torch

from condyle import phantom
from condyle.config import Preparation
from condyle.core import LOWER_LIMB, Grid, Volume
from condyle.io import read, write
from condyle.predict import RecipePreprocessing, Segmenter
from strategies import ORIENTATIONS, rotation

TURNS = ((0.2, -0.15, 0.1), (-0.3, 0.05, 0.2), (0.1, 0.35, -0.25), (-0.05, -0.2, 0.4))
"""Radians about x, y and z."""


class Lopsided(torch.nn.Module):
    """A network of one random layer that looks further to one side than to the other.

    What it says of a flipped or turned picture is something else than its answer flipped or turned.
    """

    memory_format = torch.contiguous_format

    def __init__(self, spatial, classes):
        super().__init__()
        self.spatial, self.classes = spatial, classes
        kind = torch.nn.Conv2d if spatial == 2 else torch.nn.Conv3d
        torch.manual_seed(spatial)
        self.look = kind(1, classes, 5, padding=2)

    def forward(self, x):
        return 10 * self.look(x)


@pytest.fixture(scope="module", params=[2, 3])
def segmenter(request):
    preprocessor = RecipePreprocessing(
        settings=Preparation(spacing=(2.5, 2.5, 5), intensity="zscore"),
        spatial=request.param,
        window=(24, 24, 16),
    )
    network = Lopsided(request.param, len(LOWER_LIMB) + 1).eval()
    return Segmenter("unet-plain", network, preprocessor, LOWER_LIMB)


@pytest.fixture(scope="module")
def scan():
    volume, _ = phantom.leg(2, spacing=(3, 3.5, 6), extent="knee")
    middle = np.array(volume.grid.shape) // 2
    half = np.minimum(middle, (18, 15, 13))
    return volume.cropped(middle - half, middle + half)


@pytest.fixture(scope="module")
def straight(segmenter, scan):
    found = segmenter.segment(scan)
    counts = np.bincount(found.array.ravel(), minlength=5)
    assert np.count_nonzero(counts > 300) >= 4  # equal answers mean something
    return found


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_all_48_orientations_get_one_answer(segmenter, scan, straight, ending, tmp_path):
    for orientation in ORIENTATIONS:
        turned = read(write(scan.reoriented(orientation), tmp_path / f"{orientation}{ending}"))
        assert turned.grid.orientation == orientation
        found = segmenter.segment(turned)
        assert found.grid.same_as(turned.grid)
        back = found.reoriented(straight.grid.orientation)
        assert back.grid.distance_to(straight.grid) < 1e-3
        np.testing.assert_array_equal(back.array, straight.array, orientation)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("angles", TURNS)
def test_oblique_copies_get_the_same_answer(segmenter, scan, straight, angles, ending, tmp_path):
    affine = scan.grid.affine.copy()
    affine[:3] = rotation(angles) @ affine[:3]
    oblique = Volume(scan.array, Grid(scan.grid.shape, affine))
    for orientation in (scan.grid.orientation, "PIR"):
        turned = read(write(oblique.reoriented(orientation), tmp_path / f"x{ending}"))
        found = segmenter.segment(turned)
        back = found.reoriented(oblique.grid.orientation)
        assert back.grid.distance_to(oblique.grid) < 1e-3
        np.testing.assert_array_equal(back.array, straight.array)


def test_a_network_that_sees_the_scan_the_wrong_way_round_would_be_found(segmenter, scan, straight):
    for axis in range(segmenter.network.spatial):
        lied = segmenter.segment(scan.with_array(np.flip(scan.array, axis)))
        assert (np.flip(lied.array, axis) != straight.array).mean() > 0.05
