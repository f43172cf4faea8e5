"""Which runtime: the fastest whose labels are those of PyTorch in float32, measured once."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condyle.errors import CondyleError, ConfigError, OutputError, UnknownName, UnreadableFile
from condyle.jobs.outputs import sha256, write_text
from condyle.networks import PredictionNetwork
from condyle.networks.device import pick_device, processor
from condyle.networks.precision import bf16_pays
from condyle.predict.ensemble import Member
from condyle.predict.runtimes.openvino import CARD, Graph, OpenVinoRuntime, bf16_here, version
from condyle.predict.runtimes.runtime import Runtime
from condyle.predict.runtimes.torch import TorchRuntime

__all__ = [
    "EXPORTED", "RUNTIMES", "Computing", "Trial", "agreement", "fastest",
    "runtime_for", "tried",
]  # fmt: skip

log = logging.getLogger("condyle")

Computing = TorchRuntime | OpenVinoRuntime
Maker = Callable[[], Computing]

RUNTIMES = ("auto", "torch", "openvino")
EXPORTED = "runtime"
"""The folder beside a segmenter's weights that holds what was made of them."""
MEASURED = "runtime.json"
FORMAT = 1

SAME, DICE = 0.999, 0.998
"""Part of the foreground voxels, and Dice of each structure, that must agree."""
ENOUGH = 1000
"""Foreground voxels that are needed to tell whether labels agree."""
NEARLY = 1e-3
"""With fewer of them: how far probabilities in float32 may be apart."""
PATIENCE = 6.0
"""Seconds that PyTorch may take for the samples; of more samples, some are left out."""
START = 5.0
"""Seconds, about, to convert a network for OpenVINO."""
BRIEF, TIMES = 0.5, 3
"""Seconds below which a time is taken again, and how many times at the most."""
GAIN = 2.0
"""Trying must not take more than 1 / GAIN of the time that PyTorch would take for all."""


@dataclass(frozen=True)
class Trial:
    """What was found out about a runtime.

    Parameters
    ----------
    name : of the runtime.
    start : seconds until it could begin.
    pace : seconds for a million voxels.
    same : part of the foreground voxels with the same label as in the reference; 1 where there
        are none.
    dice : of the structure that agrees least.
    seen : foreground voxels that were compared.
    apart : the largest difference of a probability.
    """

    name: str
    start: float
    pace: float
    same: float = 1.0
    dice: float = 1.0
    seen: int = 0
    apart: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether its labels are the reference's.

        Of few foreground voxels: whether it computes in float32 too, to the same probabilities.
        Other numbers may agree on the background, of which a network is sure, and nowhere else.
        """
        if self.seen < ENOUGH:
            return self.name.endswith("fp32") and self.apart <= NEARLY
        return self.same >= SAME and self.dice >= DICE

    @property
    def is_certain(self) -> bool:
        """Whether other samples would hardly tell otherwise."""
        return self.agrees or self.seen >= ENOUGH

    def __str__(self) -> str:
        if self.agrees:
            return f"{self.name} {self.pace:.3g} s a million voxels"
        return f"{self.name} left out, {100 * self.same:.2f} % of the foreground the same"

    def seconds(self, voxels: float) -> float:
        """How long it takes for so many voxels."""
        return self.start + self.pace * voxels / 1e6


def fastest(trials: Mapping[str, Trial], voxels: float) -> str:
    """The name of the runtime that is done first, of those that agree."""
    agreeing = [trial for trial in trials.values() if trial.agrees]
    if math.isinf(voxels):
        return min(agreeing, key=lambda trial: trial.pace).name
    return min(agreeing, key=lambda trial: trial.seconds(voxels)).name


def agreement(expected: Tensor, found: Tensor) -> dict[str, Any]:
    """How far class probabilities (B, classes, i, j[, k]) agree: the last four fields of `Trial`.

    Foreground is what either calls so.
    """
    one, other = expected.argmax(dim=1), found.argmax(dim=1)
    either = (one > 0) | (other > 0)
    seen, classes = int(either.sum()), expected.shape[1]
    sizes = torch.bincount(one.flatten(), minlength=classes)
    sizes = sizes + torch.bincount(other.flatten(), minlength=classes)
    shared = torch.bincount(one[one == other], minlength=classes)
    there = sizes[1:] > 0
    dices = 2 * shared[1:][there] / sizes[1:][there]
    return {
        "same": int(shared[1:].sum()) / seen if seen else 1.0,
        "dice": float(dices.min()) if seen else 1.0,
        "seen": seen,
        "apart": float((expected - found).abs().max()),
    }


def runtime_for(
    network: PredictionNetwork,
    kind: str,
    device: str,
    samples: Tensor,
    folder: Path | None = None,
    ahead: int = 0,
) -> Computing:
    """What runs a network: as asked, or the fastest whose labels are PyTorch's in float32.

    What is asked for by its name computes in float32: of bfloat16 and int8 the labels have to be
    compared first. Where OpenVINO is not installed, PyTorch; the log says so.

    Parameters
    ----------
    kind : torch, openvino or auto.
    device : auto, cpu, cuda or mps.
    samples : slices or windows (B, C, i, j[, k]) of the scan at hand, as the network sees them.
    folder : the segmenter's: there, what was measured is kept for the next time.
    ahead : how many such samples wait. What takes longer to try than it may gain is not tried.
        0: very many.

    Raises
    ------
    UnknownName, ConfigError
        For a kind or a device that is not there.
    """
    if kind not in RUNTIMES:
        raise UnknownName("runtime", kind, RUNTIMES)
    on_cpu = pick_device(device).type == "cpu"
    if kind == "openvino" and not on_cpu and device != "auto":
        raise ConfigError(f"OpenVINO computes on the CPU, not on {device}: leave --device out")
    wanted = kind == "openvino" or (kind == "auto" and on_cpu)
    if wanted and not version():
        level = logging.WARNING if kind == "openvino" else logging.INFO
        log.log(level, "OpenVINO is not installed: PyTorch computes (pip install openvino)")
    if kind == "openvino" and version():
        return OpenVinoRuntime(_graph(network, folder), "fp32")
    if kind != "auto":
        return TorchRuntime.of(network, device, "fp32")
    return _Choice(network, device, folder).made(samples, ahead)


def _graph(network: PredictionNetwork, folder: Path | None) -> Graph:
    """The network for OpenVINO: as it was kept in the segmenter's folder, or converted now."""
    if folder is not None:
        kept, weights = folder / EXPORTED / "openvino-fp32", _weights(folder)
        with suppress(UnreadableFile):
            return Graph.read(kept, weights)
        graph = Graph.of(network)
        with suppress(OutputError):
            graph.save(kept, {"weights": weights})
        return graph
    return Graph.of(network)


