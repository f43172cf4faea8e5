"""The fastest runtime whose labels are right is taken, and remembered."""

import json
import logging
import sys
import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from condyle.errors import ConfigError, UnknownName
from condyle.networks.precision import PRECISION
from condyle.predict.runtimes import selection as choose
from condyle.predict.runtimes.selection import Trial, agreement, fastest, runtime_for, tried
from condyle.predict.runtimes.torch import TorchRuntime

pytestmark = pytest.mark.precision


class Slow:
    """A runtime whose right answer is known, which takes its time and may be wrong here and there.

    Parameters
    ----------
    seconds : for each sample.
    wrong : of each sample's foreground, the part that it calls background.
    apart : added to a probability, which changes no label.
    """

    def __init__(self, seconds, wrong=0.0, apart=0.0):
        self.seconds, self.wrong, self.apart = seconds, wrong, apart

    def probabilities(self, batch):
        time.sleep(self.seconds * len(batch))
        bright = (batch[:, 0] > 0.5).float().flatten(1)
        bright[:, : round(self.wrong * bright.shape[1])] = 0
        bright = bright.view(len(batch), *batch.shape[2:])
        one = bright * (0.9 + self.apart) + (1 - bright) * 0.1
        return torch.stack([1 - one, one], dim=1)


SAMPLES = torch.ones(4, 1, 40, 40)


def measured(voxels=float("inf"), samples=SAMPLES, **others):
    makers = {"torch fp32": lambda: Slow(0.02)}
    makers |= {name.replace("_", " "): (lambda r=runtime: r) for name, runtime in others.items()}
    return tried(makers, samples, voxels)


def test_the_fastest_that_agrees_is_taken():
    trials = measured(openvino_fp32=Slow(0.005), openvino_int8=Slow(0.001, wrong=0.01))
    assert trials["openvino int8"].pace < trials["openvino fp32"].pace
    assert not trials["openvino int8"].agrees
    assert trials["openvino int8"].same == pytest.approx(0.99)
    assert fastest(trials, float("inf")) == "openvino fp32"


def test_one_voxel_in_two_thousand_may_differ():
    assert measured(bf16=Slow(0.001, wrong=0.0005))["bf16"].agrees
    assert not measured(bf16=Slow(0.001, wrong=0.002))["bf16"].agrees


def test_agreeing_on_the_background_alone_is_no_reason_to_take_fewer_bits():
    """Of air a network is sure in any numbers; of the next scan's bones it may not be."""
    trials = measured(samples=torch.zeros(4, 1, 40, 40), openvino_fp32=Slow(0.01), bf16=Slow(0.001))
    assert trials["bf16"].apart == 0
    assert fastest(trials, float("inf")) == "openvino fp32"
    assert not trials["bf16"].is_certain  # so that it is not remembered


def test_where_hardly_a_structure_is_seen_only_equal_probabilities_count():
    samples = torch.zeros(4, 1, 40, 40)
    samples[:, :, 0, :2] = 1
    trials = measured(samples=samples, fp32=Slow(0.001, apart=1e-6), bf16=Slow(0.001, apart=0.01))
    assert trials["fp32"].agrees
    assert not trials["bf16"].agrees
    assert not trials["bf16"].is_certain


def test_a_structure_that_is_small_must_agree_too():
    expected = torch.zeros(1, 3, 100, 100)
    expected[:, 1] = 1
    expected[:, 2, :2, :5] = 2
    found = expected.clone()
    found[:, 2, 0, 0] = 0
    agrees = agreement(expected, found)
    assert agrees["same"] > 0.999
    assert agrees["dice"] == pytest.approx(2 * 9 / 19)
    assert not Trial("x", 0, 1, **agrees).agrees


def test_trying_must_be_worth_its_time():
    def never():
        raise AssertionError("it was tried")

    makers = {"torch fp32": lambda: Slow(0.01), "openvino fp32": never}
    assert list(tried(makers, SAMPLES, 20 * 1600)) == ["torch fp32"]


@pytest.mark.parametrize("ahead", [8, 20, 50, 120, 400])
def test_trying_never_shows_a_network_more_than_half_of_what_waits(ahead):
    shown = []

    class Counted(Slow):
        def probabilities(self, batch):
            shown.append(len(batch))
            return super().probabilities(batch)

    makers = {"torch fp32": lambda: Counted(0.0001), "torch bf16": lambda: Counted(0.0001)}
    tried(makers, SAMPLES, ahead * SAMPLES[0, 0].numel())
    assert sum(shown) <= max(ahead / 2, 4)  # a slice four times, to know what it costs


def test_a_long_start_counts_for_little_work():
    one, other = Trial("torch fp32", 0.0, 3.0), Trial("openvino fp32", 10.0, 1.0)
    trials = {trial.name: trial for trial in (one, other)}
    assert fastest(trials, 1e6) == "torch fp32"
    assert fastest(trials, 1e8) == "openvino fp32"


def test_a_runtime_that_fails_is_left_out(caplog):
    def broken():
        raise ConfigError("it lacks an operation")

    makers = {"torch fp32": lambda: Slow(0.001), "openvino fp32": broken}
    assert list(tried(makers, SAMPLES, float("inf"))) == ["torch fp32"]
    assert "lacks an operation" in caplog.text


class Small(nn.Sequential):
    """A network that is converted in no time; structure 1 wherever one looks."""

    spatial, channels, multiple, single = 2, 1, 8, True
    memory_format = torch.channels_last

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
        with torch.no_grad():
            self[-1].bias[1] += 10


@pytest.fixture
def network():
    return Small()


