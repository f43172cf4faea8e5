"""The same weights give the same answer as segmentation-models-pytorch."""

import pytest
import torch

from condyle.networks import build

smp = pytest.importorskip("segmentation_models_pytorch")


def test_unet_over_resnet34_equals_smps():
    theirs = smp.Unet("resnet34", encoder_weights=None, in_channels=1, classes=5).eval()
    ours, _ = build("unet-resnet34", 1, 5, "none")
    state = {k.replace("encoder.", "encoder.model.", 1): v for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        expected, found = theirs(x), ours.eval()(x)
    assert (expected - found).abs().max() < 1e-4 * expected.abs().max()
