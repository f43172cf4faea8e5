"""What computes the networks of a batch: as asked, or the fastest whose labels are right."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from condyle.errors import ConfigError, UnknownName, UnreadableFile
from condyle.jobs.job import note, warn
from condyle.jobs.outputs import sha256
from condyle.networks import PredictionNetwork
from condyle.networks.device import pick_device, processor
from condyle.networks.precision import bf16_pays
from condyle.predict.runtimes.benchmark import benchmark, fastest
from condyle.predict.runtimes.cache import BackendCache
from condyle.predict.runtimes.openvino import CARD, Graph, OpenVinoRuntime, bf16_here, version
from condyle.predict.runtimes.torch import TorchRuntime

__all__ = ["EXPORTED", "RUNTIMES", "Backend", "Backends"]


Backend = TorchRuntime | OpenVinoRuntime

REFERENCE = "torch fp32"
"""The backend whose labels are right."""
RUNTIMES = ("auto", "torch", "openvino")
EXPORTED = "runtime"
"""The folder beside a segmenter's weights into which `condyle export` writes."""


class TrainedNetwork(Protocol):
    """What backends need of an ensemble's member: see `condyle.predict.Member`."""

    @property
    def network(self) -> PredictionNetwork:
        """With its weights."""
        ...

    @property
    def weights(self) -> str:
        """The SHA-256 of their file; '' where there is none."""
        ...

    @property
    def folder(self) -> Path | None:
        """Of that file."""
        ...


class Backends:
    """What computes the members of a batch: chosen once, with its first scan, or given by name.

    Parameters
    ----------
    runtime : torch, openvino, or auto: the fastest whose labels are PyTorch's in float32. What is
        asked for by its name computes in float32: of bfloat16 and int8 the labels have to be
        compared first. Where OpenVINO is not installed, PyTorch; the log says so.
    device : auto, cpu, cuda or mps.
    scans : how many the batch has: what is worth its start for many is not for one.
    names : what was chosen in another process: the `names` there.
    cache : where benchmarks and converted networks are kept; None: the user's.

    Raises
    ------
    UnknownName, ConfigError
        For a runtime or a device that is not there.

    Examples
    --------
    The workers of a batch compute alike, for what one process chooses is given to the others::

        names = Predictor(ensemble, options, Backends(scans=1000)).choose_backends(first_scan)
        predictor = Predictor(ensemble, options, Backends(names=names))  # in each worker
    """

    def __init__(
        self,
        runtime: str = "auto",
        device: str = "auto",
        *,
        scans: int = 1,
        names: Mapping[str, str] | None = None,
        cache: BackendCache | None = None,
    ):
        if runtime not in RUNTIMES:
            raise UnknownName("runtime", runtime, RUNTIMES)
        self.on_cpu = pick_device(device).type == "cpu"
        if runtime == "openvino" and not self.on_cpu and device != "auto":
            raise ConfigError(f"OpenVINO computes on the CPU, not on {device}: leave `device` out")
        self.runtime, self.device, self.scans = runtime, device, scans
        self.cache = cache or BackendCache()
        self._given = dict(names or {})
        self._made: dict[int, tuple[TrainedNetwork, Backend]] = {}

    def of(self, member: TrainedNetwork, sample: Callable[[], Tensor], count: int) -> Backend:
        """What computes a member.

        Parameters
        ----------
        sample : gives slices or windows (B, C, i, j[, k]) of a scan, to compare backends on.
        count : how many such slices or windows the scan has.
        """
        key = id(member.network)
        if key not in self._made:
            candidates = _Candidates(member, self.device, self.cache)
            name = self._given.get(member.weights) or self._named()
            name = name or candidates.fastest(sample(), count * self.scans)
            self._made[key] = member, candidates.make(name)
        return self._made[key][1]

    @property
    def used(self) -> tuple[str, ...]:
        """The names of all that compute: 'torch fp32', 'openvino bf16', ..."""
        return tuple(sorted({backend.name for _, backend in self._made.values()}))

    @property
    def names(self) -> dict[str, str]:
        """The SHA-256 of each member's weights -> the name of what computes it."""
        made = self._made.values()
        return {member.weights: backend.name for member, backend in made if member.weights}

    def _named(self) -> str:
        """The name of the backend that is asked for; '' where it is to be found."""
        wanted = self.runtime == "openvino" or (self.runtime == "auto" and self.on_cpu)
        if wanted and not version():
            say = warn if self.runtime == "openvino" else note
            say("OpenVINO is not installed: PyTorch computes (pip install openvino)")
        if self.runtime == "openvino":
            return "openvino fp32" if version() else REFERENCE
        return REFERENCE if self.runtime == "torch" else ""


