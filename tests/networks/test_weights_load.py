"""Weights of other makers give the features, and the scores, that they give with their makers."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from condyle.errors import WeightsError
from condyle.networks import build
from condyle.networks.encoders import TimmEncoder
from condyle.networks.weights.load import load_into, load_network, read_state
from condyle.networks.weights.pickles import tensors_of

HERE = Path("file.pth")


@pytest.fixture
def weights():
    folder = Path(__file__).parents[2] / ".." / "shared" / "weights"
    if not folder.is_dir():
        pytest.skip("needs the folder of real weights")
    return folder


def lively(module):
    """The module with norms that do something, and in its state of use."""
    torch.manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.2)
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return module.eval()


def vgg(name):
    """The features of torchvision's VGG-16, without the classifier, which takes seconds to fill."""
    layers = make_layers(cfgs["D"], batch_norm=name.endswith("bn"))
    return nn.Sequential(OrderedDict(features=layers))


def assert_features(encoder, theirs, x, rtol=1e-5):
    """Each of the encoder's levels is one of the layers' outputs of the original."""
    outputs = []
    hooks = [
        m.register_forward_hook(lambda _m, _i, out: outputs.extend([out.clone(), out.relu()]))
        for m in theirs.modules()
    ]
    with torch.no_grad():
        theirs(x)
        levels = encoder(x)
    for hook in hooks:
        hook.remove()
    for level in levels:
        assert level.std() > 1e-3
        same = [o for o in outputs if o.shape == level.shape]
        nearest = min(float((o - level).abs().max() / level.abs().max()) for o in same)
        assert nearest < rtol, nearest


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet18", "resnet18"),
        ("resnet34", "resnet34"),
        ("resnet50", "resnet50"),
        ("densenet121", "densenet121"),
        ("vgg16", "vgg16"),
        ("vgg16_bn", "vgg16_bn"),
        ("mobilenetv2", "mobilenet_v2"),
        ("mobilenetv3", "mobilenet_v3_large"),
        ("efficientnet_b0", "efficientnet_b0"),
    ],
)
def test_torchvisions_weights_give_torchvisions_features(ours, theirs):
    torch.manual_seed(0)
    original = vgg(theirs) if ours.startswith("vgg") else getattr(torchvision.models, theirs)()
    state = lively(original).state_dict()
    encoder = TimmEncoder(ours).eval()
    report = load_into(encoder, state, HERE)
    assert report.count("kept") == len(encoder.state_dict())
    assert_features(encoder, original, torch.randn(2, 3, 64, 64))


def test_densenets_oldest_names_and_vggs_bare_ones_load():
    state = timm.create_model("densenet121").state_dict()
    old = {k.replace(".norm1.", ".norm.1.").replace(".norm2.", ".norm.2.")
           .replace(".conv1.", ".conv.1.").replace(".conv2.", ".conv.2."): v
           for k, v in state.items()}  # fmt: skip
    assert old.keys() != state.keys()
    encoder = TimmEncoder("densenet121")
    load_into(encoder, old, HERE)
    name = "denseblock2.denselayer3.conv2.weight"
    torch.testing.assert_close(
        encoder.model.state_dict()[f"features_{name}"], state[f"features.{name}"]
    )
    bare = vgg("vgg16").features.state_dict()
    encoder = TimmEncoder("vgg16")
    load_into(encoder, bare, HERE)
    torch.testing.assert_close(encoder.model.state_dict()["features_28.weight"], bare["28.weight"])


def test_real_mobilenetv2_gives_torchvisions_features(weights):
    path = weights / "mobilenet_v2-imagenet-dequant-torchvision-fp16.safetensors"
    original = torchvision.models.mobilenet_v2(weights=None)
    original.load_state_dict(load_file(path))
    network, found = build("unet-mobilenetv2", 3, 2, str(path))
    assert found.origin == "given"
    assert_features(network.encoder.eval(), original.eval(), torch.randn(1, 3, 96, 96))


