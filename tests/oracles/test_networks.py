"""The same weights give the same answer as the libraries that the field uses."""

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from condyle.networks import build
from condyle.networks.decoders import DECODERS
from condyle.networks.decoders.deeplab import DeepLabV3Decoder
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


def test_fcn32s_equals_torchvisions_head():
    from torchvision.models.segmentation.fcn import FCNHead

    theirs = lively(FCNHead(64, 7))
    decoder = DECODERS["fcn32s"](Pyramid(2, [64], [32]))
    ours = nn.ModuleList([decoder, nn.Conv2d(decoder.out_channels, 7, 1)])
    in_order(theirs, ours)
    x = torch.randn(2, 64, 9, 8)
    with torch.no_grad():
        assert_close(ours.eval()[1](decoder([x], x.shape[2:])), theirs(x))


@pytest.mark.parametrize(("name", "finer"), [("fcn16s", 1), ("fcn8s", 2)])
def test_finer_fcns_sum_the_scores_of_their_levels(name, finer):
    """Long et al. score each level, enlarge and sum; torchvision's head is the coarsest score."""
    from torchvision.models.segmentation.fcn import FCNHead

    channels, classes = [32, 48, 64], 7
    coarsest = lively(FCNHead(channels[-1], classes))
    finer_scores = [nn.Conv2d(c, classes, 1) for c in channels[-2 : -2 - finer : -1]]
    levels = [
        torch.randn(2, c, 2**i * 5, 2**i * 4) for c, i in zip(channels, (2, 1, 0), strict=True)
    ]

    decoder = DECODERS[name](Pyramid(2, channels, [8, 16, 32])).eval()
    decoder.head[0].load_state_dict(coarsest[0].state_dict())
    decoder.head[1].load_state_dict(coarsest[1].state_dict())
    head = nn.Conv2d(decoder.out_channels, classes, 1)
    scoring = [coarsest[-1], *finer_scores]
    with torch.no_grad():
        head.weight.copy_(torch.cat([conv.weight for conv in scoring], dim=1))
        head.bias.copy_(sum(conv.bias for conv in scoring))
        expected = coarsest(levels[-1])
        for conv, level in zip(finer_scores, levels[-2::-1], strict=False):
            larger = interpolate(
                expected, size=level.shape[2:], mode="bilinear", align_corners=True
            )
            expected = larger + conv(level)
        assert_close(head(decoder(levels, levels[0].shape[2:])), expected)


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