class _Candidates:
    """The backends that come into question for a member on this machine."""

    def __init__(self, member: TrainedNetwork, device: str, kept: BackendCache):
        self.member, self.device, self.cache = member, device, kept

    @cached_property
    def makers(self) -> dict[str, Callable[[], Backend]]:
        """Name -> what makes the backend, once; the first is the reference."""
        network, device = self.member.network, self.device
        makers: dict[str, Callable[[], Backend]] = {
            REFERENCE: lambda: TorchRuntime.of(network, device, "fp32")
        }
        if bf16_pays(pick_device(device)):
            makers["torch bf16"] = lambda: TorchRuntime.of(network, device, "bf16")
        if version():
            makers["openvino fp32"] = lambda: OpenVinoRuntime(self.graph, "fp32")
            if bf16_here():
                makers["openvino bf16"] = lambda: OpenVinoRuntime(self.graph, "bf16")
            if self.int8 is not None:
                makers["openvino int8"] = self._by_int8
        return {name: cache(make) for name, make in makers.items()}

    def make(self, name: str) -> Backend:
        """The backend of this name.

        Raises
        ------
        UnknownName
            If it is not there: a batch whose other scans it computes must not go on with another.
        """
        if name == REFERENCE:  # OpenVINO, which takes its time, is not even imported
            return TorchRuntime.of(self.member.network, self.device, "fp32")
        if name not in self.makers:
            raise UnknownName("backend", name, self.makers)
        return self.makers[name]()

    def fastest(self, samples: Tensor, count: int) -> str:
        """The name of the backend that is done first with so many samples."""
        on_cpu = pick_device(self.device).type == "cpu"
        makers = {n: m for n, m in self.makers.items() if on_cpu or n.startswith("torch")}
        if len(makers) == 1:
            return next(iter(makers))
        voxels, key = float(count * samples[0, 0].numel()), self._key(list(makers))
        known = self.cache.benchmarks(key) if self.member.weights else {}
        if not known:
            known = benchmark(makers, samples, voxels)
            whole = known.keys() == makers.keys() and all(x.is_certain for x in known.values())
            if whole and self.member.weights:
                self.cache.keep_benchmarks(key, known)
        name = fastest(known, voxels)
        note(f"{name} computes ({'; '.join(map(str, known.values()))})")
        return name

    @cached_property
    def graph(self) -> Graph:
        """The network for OpenVINO: as it was exported or kept in the cache, or converted now."""
        weights = self.member.weights
        if not weights:
            return Graph.of(self.member.network)
        if (exported := self._exported("fp32")) is not None:
            try:
                return Graph.read(exported, weights)
            except UnreadableFile as error:
                note(f"{error}")
        found = self.cache.graph(weights)
        if found is None:
            found = Graph.of(self.member.network)
            self.cache.keep_graph(weights, found)
        return found

    @cached_property
    def int8(self) -> Path | None:
        """The folder of the exported int8 network, where there is one."""
        return self._exported("int8")

    def _exported(self, precision: str) -> Path | None:
        if self.member.folder is None:
            return None
        found = self.member.folder / EXPORTED / f"openvino-{precision}"
        return found if (found / CARD).is_file() else None

    def _by_int8(self) -> OpenVinoRuntime:
        assert self.int8 is not None
        return OpenVinoRuntime(Graph.read(self.int8, self.member.weights), "int8")

    def _key(self, names: list[str]) -> dict[str, Any]:
        """What a benchmark holds for: this machine, these versions, these weights.

        Machines whose processors go by one name may differ in bfloat16.
        """
        return {
            "backends": names,
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": pick_device(self.device).type,
            "torch": torch.__version__,
            "openvino": version(),
            "weights": self.member.weights,
            "int8": sha256(self.int8 / CARD) if self.int8 else "",
        }
