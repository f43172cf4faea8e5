"""The same weights give the same answer as the libraries that the field uses."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import (
    batch_norm,
    conv2d,
    conv3d,
    conv_transpose2d,
    interpolate,
    max_pool2d,
)

from condyle.networks import build
from condyle.networks.decoders import DECODERS
from condyle.networks.decoders.deeplab import DeepLabV3Decoder
from condyle.networks.decoders.fcn import Enlarging
from condyle.networks.encoders import DynamicEncoder, TimmEncoder
from condyle.networks.layers import Pyramid


def lively(module):
    """The module with norms that do something, and in its state of use."""
    torch.manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return module.eval()


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert expected.std() > 1e-3  # an answer that says something
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def renamed(state):
    """An smp state under our names: its own encoders lack the prefix that its timm ones have."""
    if any(name.startswith("encoder.model.") for name in state):
        return state
    return {name.replace("encoder.", "encoder.model.", 1): t for name, t in state.items()}


@pytest.mark.parametrize(
    ("decoder", "theirs"),
    [
        ("unet", "Unet"),
        ("unetplusplus", "UnetPlusPlus"),
        ("fpn", "FPN"),
        ("deeplabv3", "DeepLabV3"),
        ("deeplabv3plus", "DeepLabV3Plus"),
    ],
)
@pytest.mark.parametrize("encoder", ["resnet34", "mobilenetv3"])
def test_networks_equal_smps(decoder, theirs, encoder):
    smp = pytest.importorskip("segmentation_models_pytorch")
    # smp's own dilated ResNet spreads one convolution more than timm's and torchvision's do
    native = encoder == "resnet34" and not decoder.startswith("deeplab")
    name = {"mobilenetv3": "mobilenetv3_large_100"}.get(encoder, encoder)
    # smp gives both DeepLabs the rates of an output stride of 8; the paper's at 16 are half of that
    more = {"decoder_atrous_rates": (6, 12, 18)} if decoder == "deeplabv3plus" else {}
    reference = getattr(smp, theirs)(
        name if native else f"tu-{name}", encoder_weights=None, in_channels=1, classes=5, **more
    )
    lively(reference)
    ours, _ = build(f"{decoder}-{encoder}", 1, 5, "none")
    state = renamed(reference.state_dict())
    ours.load_state_dict(state)
    # on smaller slices than the paper's ours have smaller rates
    x = torch.randn(2, 1, 528, 544) if decoder.startswith("deep") else torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        assert_close(ours.eval()(x), reference(x))


def in_order(theirs, ours):
    """Load one module's tensors into another by their order; every shape must agree."""
    pairs = list(zip(theirs.state_dict().items(), ours.state_dict().items(), strict=True))
    assert all(a.shape == b.shape for (_, a), (_, b) in pairs)
    ours.load_state_dict({name: tensor for (_, tensor), (name, _) in pairs})


def test_deeplabv3_equals_torchvisions_head():
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead

    theirs = lively(DeepLabHead(40, 7))
    ours = nn.ModuleList([DeepLabV3Decoder(Pyramid(2, [40], [8])), nn.Conv2d(256, 7, 1)])
    in_order(theirs, ours)
    decoder, head = ours.eval()
    x = torch.randn(2, 40, 66, 65)
    with torch.no_grad():
        assert_close(head(decoder([x], x.shape[2:])), theirs(x))


@pytest.mark.parametrize(("name", "finer"), [("fcn32s", 0), ("fcn16s", 1), ("fcn8s", 2)])
def test_fcns_are_those_of_long_2015_over_vgg(name, finer):
    """Section 4 of the paper over VGG-16: pool5 scored and enlarged twofold, the score of pool4
    added, enlarged twofold, that of pool3 added, the rest at once; torchvision's head on pool5."""
    from torchvision.models import vgg16

    torch.manual_seed(0)
    vgg, classes = lively(vgg16()).features, 4
    ours = lively(build(f"{name}-vgg16", 3, classes, "none")[0])
    ours.encoder.model.load_state_dict(
        {f"features_{name}": tensor for name, tensor in vgg.state_dict().items()}
    )
    decoder, x = ours.decoder, torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        pool3, pool4, pool5 = vgg[:17](x), vgg[:24](x), vgg(x)
        assert [p.shape[1:] for p in (pool3, pool4)] == [(256, 8, 12), (512, 4, 6)]
        scores = decoder.scores[0](decoder.head(pool5))
        for up, score, pool in zip(decoder.ups, decoder.scores[1:], (pool4, pool3), strict=False):
            twice = conv_transpose2d(scores, up[0].weight, stride=2, padding=1)
            scores = twice + score(pool)
        factor = 2 ** (5 - finer)
        expected = conv_transpose2d(
            scores, decoder.ups[finer][0].weight, stride=factor, padding=factor // 2
        )
        assert_close(ours(x), expected)