def test_real_vgg16_gives_torchvisions_features(weights):
    path = weights / "vgg16_features-hed_bsds500-torchvision-fp16.safetensors"
    original = vgg("vgg16")
    original.load_state_dict(load_file(path))
    network, _ = build("unet-vgg16", 3, 2, str(path))
    assert_features(network.encoder.eval(), original.eval(), torch.randn(1, 3, 64, 64))


def smp_network(decoder, encoder):
    smp = pytest.importorskip("segmentation_models_pytorch")
    # smp's own default are the rates of an output stride of 8; the paper's at 16 are half of that
    more = {"decoder_atrous_rates": (6, 12, 18)} if decoder == "DeepLabV3Plus" else {}
    make = getattr(smp, decoder)
    return lively(make(encoder, encoder_weights=None, in_channels=1, classes=5, **more))


@pytest.mark.parametrize(
    ("decoder", "theirs", "encoder", "name"),
    [
        ("unet", "Unet", "resnet34", "resnet34"),
        ("unet", "Unet", "tu-densenet121", "densenet121"),
        ("unet", "Unet", "tu-mobilenetv3_large_100", "mobilenetv3"),
        ("unetplusplus", "UnetPlusPlus", "resnet18", "resnet18"),
        ("fpn", "FPN", "resnet34", "resnet34"),
        ("deeplabv3plus", "DeepLabV3Plus", "tu-resnet18", "resnet18"),
    ],
)
def test_smps_whole_networks_give_smps_scores(decoder, theirs, encoder, name):
    reference = smp_network(theirs, encoder)
    ours, _ = build(f"{decoder}-{name}", 1, 5, "none")
    state = {f"module.{k}": v for k, v in reference.state_dict().items()}
    report = load_network(ours, tensors_of(state), HERE)
    assert report.count("left") == 0
    # on smaller slices than the paper's our DeepLab has smaller rates
    x = torch.randn(1, 1, 528, 544) if decoder == "deeplabv3plus" else torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        expected, found = reference(x), ours.eval()(x)
    assert expected.std() > 1e-3
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_other_classes_leave_the_head_and_the_report_says_why():
    reference = smp_network("Unet", "resnet18")
    ours, _ = build("unet-resnet18", 1, 3, "none")
    report = load_network(ours, reference.state_dict(), HERE)
    left = [row for row in report.tensors if row.outcome == "left"]
    assert {row.tensor for row in left} == {
        "segmentation_head.0.weight",
        "segmentation_head.0.bias",
    }
    assert "shape (5, 16, 3, 3), wanted is (3, 16, 3, 3)" in left[0].how
    torch.testing.assert_close(
        ours.decoder.state_dict()["blocks.0.conv1.0.weight"],
        reference.decoder.state_dict()["blocks.0.conv1.0.weight"],
    )
    assert len(report.rows()) == len(ours.state_dict()) + 2  # and the file's own head


@pytest.mark.parametrize(
    ("ours", "theirs", "encoder", "words"),
    [
        ("unet-densenet121", "Unet", "densenet121", "smp's own DenseNet"),
        ("deeplabv3plus-resnet18", "DeepLabV3Plus", "resnet18", "smp's own atrous ResNet"),
        ("unet-mobilenetv2", "Unet", "mobilenet_v2", "has shape"),
    ],
)
def test_decoders_trained_on_other_features_than_ours_are_left(ours, theirs, encoder, words):
    network, _ = build(ours, 1, 5, "none")
    report = load_network(network, smp_network(theirs, encoder).state_dict(), HERE)
    left = [f for f in report.tensors if f.outcome == "left" and f.tensor.startswith("decoder.")]
    assert len(left) == len(network.decoder.state_dict())
    assert words in left[0].how
    assert report.count("kept") >= len(network.encoder.state_dict())