@pytest.fixture
def home(tmp_path, network):
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    return tmp_path


@pytest.fixture
def fresh(monkeypatch):
    """The number of measurements made so far."""
    done = []
    monkeypatch.setattr(choose, "tried", lambda *given: done.append(1) or tried(*given))
    return done


def test_it_is_measured_once(network, home, fresh):
    first = runtime_for(network, "auto", "cpu", SAMPLES, home)
    again = runtime_for(network, "auto", "cpu", SAMPLES, home)
    assert first.name == again.name
    assert len(fresh) == 1
    x = torch.randn(3, 1, 50, 40)
    expected = TorchRuntime.of(network, "cpu", "fp32").probabilities(x)
    torch.testing.assert_close(again.probabilities(x), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "change", ["weights", "processor", "bfloat16", "openvino", "int8", "damaged", "not kept"]
)
def test_it_is_measured_again_where_the_old_figures_do_not_hold(
    network, home, fresh, change, monkeypatch
):
    monkeypatch.setenv(PRECISION, "fp32")
    runtime_for(network, "auto", "cpu", SAMPLES, home)
    kept = home / "runtime.json"
    if change == "weights":
        (home / "model.safetensors").write_bytes(b"others")
    elif change == "processor":
        monkeypatch.setattr(choose, "processor", lambda: "another")
    elif change == "bfloat16":  # another processor of the same name
        monkeypatch.setenv(PRECISION, "bf16")
    elif change == "openvino":
        monkeypatch.setattr(choose, "version", lambda: "")
    elif change == "int8":
        (home / "runtime" / "openvino-int8").mkdir()
        (home / "runtime" / "openvino-int8" / "card.json").write_text("{}")
    elif change == "damaged":
        kept.write_text(kept.read_text()[:-40])
    else:
        kept.unlink()
    runtime_for(network, "auto", "cpu", SAMPLES, home)
    assert len(fresh) == 2


def test_figures_of_two_machines_stand_side_by_side(network, home, fresh, monkeypatch):
    runtime_for(network, "auto", "cpu", SAMPLES, home)
    with monkeypatch.context() as there:
        there.setattr(choose, "processor", lambda: "another")
        runtime_for(network, "auto", "cpu", SAMPLES, home)
    runtime_for(network, "auto", "cpu", SAMPLES, home)
    assert len(fresh) == 2
    assert len(json.loads((home / "runtime.json").read_text())["measured"]) == 2


def test_a_folder_that_cannot_be_written_to_is_no_hindrance(network, home, fresh, monkeypatch):
    def full(path, text):
        raise choose.OutputError("the disk is full")

    monkeypatch.setattr(choose, "write_text", full)
    monkeypatch.setattr("condyle.predict.runtimes.openvino.write_text", full)
    for _ in range(2):
        runtime_for(network, "auto", "cpu", SAMPLES, home)
    assert len(fresh) == 2


def test_little_work_is_done_by_torch_at_once(network, home, fresh):
    assert runtime_for(network, "auto", "cpu", SAMPLES, home, ahead=4).name == "torch fp32"
    assert not (home / "runtime").exists()


@pytest.mark.parametrize("kind", ["auto", "openvino"])
def test_without_openvino_torch_computes_and_the_log_says_so(network, kind, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.INFO, "condyle"):
        runtime = runtime_for(network, kind, "cpu", SAMPLES)
    assert runtime.name.startswith("torch")
    assert "OpenVINO is not installed: PyTorch computes" in caplog.text
    assert runtime.probabilities(SAMPLES).shape == (4, 3, 40, 40)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["torch", "openvino"])
def test_what_is_asked_for_by_its_name_computes_in_float32(network, kind, precision, monkeypatch):
    """Nobody has compared its labels in bfloat16."""
    monkeypatch.setenv(PRECISION, precision)
    runtime = runtime_for(network, kind, "cpu", SAMPLES)
    assert runtime.name == f"{kind} fp32"
    expected = TorchRuntime.of(network, "cpu", "fp32").probabilities(SAMPLES)
    torch.testing.assert_close(runtime.probabilities(SAMPLES), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sure", [True, False])
def test_bfloat16_is_tried_where_it_is_fast_and_refused_where_it_changes_labels(
    network, home, sure, monkeypatch
):
    monkeypatch.setenv(PRECISION, "bf16")
    with torch.no_grad():
        network[-1].bias.zero_()
        network[-1].bias[1] += 10 if sure else 0
    found = runtime_for(network, "auto", "cpu", torch.randn(8, 1, 64, 64), home)
    measured = json.loads((home / "runtime.json").read_text())["measured"][0]["runtimes"]
    trials = {row["name"]: Trial(**row) for row in measured}
    assert set(trials) == {f"{kind} {bits}" for kind in ("torch", "openvino")
                           for bits in ("fp32", "bf16")}  # fmt: skip
    assert trials["torch bf16"].agrees == trials["openvino bf16"].agrees == sure
    assert trials[found.name].agrees


def test_torch_can_be_made_to_take_either_kind_of_numbers(network):
    full = TorchRuntime.of(network, "cpu", "fp32").probabilities(SAMPLES)
    half = TorchRuntime.of(network, "cpu", "bf16").probabilities(SAMPLES)
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(half, full, atol=0.05, rtol=0)


def test_unknown_words_are_refused(network):
    with pytest.raises(UnknownName, match="openvino"):
        runtime_for(network, "opnvino", "cpu", SAMPLES)
    with pytest.raises(ConfigError):
        runtime_for(network, "torch", "tpu", SAMPLES)
