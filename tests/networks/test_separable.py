"""Separable networks: the same answers, for every strategy, with fewer multiplications."""

import pytest
import torch
from torch import nn

from condyle.networks.encoders import pretrained_encoder
from condyle.networks.inflation.inflate import inflate
from condyle.networks.inflation.separable import SeparableConv3d, separated


def apart(one: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    """The largest difference between two pyramids, as a part of the largest value of each."""
    with torch.no_grad():
        pairs = list(zip(one.eval()(x), other.eval()(x), strict=True))
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def splits(module: nn.Module) -> int:
    return sum(type(layer) is SeparableConv3d for layer in module.modules())


@pytest.mark.parametrize("encoder", ["densenet121", "efficientnet_lite0", "resnet18"])
@pytest.mark.parametrize("strategy", ["average", "scale", "center"])
def test_the_answer_stays_and_no_kernel_is_deep(encoder, strategy):
    torch.manual_seed(0)
    deep = inflate(pretrained_encoder(encoder), strategy).double()
    fast = separated(deep)
    assert splits(fast) == sum(
        isinstance(layer, nn.Conv3d) and layer.kernel_size[2] > 1 for layer in deep.modules()
    )
    assert apart(deep, fast, torch.randn(1, 3, 32, 32, 32, dtype=torch.float64)) < 1e-6


@pytest.mark.parametrize("axis", [2, 3, 4])
@pytest.mark.parametrize("depth", [3, 5])
def test_any_axis_depth_stride_dilation_group_and_bias(axis, depth):
    torch.manual_seed(0)
    flat = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2),
        nn.Conv2d(8, 2, 3, padding=2, dilation=2),
        nn.Conv2d(2, 2, 1),
    )
    deep = inflate(flat, "scale", depth, axis).double()
    x = torch.randn(2, 4, 13, 12, 11, dtype=torch.float64)
    fast = separated(deep)
    assert splits(fast) == 2
    torch.testing.assert_close(fast(x), deep(x), rtol=1e-6, atol=1e-6)


def test_what_was_trained_and_what_sees_three_planes_stays_as_it_is():
    flat = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1))
    trained = inflate(flat)
    with torch.no_grad():
        trained[0].weight[..., 0] += torch.randn(4, 1, 3, 3)
    for deep in (trained, inflate(flat, "acs")):
        assert splits(separated(deep)) == 0
        x = torch.randn(1, 1, 6, 6, 6)
        assert torch.equal(separated(deep)(x), deep(x))


def test_the_network_that_is_given_stays_as_it_is():
    deep = inflate(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1)))
    separated(deep)
    assert splits(deep) == 0