@pytest.mark.parametrize("factor", [2, 8])
def test_scores_are_enlarged_linearly_before_they_learn(factor):
    scores = torch.randn(1, 3, 6, 5)
    expected = interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)
    with torch.no_grad():
        found = Enlarging(2, 3, factor, learned=True)(scores)
    inside = np.s_[..., factor:-factor, factor:-factor]  # at the border the paper's sees zeros
    assert_close(found[inside], expected[inside])


def test_upsampling_learns_unless_it_is_to_stay_bilinear():
    for name, learns in (("fcn8s", True), ("fcn8s_bilinear", False)):
        ups = build(f"{name}-vgg16", 1, 3, "none")[0].decoder.ups
        assert {p.requires_grad for p in ups.parameters()} == {learns}


def test_fcnvgg_is_the_studys():
    """Its class, line by line, but for the width of its first convolution."""
    from torchvision.models import vgg16

    class FCNVGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.vgg_features = vgg16().features
            self.conv5 = nn.Conv2d(512, 3, kernel_size=435, padding=217)
            self.trans_conv1 = nn.ConvTranspose2d(3, 64, kernel_size=4, stride=2, padding=1)
            self.trans_conv2 = nn.ConvTranspose2d(64, 32, kernel_size=4, stride=2, padding=1)
            self.trans_conv3 = nn.ConvTranspose2d(32, 16, kernel_size=4, stride=2, padding=1)
            self.trans_conv4 = nn.ConvTranspose2d(16, 8, kernel_size=4, stride=2, padding=1)
            self.conv6 = nn.Conv2d(8, 3, kernel_size=3, padding=1)
            self.conv7 = nn.Conv2d(3, 3, kernel_size=3, padding=1)

        def forward(self, x):
            for layer in self.children():
                x = layer(x)
            return x

    theirs = lively(FCNVGG())
    ours = build("fcnvgg-vgg16", 3, 3, "none")[0].eval()
    state = list(theirs.state_dict().items())
    middle = {"conv5.weight": np.s_[..., 211:224, 211:224]}
    names = list(ours.state_dict())
    assert len(names) == len(state)
    ours.load_state_dict(
        {
            name: tensor[middle.get(key, ...)]
            for name, (key, tensor) in zip(names, state, strict=True)
        }
    )
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = interpolate(theirs(x), size=(224, 224), mode="bilinear", align_corners=True)
        assert_close(ours(x), expected)


def test_the_plain_unet_with_a_bottleneck_is_the_lower_limb_studys():
    """Its Keras functions, line by line, in torch; weights are shared in the order of layers."""
    ours = lively(build("unet-plain_bottleneck", 1, 5, "none")[0])
    tensors = iter([t for n, t in ours.state_dict().items() if "num_batches" not in n])

    def take(count):
        return [next(tensors) for _ in range(count)]

    def conv_block(x, weights):
        for kernel, *norm in weights:
            x = conv2d(x, kernel, padding=1)
            scale, shift, mean, variance = norm
            x = batch_norm(x, mean, variance, scale, shift, eps=1e-5).relu()
        return x

    down = [[take(5) for _ in range(n)] for n in (2, 2, 2, 2, 4)]  # the last with its bottleneck
    up = [(take(2), [take(5), take(5)]) for _ in range(4)]
    last = take(2)
    assert [block[0][0].shape[0] for block in down] == [32, 64, 128, 256, 480]
    assert [kernel.shape[2:] for (kernel, _), _ in up] == [(3, 3)] * 4
    x, skips = torch.randn(1, 1, 48, 64), []
    with torch.no_grad():
        expected = x
        for block in down:
            expected = conv_block(expected, block)
            skips.append(expected)
            expected = max_pool2d(expected, 2)
        expected = skips.pop()
        for (kernel, bias), block in up:
            i, j = expected.shape[2:]
            # Keras' padding 'same' of a stride of 2 keeps the first 2 i of 2 i + 1 pixels
            larger = conv_transpose2d(expected, kernel, bias, stride=2)[..., : 2 * i, : 2 * j]
            expected = conv_block(torch.cat([larger, skips.pop()], dim=1), block)
        assert_close(ours(x), conv2d(expected, *last))


