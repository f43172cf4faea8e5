"""Inflation is proved: the 3D network gives the 2D network's answer where it must."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from condyle.config import Inflation
from condyle.errors import ConfigError, UnknownName
from condyle.networks import build, inflated
from condyle.networks.encoders import ENCODERS, TimmEncoder
from condyle.networks.inflation.check import prove
from condyle.networks.inflation.inflate import inflate, slice_weights
from condyle.networks.inflation.layers import ACSConv3d

EXACT = ["center", "average", "scale"]
SLOW = {"vgg16", "vgg16_bn", "resnet34", "resnet50", "seresnet50", "efficientnet_lite2"}


def encoder(name, seed=0):
    """An encoder with random weights, and norms that do something."""
    torch.manual_seed(seed)
    made = TimmEncoder(name).double().eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    return made


LISTED = [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in ENCODERS]


@pytest.mark.parametrize("strategy", EXACT)
@pytest.mark.parametrize("name", LISTED)
def test_what_is_alike_in_every_slice_gets_the_2d_answer_in_every_slice(name, strategy):
    flat = encoder(name)
    deep = inflate(flat, strategy)
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    assert prove(flat, deep, x, slices=33).relative < 1e-10
    assert prove(flat.float(), deep.float(), x.float(), slices=32).relative < 1e-4


@pytest.mark.parametrize("name", LISTED)
def test_center_without_depth_strides_is_the_2d_network_slice_by_slice(name):
    flat = encoder(name)
    deep = inflate(flat, "center", keep_depth="all")
    x = torch.randn(1, 3, 32, 32, 3, dtype=torch.float64)
    with torch.no_grad():
        levels = deep(x)
        for k in range(3):
            for two, three in zip(flat(x[..., k]), levels, strict=True):
                torch.testing.assert_close(three[..., k], two, rtol=1e-10, atol=1e-10)


def test_the_real_weights_of_the_default_encoder_are_carried():
    from condyle.networks.weights.locate import load_into, locate, read_state

    flat = TimmEncoder("efficientnet_lite0").eval()
    found = locate("efficientnet_lite0")
    load_into(flat, read_state(found.path), found.path)
    for strategy in EXACT:
        assert prove(flat, inflate(flat, strategy), torch.randn(1, 3, 64, 64)).relative < 1e-4


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenetv2", "mobilenet_v2-imagenet-dequant-torchvision-fp16.safetensors"),
        ("vgg16", "vgg16_features-hed_bsds500-torchvision-fp16.safetensors"),
    ],
)
def test_other_real_weights_are_carried(shared, name, file):
    from condyle.networks.weights.locate import load_into, read_state

    path = shared.parent / "weights" / file
    flat = TimmEncoder(name).eval()
    load_into(flat, read_state(path), path)
    for strategy in EXACT:
        x = torch.randn(1, 3, 32, 32)
        assert prove(flat, inflate(flat, strategy), x, slices=32).relative < 1e-4
        exact = flat.double()
        assert prove(exact, inflate(exact, strategy), x.double(), slices=32).relative < 1e-10
        flat = flat.float()


@pytest.mark.parametrize("axis", [2, 3, 4, -3, -2, -1])
@pytest.mark.parametrize("depth", [0, 5, (1, 3)])
def test_the_depth_lies_where_it_is_put(axis, depth):
    flat = encoder("efficientnet_b0")
    deep = inflate(flat, "scale", depth, axis, alphas="gaussian", keep_depth=2)
    x = torch.randn(2, 3, 32, 64, dtype=torch.float64)
    assert prove(flat, deep, x, slices=16, axis=axis).relative < 1e-10


@pytest.mark.parametrize(("keep", "depths"), [(0, (16, 8, 4, 2, 1)), (2, (32, 32, 16, 8, 4)),
                                              ("all", (32,) * 5)])  # fmt: skip
def test_thick_slices_are_kept_as_long_as_asked(keep, depths):
    deep = inflate(encoder("resnet18"), keep_depth=keep)
    levels = deep(torch.zeros(1, 3, 64, 64, 32, dtype=torch.float64))
    assert tuple(level.shape[-1] for level in levels) == depths
    assert [level.shape[-2] for level in levels] == [32, 16, 8, 4, 2]


class Head(nn.Module):
    """A user's own network."""

    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(2, 6, 5, stride=2, padding=2), nn.InstanceNorm2d(6, affine=True), nn.PReLU()
        )
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.deep = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3, bias=False)
        self.norm = nn.GroupNorm(2, 6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.wide = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.average = nn.AvgPool2d(2)
        self.weigh = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout2d(0.5)

    def forward(self, x):
        x = self.norm(self.deep(self.pool(self.down(x))))
        x = self.wide(self.up(x))
        return self.drop(self.average(x) * self.weigh(x))


@pytest.mark.parametrize("keep", [0, 1, "all"])
@pytest.mark.parametrize("strategy", EXACT)
def test_a_users_own_network_is_inflated(strategy, keep):
    torch.manual_seed(1)
    flat = Head().double()
    before = {k: v.clone() for k, v in flat.state_dict().items()}
    deep = inflate(flat, strategy, keep_depth=keep)
    x = torch.randn(2, 2, 16, 24, dtype=torch.float64)
    assert prove(flat, deep, x, slices=16).relative < 1e-10
    slices = deep(torch.zeros(1, 2, 16, 16, 8, dtype=torch.float64)).shape[-1]
    assert slices == (4 if keep == 0 else 8)
    for key, value in flat.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.sampled_from([1, 3, 5, 7]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    depth=st.sampled_from([0, 1, 3, 5]),
    strategy=st.sampled_from(EXACT),
    keep=st.sampled_from([0, "all"]),
)
def test_any_convolution(kernel, stride, dilation, groups, depth, strategy, keep):
    padding = dilation * (kernel - 1) // 2
    flat = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups).double()
    deep = inflate(flat, strategy, depth, keep_depth=keep)
    x = torch.randn(1, 4, 17, 18, dtype=torch.float64)
    assert prove(flat, deep, x, slices=9).relative < 1e-10


