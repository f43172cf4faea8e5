"""Feature maps: the layers are those that are named, and slabs change nothing."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from condyle.errors import UnknownName, WeightsError
from condyle.features.maps import LAYERS, FeatureMaps

GREY = np.random.default_rng(0).random((32, 32, 160), np.float32)


def made(encoder, inflation="average", weights="none", runtime="torch"):
    return FeatureMaps.of(encoder, inflation, weights, "cpu", runtime)


@pytest.fixture(scope="module")
def densenet(tmp_path_factory):
    """timm's whole DenseNet-121 with random weights and lively norms, and the file of them."""
    torch.manual_seed(1)
    whole = timm.create_model("densenet121").train()
    with torch.no_grad():
        whole(torch.randn(4, 3, 64, 64))
    path = tmp_path_factory.mktemp("weights") / "densenet121.safetensors"
    save_file(whole.state_dict(), path)
    return whole.eval(), path


def hand_written(whole, grey, colours):
    """Name -> map of every convolution of a 2D classifier, in the order in which they run."""
    maps = {}
    hooks = [
        layer.register_forward_hook(lambda _, __, y, name=name: maps.__setitem__(name, y))
        for name, layer in whole.named_modules()
        if isinstance(layer, nn.Conv2d)
    ]
    mean, deviation = (torch.tensor(c).view(1, 3, 1, 1) for c in colours)
    with torch.no_grad():
        whole((torch.from_numpy(grey)[None, None] - mean) / deviation)
    for hook in hooks:
        hook.remove()
    return maps


def assert_are(maps, expected, names):
    """That maps of a volume, whose slices are all alike, are those of one slice in each slice."""
    for column, name in names.items():
        wanted = expected[name].numpy()[0][..., None]
        found = maps[column]
        assert found.shape == (*wanted.shape[:3], 2)
        np.testing.assert_allclose(
            found, np.repeat(wanted, 2, axis=-1), atol=2e-4 * np.abs(wanted).max()
        )


def test_the_layers_of_densenet_are_those_of_a_plain_forward(densenet):
    whole, path = densenet
    slice_ = np.random.default_rng(2).random((64, 64), np.float32)
    expected = hand_written(whole, slice_, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    order = list(expected)
    names = {column: order[n] for column, n in LAYERS.items()}
    assert names == {
        "Fifth-Last": "features.denseblock4.denselayer14.conv2",
        "Third-Last": "features.denseblock4.denselayer15.conv2",
        "Last": "features.denseblock4.denselayer16.conv2",
    }
    maps = made("densenet121", weights=str(path), runtime="auto")
    told = {
        column: name.replace("features_", "features.") for column, (name, _) in maps.names.items()
    }
    assert told == names
    assert {channels for _, channels in maps.names.values()} == {32}
    assert_are(maps(np.repeat(slice_[..., None], 64, axis=-1)), expected, names)


def test_the_layers_of_the_default_weights_are_those_of_a_plain_forward():
    maps = made("efficientnet_lite0", weights="imagenet")
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    state = torch.load(maps.found.path, weights_only=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    slice_ = np.random.default_rng(2).random((64, 64), np.float32)
    expected = hand_written(whole, slice_, ((0.5,) * 3, (0.5,) * 3))
    order = [
        name for name in expected if name != "conv_head"
    ]  # the classifier's, not the encoder's
    names = {column: order[n] for column, n in LAYERS.items()}
    assert {column: name for column, (name, _) in maps.names.items()} == names
    assert_are(maps(np.repeat(slice_[..., None], 64, axis=-1)), expected, names)


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize(
    ("encoder", "inflation"),
    [("densenet121", "average"), ("efficientnet_lite0", "scale"), ("resnet18", "acs")],
)
def test_slabs_give_what_the_whole_gives(encoder, inflation, axis):
    maps = made(encoder, inflation)
    grey = np.moveaxis(GREY, 2, axis)
    whole, slabs = maps(grey), maps(grey, slab=32 * 32 * 32)
    blind = replace(maps, reach=0)(grey, slab=32 * 32 * 32)
    for column in LAYERS:
        largest = np.abs(whole[column]).max()
        np.testing.assert_allclose(slabs[column], whole[column], atol=1e-5 * largest)
        assert np.abs(blind[column] - whole[column]).max() > 1e-4 * largest


def test_an_encoder_that_weighs_channels_by_the_whole_volume_is_not_cut():
    maps = made("efficientnet_b0")
    assert maps.first is None
    assert not any(".se." in name for name, _ in maps.names.values())
    assert maps(GREY[..., :32])["Last"].shape == (320, 1, 1, 1)


def test_runtimes_agree_and_a_second_look_is_the_same():
    slow, fast = (made("efficientnet_lite0", "acs", "imagenet", r) for r in ("torch", "auto"))
    expected, found, again = slow(GREY[..., :64]), fast(GREY[..., :64]), fast(GREY[..., :64])
    for column in LAYERS:
        largest = np.abs(expected[column]).max()
        np.testing.assert_allclose(found[column], expected[column], atol=1e-4 * largest)
        assert np.array_equal(found[column], again[column])


def test_what_cannot_be_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    monkeypatch.setattr("condyle.networks.weights.locate.TORCHVISION", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"densenet121 are not .* encoder efficientnet_lite0"):
        FeatureMaps.of()
    with pytest.raises(UnknownName, match="inflation 'avrage': did you mean 'average'"):
        made("resnet18", "avrage")
    with pytest.raises(UnknownName, match="unknown runtime"):
        made("resnet18", runtime="onnx")
    with pytest.raises(UnknownName, match="unknown encoder"):
        made("densenet122")