@pytest.mark.parametrize("spatial", [2, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_unets_over_nnunets_encoders_are_its_networks(spatial, residual):
    """The same weights in PlainConvUNet and ResidualEncoderUNet, which nnU-Net trains."""
    from dynamic_network_architectures.architectures import unet

    encoder = DynamicEncoder(spatial, 1, residual)
    stages = len(encoder.channels)
    make = unet.ResidualEncoderUNet if residual else unet.PlainConvUNet
    blocks = {"n_blocks_per_stage": (1, 3, 4, 6, 6, 6)[:stages]}
    theirs = make(
        1, stages, encoder.channels, nn.Conv2d if spatial == 2 else nn.Conv3d, 3,
        [1, *[2] * (stages - 1)], num_classes=3, n_conv_per_stage_decoder=2,
        norm_op=nn.InstanceNorm2d if spatial == 2 else nn.InstanceNorm3d,
        norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU, nonlin_kwargs={"inplace": True},
        **(blocks if residual else {"n_conv_per_stage": 2}),
    ).eval()  # fmt: skip
    once = {k: v for k, v in theirs.encoder.state_dict().items() if k in encoder.model.state_dict()}
    encoder.model.load_state_dict(once)
    decoder = DECODERS["unet"](
        Pyramid(spatial, encoder.channels, encoder.reductions, "instance", transposed=True)
    )
    for at, block in enumerate(decoder.blocks):
        block.up.load_state_dict(
            {
                "weight": theirs.decoder.transpconvs[at].weight,
                "bias": torch.zeros(len(block.up.bias)),
            }
        )
        for conv, stacked in zip(
            (block.conv1, block.conv2), theirs.decoder.stages[at].convs, strict=True
        ):
            conv[0].load_state_dict(stacked.conv.state_dict())
            conv[1].load_state_dict(stacked.norm.state_dict())
    x = torch.randn(1, 1, *[32 * (4 - spatial)] * spatial)
    with torch.no_grad():
        features = decoder.eval()(encoder.eval()(x), x.shape[2:])
        assert_close(theirs.decoder.seg_layers[-1](features), theirs(x))


def test_atrous_resnets_equal_torchvisions():
    from torchvision.models import resnet50
    from torchvision.models._utils import IntermediateLayerGetter

    whole = lively(resnet50(replace_stride_with_dilation=[False, True, True]))
    wanted = {"relu": "a", "layer1": "b", "layer2": "c", "layer3": "d", "layer4": "e"}
    theirs = IntermediateLayerGetter(whole, wanted).eval()
    ours = TimmEncoder("resnet50", output_stride=8)
    ours.model.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 48)
    with torch.no_grad():
        for found, expected in zip(ours.eval()(x), theirs(x).values(), strict=True):
            assert_close(found, expected)


def gated_unet(network, x):
    """The way up of Oktay et al. 2018 over nearest enlarging, plainly stated with our weights."""
    state = network.decoder.state_dict()
    conv, mode = (conv2d, "bilinear") if x.ndim == 4 else (conv3d, "trilinear")
    with torch.no_grad():
        g, *skips = reversed(network.encoder(x))
        for at, block in enumerate(network.decoder.blocks):
            skip = skips[at] if at < len(skips) else None
            if at < len(skips) - 1:  # the finest level is not gated
                w = {k.removeprefix(f"gates.{at}."): v for k, v in state.items()}
                every = (slice(None), slice(None), *[slice(0, None, 2)] * (x.ndim - 2))
                q = conv(skip[every], w["level.weight"]) + conv(g, w["coarse.weight"])
                q = q + w["coarse.bias"].view(1, -1, *[1] * (x.ndim - 2))
                q = conv(q.clamp(min=0), w["weight.0.weight"], w["weight.0.bias"])
                alpha = 1 / (1 + torch.exp(-q))
                sides = skip.shape[2:]
                skip = skip * interpolate(alpha, sides, mode=mode, align_corners=True)
            sides = skip.shape[2:] if skip is not None else x.shape[2:]
            g = interpolate(g, sides, mode="nearest") if block.up is None else block.up(g)
            g = block.conv2(block.conv1(g if skip is None else torch.cat([g, skip], dim=1)))
        return network.segmentation_head(g)


@pytest.mark.parametrize("name", ["attention_unet-mobilenetv3", "3d:attention_unet-plain"])
def test_attention_gates_equal_oktays(name):
    network = lively(build(name, 1, 3, "none")[0])
    x = torch.randn(1, 1, *([64, 32, 32][: 2 if network.spatial == 2 else 3]))
    with torch.no_grad():
        found = network(x)
    assert_close(found, gated_unet(network, x))
    with torch.no_grad():  # a gate that is shut lets nothing of its level through
        for gate in network.decoder.gates:
            gate.weight[0].bias.fill_(-1e4)
    assert (network(x) - found).abs().max() > 1e-3