def test_weights_of_slices():
    assert slice_weights("center", 5).tolist() == [0, 0, 1, 0, 0]
    assert slice_weights("first", 3).tolist() == [1, 0, 0]
    assert slice_weights("average", 3).tolist() == pytest.approx([1 / 3] * 3)
    assert slice_weights("scale", 5, "triangular").tolist() == pytest.approx(
        [1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9]
    )
    gauss = slice_weights("scale", 3, "gaussian")
    assert gauss.sum() == pytest.approx(1)
    assert gauss[1] > gauss[0] == gauss[2] > 0
    assert slice_weights("scale", 3, (0.2, 0.5, 0.3)).tolist() == [0.2, 0.5, 0.3]


@pytest.mark.parametrize("alphas", [(0.5, 0.5), (0.5, 0.5, 0.5), (0.6, -0.2, 0.6)])
def test_alphas_that_would_change_the_answer_are_refused(alphas):
    with pytest.raises(ConfigError, match="3 positive numbers that sum to 1"):
        inflate(nn.Conv2d(1, 1, 3), "scale", alphas=alphas)


@pytest.mark.parametrize("encoder", ["densenet121", "resnet50"])
@pytest.mark.parametrize(("strategy", "alphas"), [("scale", (0.2, 0.5, 0.3)), ("first", None)])
def test_given_alphas_inflate_networks_that_have_1_wide_convolutions(encoder, strategy, alphas):
    flat = build(f"unet-{encoder}", 1, 3, "none")[0].double().eval()
    deep = inflated(flat, Inflation(strategy=strategy, alphas=alphas or "triangular"))
    x = torch.randn(1, 1, 32, 32, dtype=torch.float64)
    assert prove(flat, deep, x, slices=5).relative < 1e-10


def test_even_depths_and_unknown_strategies_are_refused():
    with pytest.raises(ConfigError, match="odd"):
        inflate(nn.Conv2d(1, 1, 3), depth=4)
    with pytest.raises(UnknownName, match="did you mean 'center'"):
        inflate(nn.Conv2d(1, 1, 3), "centre")
    with pytest.raises(ConfigError, match="axis"):
        inflate(nn.Conv2d(1, 1, 3), axis=1)


class Shouting(nn.ReLU):
    def forward(self, input):
        return super().forward(input) + 1


@pytest.mark.parametrize("layer", [Shouting(), nn.PixelShuffle(2), nn.LPPool2d(2, 2)])
def test_a_layer_that_is_not_known_is_named_and_never_guessed(layer):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(layer))
    with pytest.raises(ConfigError, match=rf"layer 1\.0 is a .*{type(layer).__name__}"):
        inflate(network)


def test_a_norm_with_an_activation_keeps_both():
    flat = encoder("efficientnet_lite0")
    kinds = [type(m).__name__ for m in inflate(flat).modules()]
    assert kinds.count("NormAct3d") == sum(
        type(m).__name__ == "BatchNormAct2d" for m in flat.modules()
    )


