from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from condyle.networks import build
from condyle.networks.cost import cost


def test_the_cost_of_a_plain_unet_is_what_can_be_counted_by_hand():
    widths = (1, 32, 64, 128, 256, 480)
    parameters = flop = 0
    side = 256
    for inputs, outputs in pairwise(widths):
        weights = 9 * (inputs * outputs + outputs * outputs)
        parameters += weights + 4 * outputs
        flop += 2 * weights * side**2
        side //= 2
    side = 16
    for below, outputs in zip(widths[:1:-1], widths[-2:0:-1], strict=False):
        weights = 9 * (2 * outputs * outputs + outputs * outputs)
        parameters += weights + 4 * outputs + 4 * below * outputs + outputs
        flop += 2 * 4 * below * outputs * side**2
        side *= 2
        flop += 2 * weights * side**2
    parameters += 32 * 2 + 2
    flop += 2 * 32 * 2 * 256**2
    found = cost("unet-plain")
    assert found.parameters * 1e6 == pytest.approx(parameters)
    assert found.gflop * 1e9 == pytest.approx(flop)


@pytest.mark.parametrize("name", ["unet-regnety", "deeplabv3plus-mobilenetv3"])
def test_costs_without_numbers_are_those_with_numbers(name):
    network, _ = build(name, 1, 2, "none")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 1, 256, 256))
    found = cost(name)
    assert found.gflop * 1e9 == pytest.approx(counter.get_total_flops())
    assert found.parameters * 1e6 == pytest.approx(sum(p.numel() for p in network.parameters()))


def test_a_3d_network_costs_a_block():
    assert cost("3d:unet-plain").gflop > cost("unet-plain").gflop
