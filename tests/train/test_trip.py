"""The way of one training case, from its files to a step of the weights."""

import copy

import numpy as np

from condyle.config import Augmentation, Network, Preparation, Training
from condyle.core import Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.io import open_dataset, write_nnunet
from condyle.networks import build
from condyle.prepare.recipe import Recipe
from condyle.train import Batches, fabric_for
from condyle.train.prepared_cases import mapped, prepare
from condyle.train.step import Step
from trip import modules_entered

SCHEME = LabelScheme.of({"ball": 1})


def data(folder):
    labels = np.zeros((32, 32, 6), np.uint8)
    labels[10:20, 10:20, 1:5] = 1
    image = (100 * labels + np.random.default_rng(0).normal(size=labels.shape)).astype(np.float32)
    grid = Grid.regular(labels.shape)
    pair = ("ball_0", (Volume(image, grid),), LabelMap(labels, grid, SCHEME))
    root = write_nnunet(folder / "balls", "balls", [pair], SCHEME, ("MRI",))
    return open_dataset(root).with_folds([Fold(("ball_0",), ())])


def test_a_case_goes_through_35_modules_at_the_most(tmp_path):
    """So many a newcomer has to read to know what happens to a case that is trained on."""
    (case,) = data(tmp_path).cases
    recipe = Recipe(Preparation(intensity="minmax", spacing=(1.5, 1.5, 0)))
    network, _ = build("unet-resnet18", 1, 2, "none")
    training = Training(batch=2)
    step = Step(fabric_for("cpu"), network, copy.deepcopy(network), training, Network())
    entered = []
    with modules_entered(entered):
        prepare(case, recipe, tmp_path / "prepared")
        ready = [mapped(case.id, tmp_path / "prepared")]
        batches = Batches(ready, (32, 32, 1), 2, Augmentation(), [0, 1], 0.67, 0)
        for image, target in batches.epoch(0, 1):
            loss = step(image, target, 0, 0.1)
    assert np.isfinite(loss)
    assert len(entered) <= 35, "\n".join(entered)
