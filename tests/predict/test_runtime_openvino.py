"""Networks in OpenVINO answer as in PyTorch, whatever the input's size."""

import functools
import logging
import subprocess
import sys

import pytest
import torch
from torch import nn

from condyle.errors import ConfigError, MissingExtra, UnreadableFile
from condyle.networks import build
from condyle.predict.runtimes import openvino
from condyle.predict.runtimes.openvino import Graph, OpenVinoRuntime
from condyle.predict.runtimes.torch import TorchRuntime

pytestmark = pytest.mark.precision


@functools.cache
def network(name, classes=4):
    """A network whose classes all win somewhere."""
    torch.manual_seed(0)
    made, _ = build(name, 1, classes, "none")
    sides = (2, 1, 64, 64) if made.spatial == 2 else (1, 1, 32, 64, 32)
    with torch.no_grad():
        head = made.eval().segmentation_head[0]
        scores = made(torch.randn(sides))
        spread = scores.std()
        head.weight *= 2 / spread
        head.bias.copy_(-2 * (scores - head.bias.view(1, -1, *[1] * made.spatial)).mean(
            tuple(x for x in range(scores.ndim) if x != 1)) / spread)  # fmt: skip
    return made


@functools.cache
def graph_of(name):
    return Graph.of(network(name))


OF_ANY_SIZE = [
    ("unet-resnet18", [(1, 1, 64, 64), (3, 1, 70, 45)]),
    ("3d:unet-plain", [(1, 1, 32, 20, 17), (3, 1, 16, 33, 16)]),
]
MORE = [
    ("unet-efficientnet_lite0", [(3, 1, 40, 65)]),
    ("unetplusplus-resnet18", [(3, 1, 40, 65)]),
    ("fpn-densenet121", [(3, 1, 40, 65)]),
    ("deeplabv3plus-mobilenetv3", [(3, 1, 40, 65)]),
    ("fcn8s-vgg16", [(3, 1, 40, 65)]),
    ("unet-plain", [(3, 1, 40, 65)]),
    ("3d:unet-resnet18", [(2, 1, 32, 40, 33)]),
]


@pytest.mark.parametrize(
    ("name", "shapes"), OF_ANY_SIZE + [pytest.param(*x, marks=pytest.mark.slow) for x in MORE]
)
def test_same_probabilities_as_torch_for_batches_of_any_size(name, shapes):
    made = network(name)
    fast, slow = OpenVinoRuntime(graph_of(name)), TorchRuntime.of(made, "cpu", "fp32")
    for shape in shapes:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        expected = slow.probabilities(x)
        assert len(expected.argmax(1).unique()) > 1
        torch.testing.assert_close(fast.probabilities(x), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ["unet-resnet18", "3d:unet-plain"])
def test_bfloat16_is_what_it_says_on_every_processor(name):
    """Where the processor lacks it, OpenVINO itself would compute in float32 without a word."""
    sides = (2, 1, 64, 64) if network(name).spatial == 2 else (1, 1, 32, 32, 32)
    x = torch.randn(sides, generator=torch.Generator().manual_seed(1))
    full = TorchRuntime.of(network(name), "cpu", "fp32").probabilities(x)
    half = TorchRuntime.of(network(name), "cpu", "bf16").probabilities(x)
    found = OpenVinoRuntime(graph_of(name), "bf16").probabilities(x)
    rounding = (half - full).abs().mean()
    assert rounding > 0
    assert 0.3 * rounding < (found - full).abs().mean() < 3 * rounding


class Small(nn.Sequential):
    """A network that is converted in no time."""

    spatial, channels, multiple, single = 2, 1, 8, True
    memory_format = torch.channels_last

    def __init__(self, *last):
        super().__init__(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3), *last)


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_converting_leaves_the_network_as_it_was():
    made = Small().to(memory_format=torch.channels_last).train()
    before = {name: x.clone() for name, x in made.state_dict().items()}
    OpenVinoRuntime.of(made)
    assert made.training
    assert all(torch.equal(x, before[name]) for name, x in made.state_dict().items())
    assert made[2].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_kept_graph_answers_the_same_and_knows_its_weights(tmp_path):
    graph = graph_of("unet-plain")
    graph.save(tmp_path, {"weights": "abc"})
    x = torch.randn(2, 1, 50, 40)
    again = OpenVinoRuntime(Graph.read(tmp_path, "abc"))
    assert torch.equal(again.probabilities(x), OpenVinoRuntime(graph).probabilities(x))
    with pytest.raises(UnreadableFile, match="other weights"):
        Graph.read(tmp_path, "def")


@pytest.mark.parametrize("spoil", ["model.xml", "model.bin", "card.json", "missing"])
def test_a_damaged_graph_is_refused(tmp_path, spoil):
    graph_of("unet-plain").save(tmp_path, {"weights": "abc"})
    if spoil == "missing":
        (tmp_path / "model.bin").unlink()
    else:
        path = tmp_path / spoil
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableFile):
        Graph.read(tmp_path)


def test_an_operation_that_openvino_lacks_is_an_error_that_says_what_to_do():
    level = logging.root.level
    with pytest.raises(ConfigError, match=r"special_bessel_j0.*`runtime` torch"):
        OpenVinoRuntime.of(Small(Bessel()))
    assert logging.root.level == level  # else nobody would hear our warnings any more


def test_without_openvino_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert openvino.version() == ""
    assert not openvino.bf16_here()
    with pytest.raises(MissingExtra, match="pip install openvino"):
        Graph.of(Small())


def test_openvino_may_not_send_notes_of_its_use():
    """In a process of its own: other tests import what imports OpenVINO first."""
    code = (
        "import sys; from condyle.predict.runtimes import openvino; "
        "assert openvino.library(); print(sys.modules['openvino_telemetry'])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.split() == ["None"], said.stderr
