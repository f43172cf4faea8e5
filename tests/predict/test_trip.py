"""The way of one scan, from its file to the file of its label map."""

import numpy as np
import torch

from condyle.config import Preparation
from condyle.core import KNEE, Grid, Volume
from condyle.io import read, write
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.refine import refined
from trip import modules_entered


def test_a_scan_goes_through_25_modules_at_the_most(tmp_path):
    """So many a newcomer has to read to know what happens to a scan."""
    torch.manual_seed(0)
    network, _ = build("unet-resnet18", 1, 3, "none")
    settings = Preparation(intensity="minmax", spacing=(1.5, 1.5, 0))
    segmenter = Segmenter("unet-resnet18", network, RecipePreprocessing(settings=settings), KNEE)
    array = np.random.default_rng(0).random((48, 48, 6)).astype(np.float32)
    scan = write(Volume(array, Grid.regular(array.shape)), tmp_path / "leg.nii.gz")
    predictor = segmenter.predictor(device="cpu", runtime="torch")
    predictor.predict(read(scan))
    entered = []
    with modules_entered(entered):
        found = predictor.predict(read(scan), postprocess=lambda labels: refined(labels, {}))
        write(found.labels, tmp_path / "labels.nii.gz")
    assert "condyle.predict.segmenter" not in entered
    assert len(entered) <= 25, "\n".join(entered)