def _weights(folder: Path) -> str:
    """The SHA-256 of a segmenter's weights."""
    return sha256(folder / "model.safetensors")


class Backends:
    """What computes the members of a batch: chosen once, from its first scan, or by name."""

    def __init__(self, kind: str = "auto", device: str = "auto", scans: int = 1):
        self.kind, self.device, self.scans = kind, device, scans
        self.made: dict[int, Computing] = {}

    def of(self, member: Member, sample: Callable[[], Tensor], count: int) -> Computing:
        """What computes a member."""
        key = id(member.network)
        if key not in self.made:
            self.made[key] = runtime_for(
                member.network, self.kind, self.device, sample(), member.folder, count * self.scans
            )
        return self.made[key]

    @property
    def used(self) -> tuple[str, ...]:
        """The names of all that compute."""
        return tuple(sorted({backend.name for backend in self.made.values()}))

    @property
    def names(self) -> dict[str, str]:
        """Of each member's weights: what computes them."""
        return {"": x.name for x in self.made.values()}


class _Choice:
    """The runtimes that come into question for a network, and what is known of them."""

    def __init__(self, network: PredictionNetwork, device: str, folder: Path | None):
        self.network, self.device, self.folder = network, device, folder
        where = pick_device(device)
        makers: dict[str, Maker] = {"torch fp32": lambda: TorchRuntime.of(network, device, "fp32")}
        if bf16_pays(where):
            makers["torch bf16"] = lambda: TorchRuntime.of(network, device, "bf16")
        if where.type == "cpu" and version():
            makers["openvino fp32"] = lambda: OpenVinoRuntime(self.graph, "fp32")
            if bf16_here():
                makers["openvino bf16"] = lambda: OpenVinoRuntime(self.graph, "bf16")
            if self.quantised is not None:
                makers["openvino int8"] = self._by_int8
        self.makers = {name: cache(make) for name, make in makers.items()}

    @cached_property
    def graph(self) -> Graph:
        """The network for OpenVINO."""
        return _graph(self.network, self.folder)

    @cached_property
    def quantised(self) -> Path | None:
        """The folder of the exported int8 network, where there is one."""
        found = self.folder and self.folder / EXPORTED / "openvino-int8"
        return found if found and (found / CARD).is_file() else None

    def _by_int8(self) -> OpenVinoRuntime:
        assert self.folder is not None
        assert self.quantised is not None
        return OpenVinoRuntime(Graph.read(self.quantised, self.key["weights"]), "int8")

    def made(self, samples: Tensor, ahead: int) -> Computing:
        """The runtime that is done first."""
        voxels = float(ahead * samples[0, 0].numel()) if ahead else math.inf
        trials = self._known()
        if not trials:
            trials = tried(self.makers, samples, voxels)
            self._keep(trials)
        name = fastest(trials, voxels)
        log.info("%s computes (%s)", name, "; ".join(map(str, trials.values())))
        return self.makers[name]()

    @cached_property
    def key(self) -> dict[str, Any]:
        """What a measurement holds for: this machine, these versions, these weights.

        Machines whose processors go by one name may differ in bfloat16.
        """
        assert self.folder is not None
        return {
            "runtimes": list(self.makers),
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": pick_device(self.device).type,
            "torch": torch.__version__,
            "openvino": version(),
            "weights": _weights(self.folder),
            "int8": sha256(self.quantised / CARD) if self.quantised else "",
        }

    def _known(self) -> dict[str, Trial]:
        """What was measured before; nothing where it was not, or not here."""
        for row in self._rows():
            if row["for"] == self.key:
                return {x["name"]: Trial(**x) for x in row["runtimes"]}
        return {}

    def _rows(self) -> list[dict[str, Any]]:
        """All that was measured of these weights, on this machine and others."""
        if self.folder is None:
            return []
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads((self.folder / MEASURED).read_text(encoding="utf-8"))
            if kept["format"] == FORMAT:
                return [x for x in kept["measured"] if x["for"]["weights"] == self.key["weights"]]
        return []

    def _keep(self, trials: Mapping[str, Trial]) -> None:
        """Write down what was measured, unless something was not, or was refused for too little."""
        whole = trials.keys() == self.makers.keys()
        if self.folder is None or not whole or not all(x.is_certain for x in trials.values()):
            return
        rows = [row for row in self._rows() if row["for"] != self.key]
        rows.append({"for": self.key, "runtimes": [asdict(trial) for trial in trials.values()]})
        text = json.dumps({"format": FORMAT, "measured": rows}, indent=2)
        with suppress(OutputError):  # a folder that only others may write to
            write_text(self.folder / MEASURED, text + "\n")


