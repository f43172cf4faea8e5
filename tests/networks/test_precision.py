"""Float32 or bfloat16, here and on processors that are fast in it."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from condyle.errors import UnknownName
from condyle.networks.precision import PRECISION, autocast, bf16_pays, precision
from condyle.train.devices import alone

pytestmark = pytest.mark.precision

CPU = torch.device("cpu")
ASK = "import torch, condyle.networks.precision as p; print(p.bf16_pays(torch.device('cpu')))"


def test_the_environment_says_which_is_taken_in_child_processes_too(monkeypatch):
    monkeypatch.setenv(PRECISION, "fp32")
    assert not bf16_pays(CPU)
    monkeypatch.setenv(PRECISION, "bf16")
    assert bf16_pays(CPU)
    child = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True)
    assert child.stdout.strip() == "True", child.stderr


def test_any_other_precision_is_refused(monkeypatch):
    monkeypatch.delenv(PRECISION, raising=False)
    assert precision() == "auto"
    monkeypatch.setenv(PRECISION, "bf61")
    with pytest.raises(UnknownName, match="unknown CONDYLE_PRECISION 'bf61': did you mean 'bf16'"):
        precision()


LAYERS = {
    "2D": (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 12, 10)),
    "3D": (nn.Conv3d(3, 8, 3, stride=2), (1, 3, 12, 10, 9)),
    "by channel": (nn.Conv2d(8, 8, 3, groups=8, bias=False), (2, 8, 12, 10)),
    "upwards": (nn.ConvTranspose3d(3, 8, 2, stride=2), (1, 3, 6, 5, 4)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_bfloat16_is_the_same_on_a_processor_that_lacks_it(kind):
    """But for the order in which numbers are summed, which may change the last binary digit."""
    layer, shape = LAYERS[kind]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    answers, gradients = [], []
    for context in (torch.autocast("cpu", torch.bfloat16), autocast(CPU)):
        layer.zero_grad()
        with context:
            found = layer(x)
        assert found.dtype == torch.bfloat16
        found.float().square().mean().backward()
        answers.append(found.detach().float())
        gradients.append(layer.weight.grad.clone())
    torch.testing.assert_close(answers[1], answers[0], atol=0.01, rtol=2**-7)
    torch.testing.assert_close(gradients[1], gradients[0], atol=0.01, rtol=0.02)
    assert layer(x).dtype == torch.float32  # and outside nothing is rounded


@pytest.mark.parametrize("asked", ["bf16", "fp32"])
def test_training_computes_in_the_precision_that_is_taken(asked, monkeypatch):
    monkeypatch.setenv(PRECISION, asked)
    seen = []

    class Seeing(nn.Sequential):
        def forward(self, x):
            seen.append(super().forward(x).dtype)
            return x

    network = Seeing(nn.Conv2d(1, 4, 3))
    alone("cpu").setup(network)(torch.zeros(1, 1, 8, 8))
    assert seen == [torch.bfloat16 if asked == "bf16" else torch.float32]
    assert network[0].weight.dtype == torch.float32


@pytest.mark.parametrize(("sides", "kernel"), [((2, 2, 1), 3), ((2, 2, 4), 3), ((3, 4, 4), 5)])
def test_gradients_at_the_deepest_level_are_those_of_float32(sides, kernel):
    """PyTorch's own hold what lay in memory before, on processors that are fast in bfloat16."""
    torch.manual_seed(0)
    layer = nn.Conv3d(32, 32, kernel, padding=kernel // 2, bias=False)
    x = torch.randn(2, 32, *sides).bfloat16().float()
    layer.weight.data = layer.weight.data.bfloat16().float()
    layer(x).sum().backward()
    expected, layer.weight.grad = layer.weight.grad, None
    for _ in range(5):
        dirt = [torch.full((200_000 * n,), 1e30) for n in (1, 2, 3, 4)]
        del dirt
        with autocast(CPU):
            found = layer(x)
        assert found.dtype == torch.bfloat16
        found.float().sum().backward()
        torch.testing.assert_close(layer.weight.grad, expected, atol=0.05, rtol=0.02)
        layer.weight.grad = None
