"""The fastest runtime whose labels are right is taken, and remembered."""

import json
import logging
import pickle
import resource
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from condyle.core import KNEE
from condyle.errors import ConfigError, UnknownName
from condyle.networks.precision import PRECISION
from condyle.predict import Member, RecipePreprocessing
from condyle.predict.runtimes import selection
from condyle.predict.runtimes.benchmark import BackendBenchmark, agreement, benchmark, fastest
from condyle.predict.runtimes.cache import BackendCache, user_cache
from condyle.predict.runtimes.selection import Backends
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
MANY = 1e15
"""Voxels for which no start is too long."""


def measured(voxels=MANY, samples=SAMPLES, **others):
    makers = {"torch fp32": lambda: Slow(0.02)}
    makers |= {name.replace("_", " "): (lambda r=runtime: r) for name, runtime in others.items()}
    return benchmark(makers, samples, voxels)


def test_the_fastest_that_agrees_is_taken():
    trials = measured(openvino_fp32=Slow(0.005), openvino_int8=Slow(0.001, wrong=0.01))
    assert trials["openvino int8"].pace < trials["openvino fp32"].pace
    assert not trials["openvino int8"].agrees
    assert trials["openvino int8"].same == pytest.approx(0.99)
    assert fastest(trials, MANY) == "openvino fp32"


def test_one_voxel_in_two_thousand_may_differ():
    assert measured(bf16=Slow(0.001, wrong=0.0005))["bf16"].agrees
    assert not measured(bf16=Slow(0.001, wrong=0.002))["bf16"].agrees


def test_agreeing_on_the_background_alone_is_no_reason_to_take_fewer_bits():
    """Of air a network is sure in any numbers; of the next scan's bones it may not be."""
    trials = measured(samples=torch.zeros(4, 1, 40, 40), openvino_fp32=Slow(0.01), bf16=Slow(0.001))
    assert trials["bf16"].difference == 0
    assert fastest(trials, MANY) == "openvino fp32"
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
    assert not BackendBenchmark("x", 0, 1, **agrees).agrees


def test_trying_must_be_worth_its_time():
    def never():
        raise AssertionError("it was tried")

    makers = {"torch fp32": lambda: Slow(0.01), "openvino fp32": never}
    assert list(benchmark(makers, SAMPLES, 20 * 1600)) == ["torch fp32"]


@pytest.mark.parametrize("ahead", [8, 20, 50, 120, 400])
def test_trying_never_shows_a_network_more_than_half_of_what_waits(ahead):
    shown = []

    class Counted(Slow):
        def probabilities(self, batch):
            shown.append(len(batch))
            return super().probabilities(batch)

    makers = {"torch fp32": lambda: Counted(0.0001), "torch bf16": lambda: Counted(0.0001)}
    benchmark(makers, SAMPLES, ahead * SAMPLES[0, 0].numel())
    assert sum(shown) <= max(ahead / 2, 4)  # a slice four times, to know what it costs


def test_a_long_start_counts_for_little_work():
    one, other = (
        BackendBenchmark("torch fp32", 0.0, 3.0),
        BackendBenchmark("openvino fp32", 10.0, 1.0),
    )
    trials = {each.name: each for each in (one, other)}
    assert fastest(trials, 1e6) == "torch fp32"
    assert fastest(trials, 1e8) == "openvino fp32"


def test_a_runtime_that_fails_is_left_out(caplog):
    def broken():
        raise ConfigError("it lacks an operation")

    makers = {"torch fp32": lambda: Slow(0.001), "openvino fp32": broken}
    assert list(benchmark(makers, SAMPLES, MANY)) == ["torch fp32"]
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
def cache(tmp_path):
    return BackendCache(tmp_path / "cache")


@pytest.fixture
def member(network, tmp_path):
    """A network whose weights lie in a folder of their own."""
    (tmp_path / "run").mkdir()
    return Member(
        "small", network, RecipePreprocessing(), KNEE, weights="abc", folder=tmp_path / "run"
    )


@pytest.fixture
def made(monkeypatch):
    """The benchmarks that were made so far."""
    done = []
    monkeypatch.setattr(selection, "benchmark", lambda *given: done.append(1) or benchmark(*given))
    return done


def chosen(member, cache=None, runtime="auto", samples=SAMPLES, count=10**9, **options):
    """The backend of a member in a batch of its own."""
    return Backends(runtime, "cpu", cache=cache, **options).of(member, lambda: samples, count)


def test_benchmarks_are_made_once_and_kept_in_the_cache(member, cache, made):
    first, again = chosen(member, cache), chosen(member, cache)
    assert first.name == again.name
    assert len(made) == 1
    x = torch.randn(3, 1, 50, 40)
    expected = TorchRuntime.of(member.network, "cpu", "fp32").probabilities(x)
    torch.testing.assert_close(again.probabilities(x), expected, atol=1e-3, rtol=0)
    assert not list(member.folder.iterdir())  # nothing is written into the model's folder