def test_what_was_frozen_and_in_training_stays_so():
    flat = Head()
    flat.down.requires_grad_(False)
    deep = inflate(flat.train())
    frozen = [n for n, p in deep.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(n.startswith("down.") for n in frozen)
    assert all(m.training for m in deep.modules())


def three_convolutions(flat, x):
    """The published definition, by hand, the depth first."""
    a, b, c = flat.weight.tensor_split(3)
    pad = flat.padding[0]
    parts = [
        nn.functional.conv3d(
            x,
            part.unsqueeze(2 + axis),
            stride=flat.stride[0],
            padding=tuple(0 if n == axis else pad for n in range(3)),
        )
        for axis, part in enumerate((a, b, c))
    ]
    return torch.cat(parts, 1) + flat.bias.view(1, -1, 1, 1, 1)


@pytest.mark.parametrize("outputs", [6, 7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_acs_is_three_convolutions_in_three_planes(outputs, stride):
    torch.manual_seed(2)
    flat = nn.Conv2d(4, outputs, 3, stride, 1).double()
    deep = inflate(flat, "acs", axis=2)
    assert isinstance(deep, ACSConv3d)
    assert deep.weight.shape == flat.weight.shape
    x = torch.randn(1, 4, 6, 8, 10, dtype=torch.float64)
    torch.testing.assert_close(deep(x), three_convolutions(flat, x))
    kernel = nn.functional.conv3d(x, deep.kernel(), deep.bias, stride, 1)
    torch.testing.assert_close(deep(x), kernel)


@pytest.mark.parametrize("groups", [1, 8])
def test_acs_equals_the_published_package(groups):
    acsconv = pytest.importorskip("acsconv.operators", reason="ACSConv is not installed")
    theirs = acsconv.ACSConv(8, 8, 3, padding=1, groups=groups).double()
    flat = nn.Conv2d(8, 8, 3, padding=1, groups=groups).double()
    flat.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 6, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(inflate(flat, "acs", axis=2)(x), theirs(x))


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_the_axial_third_of_acs_gives_the_2d_answer(axis):
    """The other two thirds look along the depth, and give another answer by definition."""
    flat = nn.Conv2d(4, 9, 3, padding=1).double()
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    deep = inflate(flat, "acs", axis=axis)(torch.stack([x] * 5, dim=axis))
    torch.testing.assert_close(deep[:, :3].mean(axis), flat(x)[:, :3])
    assert not torch.allclose(deep[:, 3:].mean(axis), flat(x)[:, 3:])
    torch.testing.assert_close(deep[:, :3].std(axis), torch.zeros(1, 3, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize("name", ["efficientnet_lite0", "seresnet50"])
def test_an_encoder_by_acs_runs_and_learns(name):
    deep = inflate(TimmEncoder(name), "acs").eval()
    levels = deep(torch.randn(1, 3, 32, 32, 32))
    assert [tuple(level.shape[2:]) for level in levels] == [
        (32 // r,) * 3 for r in (2, 4, 8, 16, 32)
    ]
    sum(level.square().mean() for level in levels).backward()
    assert all(p.grad is not None for p in deep.parameters())


WHOLE = ["unet", "unetplusplus", "fpn", "deeplabv3", "deeplabv3plus", "fcn8s", "fcnvgg"]


@pytest.mark.parametrize("decoder", WHOLE)
@pytest.mark.parametrize("keep", [0, 1])
def test_a_whole_network_inflates_with_its_decoder(decoder, keep):
    torch.manual_seed(3)
    flat, _ = build(f"{decoder}-resnet18", 1, 3, "none")
    flat = flat.double().eval()
    deep = inflated(flat, Inflation(strategy="scale", keep_depth=keep))
    assert deep.spatial == 3
    x = torch.randn(1, 1, 40, 33, dtype=torch.float64)
    assert prove(flat, deep, x, slices=9).relative < 1e-10


@pytest.mark.parametrize("encoder_name", ["resnet18", "efficientnet_lite0", "deeplabv3"])
@pytest.mark.parametrize("strategy", ["average", "acs"])
def test_a_3d_network_is_the_2d_network_of_its_name(encoder_name, strategy):
    name = f"unet-{encoder_name}"
    weights = "imagenet" if encoder_name == "efficientnet_lite0" else "none"
    flat, _ = build(name, 2, 3, weights)
    deep, _ = build(f"3d:{name}", 2, 3, weights, inflation=Inflation(strategy=strategy))
    assert list(deep.state_dict()) == list(flat.state_dict())
    assert deep.eval()(torch.zeros(1, 2, 33, 20, 5)).shape == (1, 3, 33, 20, 5)
    decoder = deep.decoder.blocks[0].conv1[0].weight
    if strategy == "average":
        first = deep.encoder.state_dict()
        kernel = next(v for v in first.values() if v.ndim == 5 and v.shape[-1] > 1)
        alike = torch.equal(kernel[..., 0], kernel[..., 1])
        assert alike is (weights == "imagenet")  # what was learnt is inflated, nothing else
        assert not torch.equal(decoder[..., 0], decoder[..., 1])  # the decoder's starts anew