def tried(
    makers: Mapping[str, Callable[[], Runtime]], samples: Tensor, voxels: float
) -> dict[str, Trial]:
    """Runtime -> what it does with the samples; the first is the reference, in float32.

    Parameters
    ----------
    voxels : that wait. What takes longer to try than it may gain is left out.
    """
    (name, make), *others = makers.items()
    reference, each = make(), samples[0, 0].numel()
    reference.probabilities(samples[:1])
    once, expected = _timed(reference, samples[:1])
    seconds, alone = once, len(samples) == 1
    samples = _spread(samples, int(PATIENCE / once))
    whole = Trial(name, 0.0, once / each * 1e6)
    costs = {other: START if other.startswith("openvino") else 0.0 for other, _ in others}
    times = 1 if once * len(samples) > BRIEF else TIMES
    # the reference is timed, the other warmed up and timed
    trying = (2 * times + 1) * whole.seconds(len(samples) * each)
    others = [x for x in others if whole.seconds(voxels) > GAIN * (costs[x[0]] + trying)]
    if not others:
        return {name: whole}
    million = len(samples) * each / 1e6
    if not alone:
        seconds, expected = _timed(reference, samples)
    trials = {name: Trial(name, 0.0, seconds / million, **agreement(expected, expected))}
    for name, make in others:
        started = time.perf_counter()
        try:
            runtime = make()
            runtime.probabilities(samples)
            start = time.perf_counter() - started
            seconds, found = _timed(runtime, samples)
            trials[name] = Trial(name, start, seconds / million, **agreement(expected, found))
        except (CondyleError, RuntimeError) as error:
            log.warning("%s is left out: %s", name, error)
    return trials


def _spread(samples: Tensor, most: int) -> Tensor:
    """So many samples at the most, one at the least, from first to last."""
    count = min(max(most, 1), len(samples))
    places = torch.linspace(0, len(samples) - 1, count + 2)[1:-1] if count < len(samples) else None
    return samples if places is None else samples[places.round().long()]


def _timed(runtime: Runtime, samples: Tensor) -> tuple[float, Tensor]:
    """Seconds for the samples, the least of several times if they are short, and the answer."""
    spans: list[float] = []
    while True:
        started = time.perf_counter()
        found = runtime.probabilities(samples)
        spans.append(time.perf_counter() - started)
        if sum(spans) > BRIEF or len(spans) == TIMES:
            return max(min(spans), 1e-6), found
