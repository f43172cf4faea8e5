"""Every network that is listed takes one step of training on a phantom, and segments it."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from condyle.config import Inflation, Preparation
from condyle.networks import NetworkName, build, names
from condyle.phantom import leg
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.train.devices import alone

LIGHT = {
    "unet-efficientnet_lite0", "3d:unet-efficientnet_lite0", "3d:unet-plain", "3d:unet-mobilenetv3",
    "attention_unet-plain", "3d:attention_unet-mobilenetv3", "unetplusplus-mobilenetv2",
    "fpn-efficientnet_lite0", "3d:fpn-mobilenetv3", "unet-deeplabv3",
    "deeplabv3plus-mobilenetv3", "3d:deeplabv3plus-efficientnet_lite0", "fcnvgg-vgg16",
}  # fmt: skip


@pytest.fixture(scope="module")
def phantom():
    """A block of a phantom leg with bone in it."""
    volume, labels = leg(0)
    middle = np.argwhere(labels.array == labels.scheme["femur"].id)[-1]
    start = np.clip(middle - 16, 0, np.array(volume.grid.shape) - 33)
    return volume.cropped(start, start + 33), labels.cropped(start, start + 33)


LISTED = [pytest.param(n, marks=[] if n in LIGHT else [pytest.mark.slow]) for n in names()]


@pytest.mark.parametrize("name", LISTED)
def test_a_network_of_the_list_learns_and_segments_a_phantom(phantom, name):
    volume, labels = phantom
    torch.manual_seed(0)
    inflation = Inflation(keep_depth=1)
    network, _ = build(name, 1, len(labels.scheme) + 1, "none", inflation=inflation)
    preprocessor = RecipePreprocessing(
        settings=Preparation(intensity="zscore"), spatial=network.spatial, window=(32, 32, 32)
    )
    recipe = preprocessor.recipe
    image = torch.from_numpy(recipe.apply((volume,)).array)[None]
    target = torch.from_numpy(recipe.apply_labels(labels).array.astype(np.int64))[None]
    if NetworkName.parse(name).spatial == 2:
        image, target = image[..., 15:17].permute(4, 1, 2, 3, 0)[..., 0], target[0, ..., 15:17]
        target = target.permute(2, 0, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    fabric = alone("cpu")  # in bfloat16 too: PyTorch lacks some operations in it
    loss = cross_entropy(fabric.setup(network.train())(image), target)
    fabric.backward(loss)
    optimizer.step()
    assert torch.isfinite(loss)
    segmenter = Segmenter(name, network.eval(), preprocessor, labels.scheme, inflation=inflation)
    found = segmenter.segment(volume)
    assert found.grid.same_as(volume.grid)
    assert set(found.present()) <= set(labels.scheme.ids)
