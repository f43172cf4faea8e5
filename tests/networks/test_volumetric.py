"""3D checkpoints in inflated encoders: each tensor is accounted for, and the answers are theirs."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import avg_pool3d, conv3d

from condyle.errors import ConfigError, WeightsError
from condyle.networks import build
from condyle.networks.encoders import TimmEncoder, replace_first_convolution
from condyle.networks.inflation.inflate import inflate
from condyle.networks.weights.volumetric import adapt, depth_fitted, load_deep


def encoder_3d(name="resnet18", channels=1, depth=3):
    """An inflated encoder's state."""
    encoder = TimmEncoder(name)
    replace_first_convolution(encoder, channels)
    return inflate(encoder.model, "average", depth)


@cache
def target_of(channels=1):
    """The state of an inflated ResNet-18."""
    return encoder_3d(channels=channels).state_dict()


def medicalnet(shortcut, depth=(1, 1, 1, 1)):
    """A checkpoint with MedicalNet's names and shapes: one channel, depth first, cubic kernels."""
    state = {}

    def conv(name, out, inputs, k):
        state[name] = torch.randn(out, inputs, k, k, k)

    def norm(name, width):
        for leaf in ("weight", "bias", "running_mean"):
            state[f"{name}.{leaf}"] = torch.randn(width)
        state[f"{name}.running_var"] = torch.rand(width) + 0.5

    torch.manual_seed(0)
    conv("conv1.weight", 64, 1, 7)
    norm("bn1", 64)
    inputs = 64
    for layer, (width, blocks) in enumerate(zip((64, 128, 256, 512), (2, 2, 2, 2), strict=True), 1):
        for block in range(blocks):
            here = f"layer{layer}.{block}"
            conv(f"{here}.conv1.weight", width, inputs, 3)
            conv(f"{here}.conv2.weight", width, width, 3)
            norm(f"{here}.bn1", width)
            norm(f"{here}.bn2", width)
            if inputs != width and shortcut == "B":
                conv(f"{here}.downsample.0.weight", width, inputs, 1)
                norm(f"{here}.downsample.1", width)
            inputs = width
    conv("conv_seg.0.weight", 8, 512, 3)
    return {f"module.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_every_tensor_of_medicalnet_is_accounted_for(shortcut):
    target = target_of()
    source = medicalnet(shortcut)
    new, report = adapt(source, target)
    assert [f.tensor for f in report.tensors if f.tensor] == list(target)
    assert {f.source for f in report.tensors} - {""} == set(source)
    assert [f.source for f in report.tensors if f.outcome == "unused"] == [
        "module.conv_seg.0.weight"
    ]
    counters = [f.tensor for f in report.tensors if f.outcome == "left"]
    assert all(name.endswith("num_batches_tracked") for name in counters)
    assert {k: v.shape for k, v in new.items()} == {k: v.shape for k, v in target.items()}
    outcome = {f.tensor: f for f in report.tensors}
    assert outcome["conv1.weight"].how == "axes reversed, depth 7 folded into 3"
    assert outcome["layer1.0.conv1.weight"].how == "axes reversed"
    assert outcome["bn1.weight"].outcome == "kept"
    shortcut_how = outcome["layer2.0.downsample.0.weight"].how
    assert shortcut_how == (
        "" if shortcut == "B" else "shortcut without weights (type A), as a convolution"
    )


def test_adapted_kernels_see_what_the_originals_saw_with_the_depth_first():
    source = medicalnet("B")
    new, _ = adapt(source, encoder_3d(depth=0).state_dict())
    volume = torch.randn(1, 1, 12, 14, 16)  # i, j, k
    name = "conv1.weight"
    ours = conv3d(volume, new[name])
    theirs = conv3d(volume.permute(0, 1, 4, 3, 2), source[f"module.{name}"])
    torch.testing.assert_close(ours.permute(0, 1, 4, 3, 2), theirs, rtol=1e-4, atol=1e-4)


def test_a_shortcut_of_type_a_does_what_medicalnets_does():
    """Every second voxel, and zeros for the channels that are new (its downsample_basic_block)."""
    network = encoder_3d()
    load_deep(network, medicalnet("A"), Path("medicalnet.pth"))
    x = torch.randn(1, 64, 8, 8, 8)
    pooled = avg_pool3d(x, 1, stride=2)
    expected = torch.cat([pooled, torch.zeros_like(pooled)], dim=1)
    with torch.no_grad():
        found = network.eval().layer2[0].downsample(x)
    torch.testing.assert_close(found, expected)


@given(depth=st.sampled_from([1, 3, 5, 7, 9]), wanted=st.sampled_from([1, 3, 5, 7, 9]))
def test_a_kernel_of_another_depth_answers_alike_where_the_depth_does_not_change(depth, wanted):
    torch.manual_seed(depth)
    weight = torch.randn(2, 3, 3, 3, depth, dtype=torch.float64)
    fitted = depth_fitted(weight, wanted)
    assert fitted.shape[-1] == wanted
    torch.testing.assert_close(fitted.sum(-1), weight.sum(-1))
    if wanted >= depth:
        x = torch.randn(1, 3, 5, 5, 20, dtype=torch.float64)
        side = (wanted - depth) // 2
        full = conv3d(x, weight)[..., side : 20 - depth + 1 - side]
        torch.testing.assert_close(conv3d(x, fitted), full)


def test_colours_are_summed_for_scans_of_one_channel():
    target = target_of(1)
    source = medicalnet("B")
    source["module.conv1.weight"] = torch.randn(64, 3, 3, 7, 7).bfloat16()  # as Astra's
    new, report = adapt(source, target)
    expected = source["module.conv1.weight"].float().sum(1, keepdim=True).permute(0, 1, 4, 3, 2)
    torch.testing.assert_close(new["conv1.weight"], expected)
    assert report.tensors[0].how == "axes reversed, input channels 3 to 1"


def test_our_own_kernels_keep_their_depth_last():
    network = encoder_3d()
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    state = {f"encoder.model.{k}": v for k, v in network.state_dict().items()}
    new, report = adapt(state, target_of(), depth="last")
    assert report.count("kept") == len(new)
    assert all(torch.equal(v, state[f"encoder.model.{k}"]) for k, v in new.items())


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        (lambda s: {k.replace("layer", "stage"): v for k, v in s.items()}, "not in the file"),
        (
            lambda s: {k: v[:, :1] if v.ndim == 5 else v for k, v in s.items()},
            "in the file, wanted",
        ),
        (lambda s: {k: v * float("nan") for k, v in s.items()}, "not finite"),
        (lambda s: {"something": torch.zeros(3)}, "not in the file"),
    ],
)
def test_less_than_half_of_the_convolutions_is_an_error_never_a_random_start(spoilt, words):
    with pytest.raises(WeightsError, match=r"only \d+ of the encoder's 20 convolutions") as caught:
        adapt(spoilt(medicalnet("B")), target_of())
    assert words in str(caught.value)


def test_the_file_is_named_when_it_does_not_fit():
    with pytest.raises(WeightsError, match=r"^some\.pth: only 0 of the encoder's 20"):
        load_deep(encoder_3d(), {"something": torch.zeros(3)}, Path("some.pth"))


def test_a_network_starts_from_a_3d_checkpoint_or_says_that_it_is_none(tmp_path):
    encoder = inflate(TimmEncoder("resnet18"))
    state = {
        f"module.{name}": (t.permute(0, 1, 4, 3, 2) if t.ndim == 5 else t).clone().contiguous()
        for name, t in encoder.model.state_dict().items()
    }
    path = tmp_path / "medicalnet.safetensors"
    save_file(state, path)
    network, found = build("3d:unet-resnet18", 3, 2, str(path))
    assert found.origin == "given"
    for name, tensor in network.encoder.model.state_dict().items():
        torch.testing.assert_close(tensor, encoder.model.state_dict()[name])
    with pytest.raises(ConfigError, match="3d:unet-resnet18"):
        build("unet-resnet18", 3, 2, str(path))
    with pytest.raises(WeightsError, match="medicalnet"):
        build("3d:unet-densenet121", 3, 2, str(path))