@pytest.mark.parametrize(
    "change", ["weights", "processor", "bfloat16", "openvino", "int8", "damaged", "not kept"]
)
def test_benchmarks_are_made_again_where_the_old_ones_do_not_hold(
    member, cache, made, change, monkeypatch
):
    monkeypatch.setenv(PRECISION, "fp32")
    chosen(member, cache)
    (kept,) = (cache.folder / "benchmarks").iterdir()
    if change == "weights":
        member = replace(member, weights="def")
    elif change == "processor":
        monkeypatch.setattr(selection, "processor", lambda: "another")
    elif change == "bfloat16":  # another processor of the same name
        monkeypatch.setenv(PRECISION, "bf16")
    elif change == "openvino":
        monkeypatch.setattr(selection, "version", lambda: "2099.1")
    elif change == "int8":
        folder = member.folder / "runtime" / "openvino-int8"
        folder.mkdir(parents=True)
        (folder / "card.json").write_text("{}")
    elif change == "damaged":
        kept.write_text(kept.read_text()[:-40])
    else:
        kept.unlink()
    chosen(member, cache)
    assert len(made) == 2


def test_benchmarks_of_two_machines_stand_side_by_side(member, cache, made, monkeypatch):
    chosen(member, cache)
    with monkeypatch.context() as there:
        there.setattr(selection, "processor", lambda: "another")
        chosen(member, cache)
    chosen(member, cache)
    assert len(made) == 2


def test_a_converted_network_is_kept_and_the_oldest_of_many_goes(member, cache, monkeypatch):
    monkeypatch.setattr("condyle.predict.runtimes.cache.MOST_GRAPHS", 2)
    for weights in ("one", "two", "three"):
        chosen(replace(member, weights=weights), cache, "openvino")
    assert cache.graph("one") is None
    assert cache.graph("three") is not None


@pytest.mark.parametrize("runtime", ["auto", "openvino"])
@pytest.mark.parametrize("fault", ["full", "no folder"])
def test_a_cache_that_cannot_be_written_costs_only_the_cache(
    member, tmp_path, made, runtime, fault
):
    place = tmp_path / "cache"
    if fault == "no folder":
        place.write_text("a file stands where the folder should be")
    with little_room() if fault == "full" else nullcontext():
        for _ in range(2):
            found = chosen(member, BackendCache(place), runtime)
    assert found.probabilities(SAMPLES).shape == (4, 3, 40, 40)
    assert len(made) == (2 if runtime == "auto" else 0)
    left = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else []
    assert not left  # not even a temporary file


@contextmanager
def little_room():
    """No file may grow beyond a few bytes: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_choice_of_one_process_holds_in_another(member, cache, made):
    batch = Backends("auto", "cpu", scans=100, cache=cache)
    name = batch.of(member, lambda: SAMPLES, 10**9).name
    given = pickle.loads(pickle.dumps(batch.names))
    assert given == {"abc": name}
    worker = Backends("auto", "cpu", names={"abc": "openvino fp32"}, cache=cache)
    found = worker.of(member, sample=lambda: pytest.fail("it needs no sample"), count=1)
    assert found.name == "openvino fp32"
    assert worker.used == ("openvino fp32",)
    assert len(made) == 1


def test_a_worker_that_lacks_the_chosen_backend_says_so(member, cache):
    worker = Backends("auto", "cpu", names={"abc": "openvino int8"}, cache=cache)
    with pytest.raises(UnknownName, match="openvino int8"):
        worker.of(member, lambda: SAMPLES, 1)


def test_little_work_is_done_by_torch_at_once(member, cache, made):
    assert chosen(member, cache, count=4).name == "torch fp32"
    assert not cache.folder.exists()


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("CONDYLE_CACHE", str(tmp_path / "mine"))
    assert user_cache() == tmp_path / "mine"
    monkeypatch.delenv("CONDYLE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "condyle"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert tmp_path / "home" in user_cache().parents


@pytest.mark.parametrize("kind", ["auto", "openvino"])
def test_without_openvino_torch_computes_and_the_log_says_so(member, kind, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.INFO, "condyle"):
        runtime = chosen(member, runtime=kind)
    assert runtime.name.startswith("torch")
    assert "OpenVINO is not installed: PyTorch computes" in caplog.text
    assert runtime.probabilities(SAMPLES).shape == (4, 3, 40, 40)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["torch", "openvino"])
def test_what_is_asked_for_by_its_name_computes_in_float32(member, kind, precision, monkeypatch):
    """Nobody has compared its labels in bfloat16."""
    monkeypatch.setenv(PRECISION, precision)
    runtime = chosen(member, runtime=kind)
    assert runtime.name == f"{kind} fp32"
    expected = TorchRuntime.of(member.network, "cpu", "fp32").probabilities(SAMPLES)
    torch.testing.assert_close(runtime.probabilities(SAMPLES), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sure", [True, False])
def test_bfloat16_is_tried_where_it_is_fast_and_refused_where_it_changes_labels(
    network, member, cache, sure, monkeypatch
):
    monkeypatch.setenv(PRECISION, "bf16")
    with torch.no_grad():
        network[-1].bias.zero_()
        network[-1].bias[1] += 10 if sure else 0
    found = chosen(member, cache, samples=torch.randn(8, 1, 64, 64))
    (kept,) = (cache.folder / "benchmarks").iterdir()
    rows = json.loads(kept.read_text())["benchmarks"]
    trials = {row["name"]: BackendBenchmark(**row) for row in rows}
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


def test_unknown_words_are_refused():
    with pytest.raises(UnknownName, match="openvino"):
        Backends("opnvino", "cpu")
    with pytest.raises(ConfigError):
        Backends("torch", "tpu")
