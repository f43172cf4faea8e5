"""What every network keeps: any size in, the same size out, all of it learns."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from condyle.errors import ConfigError
from condyle.networks import NetworkName, build, names
from condyle.networks.decoders import DECODERS
from condyle.networks.decoders.deeplab import ASPP
from condyle.networks.encoders import ATROUS, ENCODERS, SCRATCH
from condyle.networks.layers import Pyramid

SOLID = [*[f"3d:{decoder}-plain" for decoder in DECODERS], "3d:unet-nnunet"]
QUICK = [f"{decoder}-{e}" for decoder in DECODERS for e in ("resnet18", "plain")]
LEFT = {"fcnvgg_normed-resnet18": "encoder.model.layer4", "fcn8s_bilinear": "decoder.ups"}
"""What learns nothing: fcnvgg_normed looks at reduction 16, and what a ResNet has below that has no
part in it; bilinear is not learned."""


def odd_sides(name):
    return (70, 37) if NetworkName.parse(name).spatial == 2 else (19, 9, 18)


def takes_one_step(name):
    """Train one step on an odd size; the parameters that had no part in it."""
    torch.manual_seed(0)
    network, _ = build(name, 2, 3, "none")
    sides = odd_sides(name)
    x, target = torch.randn(2, 2, *sides), torch.randint(0, 3, (2, *sides))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    ends = [convolutions[0], convolutions[-1]]
    before = [m.weight.detach().clone() for m in ends]
    scores = network.train()(x)
    assert scores.shape == (2, 3, *sides)
    loss = cross_entropy(scores, target)
    loss.backward()
    optimizer.step()
    assert not any(torch.equal(w, m.weight) for w, m in zip(before, ends, strict=True))
    assert all(torch.isfinite(p).all() for p in network.parameters())
    with torch.no_grad():
        small = network.eval()(torch.randn(1, 2, *[1] * len(sides)))
    assert small.shape == (1, 3, *[1] * len(sides))
    return [n for n, p in network.named_parameters() if p.grad is None]


@pytest.mark.parametrize("name", QUICK)
def test_every_decoder_learns_on_slices_of_any_size(name):
    left = LEFT.get(name, LEFT.get(name.partition("-")[0], "nothing"))
    assert [n for n in takes_one_step(name) if not n.startswith(left)] == []


@pytest.mark.parametrize("encoder", [*ENCODERS, *ATROUS, *SCRATCH])
def test_every_encoder_learns_below_a_unet(encoder):
    assert takes_one_step(f"unet-{encoder}") == []


@pytest.mark.parametrize("name", SOLID)
def test_every_network_of_volumes_learns_on_blocks_of_any_size(name):
    left = LEFT.get(name.removeprefix("3d:").partition("-")[0], "nothing")
    assert [n for n in takes_one_step(name) if not n.startswith(left)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*names()} - {*QUICK, *SOLID}))
def test_every_listed_network_learns_on_any_size(name):
    left = LEFT.get(NetworkName.parse(name).decoder, "nothing")
    assert [n for n in takes_one_step(name) if not n.startswith(left)] == []


@pytest.mark.parametrize("decoder", ["deeplabv3", "deeplabv3plus"])
def test_deeplab_trains_on_a_single_sample(decoder):
    network, _ = build(f"{decoder}-resnet18", 1, 2, "none")
    scores = network.train()(torch.randn(1, 1, 64, 64))
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("unet-resnet18", 32),
        ("deeplabv3-resnet18", 8),
        ("deeplabv3plus-resnet18", 16),
        ("deeplabv3-mobilenetv3", 8),
        ("deeplabv3plus-vgg16", 32),
        ("unet-deeplabv3", 16),
        ("unet-deeplabv3_stride8", 8),
    ],
)
def test_deeplab_keeps_its_coarsest_level_larger_where_it_can(name, smallest):
    network, _ = build(name, 1, 2, "none")
    with torch.no_grad():
        levels = network.encoder.eval()(torch.zeros(1, 1, 64, 64))
    assert 64 // levels[-1].shape[2] == smallest == network.multiple


def test_deep_supervision_scores_each_inner_node_in_training_only():
    network, _ = build("unetplusplus-resnet18", 1, 3, "none", deep_supervision=True)
    x = torch.randn(2, 1, 40, 33)
    scores = network.train()(x)
    assert [s.shape for s in scores] == [(2, 3, 40, 33)] * 4
    sum(s.square().mean() for s in scores).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    network.eval()
    supervised = network(x)
    network.drop_supervision()
    torch.testing.assert_close(network.train().eval()(x), supervised)
    plain, _ = build("unetplusplus-resnet18", 1, 3, "none")
    assert network.state_dict().keys() == plain.state_dict().keys()


def test_deep_supervision_wants_a_nested_unet():
    with pytest.raises(ConfigError, match="unetplusplus"):
        build("unet-plain", 1, 2, deep_supervision=True)


def test_an_fpn_over_too_few_levels_is_refused():
    with pytest.raises(ConfigError, match="four levels"):
        DECODERS["fpn"](Pyramid(2, [8, 16, 32], [2, 4, 8]))


def test_atrous_unets_start_from_a_resnets_weights(tmp_path):
    """Weights that fit resnet50 go into the ResNet below ASPP."""
    from condyle.networks.encoders import TimmEncoder

    source = TimmEncoder("resnet50").model.state_dict()
    file = tmp_path / "resnet50.pth"
    torch.save(source, file)
    network, found = build("unetplusplus-deeplabv3", 3, 2, str(file))
    assert found.path == file
    for name, tensor in network.encoder.model.state_dict().items():
        assert torch.equal(tensor, source[name])


@pytest.mark.parametrize(
    "name",
    ["unet-deeplabv3", "unet-deeplabv3_stride8", "deeplabv3-resnet18", "deeplabv3plus-resnet18",
     "deeplabv3plus-vgg16"],
)  # fmt: skip
def test_no_branch_of_atrous_pooling_is_dead_at_256_pixels(name):
    """Where the taps off the centre are set to 0, the branch must answer otherwise."""
    network = build(name, 1, 3, "none")[0].eval()
    (pooling,) = [part for part in network.modules() if isinstance(part, ASPP)]
    seen = []
    pooling.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(torch.randn(1, 1, 256, 256))
        for branch in pooling.convs[1:4]:
            before = branch(seen[0])
            (kernel,) = [p for p in branch.parameters() if p.shape[-1] == 3]
            middle = kernel[..., 1:2, 1:2].clone()
            kernel.zero_()[..., 1:2, 1:2] = middle
            assert (branch(seen[0]) - before).abs().mean() > 0.05 * before.abs().mean()


@pytest.mark.parametrize(
    ("stride", "side", "rates"), [(16, 33, (6, 12, 18)), (8, 65, (12, 24, 36))]
)
def test_on_levels_as_large_as_the_papers_the_rates_are_the_papers(stride, side, rates):
    """Chen et al. 2017, section 4: 513 x 513 pixels, so 33 or 65 a side."""
    pooling = ASPP(2, 8, stride)
    x = torch.randn(1, 8, side, side)
    for branch, rate in zip(pooling.convs[1:4], rates, strict=True):
        conv = branch[0]
        expected = torch.nn.functional.conv2d(x, conv.weight, None, 1, rate, rate)
        assert torch.equal(conv(x), expected)
