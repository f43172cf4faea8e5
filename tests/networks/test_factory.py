import pytest
import torch
from torch import nn

from condyle.config import Inflation
from condyle.errors import UnknownName
from condyle.networks import NetworkName, build
from condyle.networks.device import moved
from condyle.networks.encoders import TimmEncoder, adapted_to_channels


@pytest.mark.parametrize("name", ["unet-efficientnet_lite0", "unet-resnet18", "unet-vgg16"])
@pytest.mark.parametrize("sides", [(64, 64), (33, 70), (5, 1)])
def test_any_size_of_slice_comes_back_in_its_size(name, sides):
    network, _ = build(name, 1, 3, "none")
    assert network.eval()(torch.zeros(1, 1, *sides)).shape == (1, 3, *sides)


@pytest.mark.parametrize("sides", [(16, 16, 16), (9, 20, 1)])
def test_any_size_of_volume_comes_back_in_its_size(sides):
    network, _ = build("3d:unet-plain", 2, 3)
    assert network(torch.zeros(1, 2, *sides)).shape == (1, 3, *sides)


def test_a_size_that_fits_is_not_padded():
    network, _ = build("unet-plain", 1, 2)
    network.eval()
    x = torch.randn(1, 1, 32, 48)
    wider = torch.nn.functional.pad(x, (0, 16, 0, 0), mode="replicate")
    whole, cut = network(x), network(wider)[..., :48]
    assert whole.shape == cut.shape
    assert not torch.equal(whole, cut)  # the border differs: nothing was added to x


@pytest.mark.parametrize(
    "name", ["unet", "unet-", "unet-resnot34", "mnet-resnet34", "4d:unet-plain"]
)
def test_unknown_names_are_refused(name):
    with pytest.raises(UnknownName):
        NetworkName.parse(name)


def test_a_close_name_is_offered():
    with pytest.raises(UnknownName, match="did you mean 'resnet34'"):
        build("unet-resnt34", 1, 2)


@pytest.mark.parametrize("name", ["unet-plain", "3d:unet-plain", "unet-resnet18"])
def test_names_are_written_as_they_are_read(name):
    assert str(NetworkName.parse(name)) == name


def test_every_weight_of_a_network_gets_a_gradient():
    network, _ = build("unet-efficientnet_lite0", 1, 3, "none")
    network(torch.randn(2, 1, 64, 64)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


def test_one_grey_channel_gives_the_answer_of_three_equal_colours():
    grey, _ = build("unet-efficientnet_lite0", 1, 2)
    colour, _ = build("unet-efficientnet_lite0", 3, 2)
    x = torch.randn(1, 1, 64, 64)
    one = grey.encoder.eval()(x)
    three = colour.encoder.eval()(x.repeat(1, 3, 1, 1))
    for a, b in zip(one, three, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_equal_channels_keep_the_size_of_the_first_answer(channels):
    weight = torch.rand(4, 3, 3, 3)
    adapted = adapted_to_channels(weight, channels)
    assert adapted.shape == (4, channels, 3, 3)
    if channels in (1, 3):
        torch.testing.assert_close(adapted.sum(1), weight.sum(1))


def test_encoders_say_truly_how_wide_and_how_small_their_levels_are():
    encoder = TimmEncoder("efficientnet_lite0").eval()
    levels = encoder(torch.zeros(1, 3, 64, 64))
    assert tuple(level.shape[1] for level in levels) == encoder.channels
    assert tuple(64 // level.shape[2] for level in levels) == encoder.reductions


def test_a_3d_network_from_random_numbers_is_random_along_the_depth_too():
    network, _ = build("3d:unet-resnet18", 1, 2, "none")
    first = next(m for m in network.encoder.modules() if isinstance(m, nn.Conv3d))
    assert not torch.allclose(first.weight[..., 0], first.weight[..., 1])


@pytest.mark.parametrize("strategy", ["average", "acs"])
def test_weights_lie_in_memory_as_convolutions_want_them(strategy):
    network, _ = build("3d:unet-resnet18", 1, 2, "none", inflation=Inflation(strategy=strategy))
    image = torch.randn(1, 1, 32, 32, 32)
    before = network.eval()(image)
    weights = [p for p in moved(network, torch.device("cpu")).parameters() if p.ndim >= 4]
    orders = {4: torch.channels_last, 5: torch.channels_last_3d}
    assert all(p.is_contiguous(memory_format=orders[p.ndim]) for p in weights)
    assert {p.ndim for p in weights} == ({4, 5} if strategy == "acs" else {5})
    torch.testing.assert_close(network(image), before, rtol=1e-3, atol=1e-4)