def run_folder(folder, name, channels=1):
    """The folder of a run, as a training leaves it."""
    from hashlib import sha256

    network, _ = build(name, channels, 3, "none")
    home = folder / "segmenter"
    home.mkdir(parents=True)
    save_file(network.state_dict(), home / "model.safetensors")
    digest = sha256((home / "model.safetensors").read_bytes()).hexdigest()
    (home / "segmenter.json").write_text(json.dumps({"network": name, "sha256": digest}))
    return network


@pytest.mark.parametrize("encoder", ["resnet18", "vgg16"])
def test_an_earlier_run_gives_its_encoder(tmp_path, encoder):
    before = run_folder(tmp_path / "run", f"unet-{encoder}")
    network, found = build(f"fpn-{encoder}", 1, 7, str(tmp_path / "run"))
    assert found.origin == f"run run (unet-{encoder})"
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        for a, b in zip(network.eval().encoder(x), before.eval().encoder(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_an_earlier_run_of_another_encoder_or_a_damaged_one_is_refused(tmp_path):
    run_folder(tmp_path / "run", "unet-resnet34")
    with pytest.raises(
        WeightsError, match="does not fit into resnet18: it belongs to a larger network"
    ):
        build("unet-resnet18", 1, 3, str(tmp_path / "run"))
    file = tmp_path / "run" / "segmenter" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100] + b"\0" * 100)
    with pytest.raises(WeightsError, match=r"its SHA-256 should begin with .* and is"):
        build("unet-resnet34", 1, 3, str(tmp_path / "run"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="holds no segmenter"):
        build("unet-resnet34", 1, 3, str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("file", "network", "words"),
    [
        ("resnet34", "resnet18", "does not fit into resnet18"),
        ("resnet18", "resnet34", r"no tensor layer1\.2\.conv1\.weight"),
        ("resnet50", "resnet34", "has shape"),
        ("vgg16_bn", "vgg16", "another network|has shape"),
        ("vgg19", "vgg16", "another network|has shape"),
        ("densenet169", "densenet121", "has shape|does not fit"),
        ("tf_efficientnet_lite1", "efficientnet_lite0", "has shape|does not fit"),
        ("mobilenetv2_100", "mobilenetv3", "no tensor|has shape"),
        ("regnety_016", "regnety", "has shape|does not fit"),
    ],
)
def test_weights_of_another_network_are_refused_by_a_tensors_name(file, network, words):
    state = {k: torch.zeros_like(v) for k, v in timm.create_model(file).state_dict().items()}
    encoder = TimmEncoder(network)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(WeightsError, match=words) as caught:
        load_into(encoder, state, HERE)
    assert "file.pth" in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_torchvision_names_of_a_network_with_another_order_are_refused():
    state = torchvision.models.mobilenet_v3_small(weights=None).state_dict()
    with pytest.raises(WeightsError, match=r"another network|has shape"):
        load_into(TimmEncoder("mobilenetv3"), state, HERE)
    with pytest.raises(WeightsError, match="not of resnet18"):
        load_into(TimmEncoder("resnet18"), state, HERE)


def test_values_that_are_no_numbers_are_refused():
    state = timm.create_model("resnet18").state_dict()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv1\.weight holds values that are not"):
        load_into(TimmEncoder("resnet18"), state, HERE)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "network_weights"])
def test_wrapped_and_prefixed_tables_are_unwrapped(tmp_path, wrapper):
    state = timm.create_model("resnet18").state_dict()
    path = tmp_path / "wrapped.pth"
    torch.save({"epoch": 3, wrapper: {f"module.{k}": v for k, v in state.items()}}, path)
    assert read_state(path).keys() == state.keys()


def test_half_precision_files_become_single():
    state = {k: v.half() if v.is_floating_point() else v
             for k, v in timm.create_model("resnet18").state_dict().items()}  # fmt: skip
    encoder = TimmEncoder("resnet18")
    load_into(encoder, state, HERE)
    assert {v.dtype for v in encoder.state_dict().values()} == {torch.float32, torch.int64}
