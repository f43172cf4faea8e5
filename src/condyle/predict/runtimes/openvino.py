"""Networks in OpenVINO, which computes them on a CPU several times as fast as PyTorch does."""

from __future__ import annotations

import copy
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from condyle.errors import ConfigError, MissingExtra, OutputError, UnreadableFile
from condyle.jobs.outputs import atomic_write, sha256, write_text
from condyle.jobs.process import without_python_warnings
from condyle.networks import PredictionNetwork
from condyle.networks.layers import padded_to
from condyle.networks.precision import precision
from condyle.predict.runtimes.runtime import BackendPrecision

__all__ = ["Graph", "OpenVinoRuntime", "Scored", "bf16_here", "example", "library", "version"]

CARD = "card.json"
EXAMPLE = 16
"""Voxels along a side, at the least, of the input that a network is converted with."""


def library() -> Any:
    """The module openvino, or None where it is not installed or cannot run."""
    # It would send Google a note of each import; without the module that does so it does not.
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]  None blocks an import
    try:
        return import_module("openvino")
    except ImportError:
        return None


def converted(module: nn.Module, x: Tensor) -> Any:
    """A module as OpenVINO's model, by the way that an example takes through it."""
    level = logging.root.level
    try:
        # torch.jit.trace is deprecated, and tells of each branch on a size; the sizes that
        # come are multiples, as in the example, and take the same branches
        with torch.no_grad(), without_python_warnings():
            traced = torch.jit.trace(module, x, check_trace=False)
            return library().convert_model(traced, example_input=x)
    finally:
        logging.root.setLevel(level)  # where it fails, OpenVINO leaves everybody's warnings off


def version() -> str:
    """The version of OpenVINO; '' where it cannot be used."""
    return metadata.version("openvino") if library() else ""


def bf16_here() -> bool:
    """Whether OpenVINO computes in bfloat16 here; see `networks.precision.precision`."""
    asked = precision()
    return bool(library()) and (_has_bf16() if asked == "auto" else asked == "bf16")


def _has_bf16() -> bool:
    """Whether OpenVINO finds this CPU fast in bfloat16: with AVX512-BF16 or AMX."""
    return "BF16" in library().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class Scored(nn.Module):
    """A network that gives class probabilities instead of scores."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]) of (B, C, i, j[, k])."""
        return self.network(x).softmax(dim=1)


def example(network: PredictionNetwork) -> tuple[Scored, Tensor]:
    """The network on the CPU, values in their usual order, and a small input that needs no padding.

    The network that is given stays as it is.
    """
    own = copy.deepcopy(network).to("cpu", memory_format=torch.contiguous_format).eval()  # pyright: ignore[reportCallIssue]  torch's overloads know memory_format alone only
    steps = _steps(network.multiple, network.spatial)
    sides = [step * max(2, -(-EXAMPLE // step)) for step in steps]
    made = torch.Generator().manual_seed(0)
    return Scored(own), torch.randn(2, network.channels, *sides, generator=made)


def _steps(multiple: int | Sequence[int], spatial: int) -> list[int]:
    return [multiple] * spatial if isinstance(multiple, int) else list(multiple)


def _last(error: Exception) -> str:
    """The last line of an error, which says what was wrong."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip(" -")


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as OpenVINO's operations.

    Parameters
    ----------
    model : of OpenVINO, class probabilities of (B, C, i, j[, k]).
    multiple, single : what the sides must be multiples of, as in `networks.layers.padded_to`.
    precision : fp32, or int8 once it was quantised.
    """

    model: Any
    multiple: int | tuple[int, ...]
    single: bool
    precision: BackendPrecision = "fp32"

    @classmethod
    def of(cls, network: PredictionNetwork) -> Graph:
        """The network, converted; for inputs of any size.

        Raises
        ------
        MissingExtra
            If OpenVINO is not installed.
        ConfigError
            If OpenVINO lacks one of the network's operations.
        """
        if library() is None:
            raise MissingExtra("OpenVINO is not installed: pip install openvino")
        scored, x = example(network)
        try:
            model = converted(scored, x)
        except Exception as error:  # of many kinds, OpenVINO's and PyTorch's
            raise ConfigError(
                f"OpenVINO cannot run this network ({_last(error)}): choose `runtime` torch"
            ) from error
        model.reshape([-1, network.channels, *[-1] * network.spatial])
        return cls(model, network.multiple, network.single)

    def save(self, folder: Path, card: dict[str, Any]) -> Path:
        """Write `model.xml`, `model.bin`, and last `card.json`, which names their hashes.

        Raises
        ------
        OutputError
            If the disk is full, or the folder cannot be written.
        """
        openvino = library()
        weights, graph = Path(folder) / "model.bin", Path(folder) / "model.xml"
        with atomic_write(weights) as values, atomic_write(graph) as operations:
            beside = operations.with_suffix(".bin")
            try:
                openvino.save_model(self.model, operations, compress_to_fp16=False)
                beside.replace(values)
            except RuntimeError as error:  # OpenVINO's word for all that goes wrong
                raise OutputError(f"{graph} could not be written ({_last(error)})") from error
            finally:
                beside.unlink(missing_ok=True)
        own = {"multiple": self.multiple, "single": self.single, "precision": self.precision}
        files = {path.name: sha256(path) for path in (graph, weights)}
        text = json.dumps(card | own | {"files": files}, indent=2)
        return write_text(Path(folder) / CARD, text + "\n")

    @classmethod
    def read(cls, folder: Path, weights: str = "") -> Graph:
        """What `save` wrote.

        Parameters
        ----------
        weights : the SHA-256 of the segmenter's weights that it must have been made of; '': any.

        Raises
        ------
        UnreadableFile
            If it is not whole, or was made of other weights.
        """
        openvino = library()
        if openvino is None:
            raise MissingExtra("OpenVINO is not installed: pip install openvino")
        try:
            card = json.loads((Path(folder) / CARD).read_text(encoding="utf-8"))
            for name in ("model.xml", "model.bin"):
                if sha256(Path(folder) / name) != card["files"][name]:
                    raise UnreadableFile(
                        f"{Path(folder) / name} is not the file that its card describes"
                    )
            if weights and card["weights"] != weights:
                raise UnreadableFile(
                    f"{folder} was made from other weights: run condyle export again"
                )
            many = card["multiple"]
            multiple = many if isinstance(many, int) else tuple(many)
            model = openvino.Core().read_model(Path(folder) / "model.xml")
            return cls(model, multiple, card["single"], card["precision"])
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            if isinstance(error, UnreadableFile):
                raise
            raise UnreadableFile(f"{folder} holds no whole exported network ({error})") from error


@dataclass(frozen=True, eq=False)
class OpenVinoRuntime:
    """A network in OpenVINO, on all of the CPU's cores that PyTorch would take.

    Parameters
    ----------
    precision : fp32, or bf16 where `bf16_here`; int8 for a quantised graph.
    """

    graph: Graph
    precision: BackendPrecision = "fp32"

    @classmethod
    def of(
        cls, network: PredictionNetwork, precision: BackendPrecision = "fp32"
    ) -> OpenVinoRuntime:
        """The network, converted: see `Graph.of`."""
        return cls(Graph.of(network), precision)

    @property
    def name(self) -> str:
        """What computes, and in which precision."""
        return f"openvino {self.precision}"

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]), float32 on the CPU, of (B, C, i, j[, k]).

        A batch is fastest with a sample or more for each core.
        """
        x = padded_to(batch.float(), self.graph.multiple, self.graph.single).contiguous().numpy()
        several = len(x) > 1 and len(x) >= len(self._queue)
        found = self._one_by_one(x) if several else self._together(x)
        inside = tuple(slice(0, side) for side in batch.shape[2:])
        return torch.from_numpy(found[(slice(None), slice(None), *inside)])

    def _together(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """All cores on one sample after the other."""
        return np.array(self._patient(x, share_inputs=True)[0])

    def _one_by_one(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Each core on samples of its own: faster, for none waits for another."""
        found: list[NDArray[np.float32]] = [x] * len(x)

        def keep(request: Any, place: int) -> None:
            found[place] = np.array(request.get_output_tensor(0).data)

        self._queue.set_callback(keep)
        for place in range(len(x)):
            self._queue.start_async({0: x[place : place + 1]}, place, share_inputs=True)
        self._queue.wait_all()
        return np.concatenate(found)

    @cached_property
    def _patient(self) -> Any:
        return self._compiled("LATENCY")

    @cached_property
    def _queue(self) -> Any:
        return library().AsyncInferQueue(self._compiled("THROUGHPUT"))

    def _compiled(self, hint: str) -> Any:
        fewer_bits = self.precision == "bf16" or (self.precision == "int8" and bf16_here())
        # a CPU that lacks bfloat16 would compute in float32, and not say so
        rounding = self.precision == "bf16" and not _has_bf16()
        settings = {
            "PERFORMANCE_HINT": hint,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": "bf16" if fewer_bits else "f32",
            "ENABLE_CPU_PINNING": False,  # other work would sit on the same cores
        }
        model = _rounding(self.graph.model) if rounding else self.graph.model
        return library().Core().compile_model(model, "CPU", settings)


ROUNDED = ("Convolution", "ConvolutionBackpropData", "GroupConvolution",
           "GroupConvolutionBackpropData", "MatMul")  # fmt: skip
"""Operations whose arguments and results are rounded, as `networks.precision` does in PyTorch."""


def _rounding(model: Any) -> Any:
    """A copy of a model that rounds to bfloat16 by itself, for CPUs that OpenVINO cannot tell to.

    A number x with c = 65537 x, c - (c - x) is x in 8 binary digits, as many as bfloat16 has
    (Dekker 1971, Numer Math 18:224). To convert there and back is optimised away.
    """
    op, own = import_module("openvino.opset13"), model.clone()

    def rounded(x: Any) -> Any:
        c = op.multiply(x, np.float32(2**16 + 1))
        return op.subtract(c, op.subtract(c, x))

    for node in own.get_ordered_ops():
        if node.get_type_name() in ROUNDED:
            for place in node.inputs()[:2]:
                place.replace_source_output(rounded(place.get_source_output()).output(0))
            readers = node.output(0).get_target_inputs()
            made = rounded(node.output(0)).output(0)
            for reader in readers:
                reader.replace_source_output(made)
    own.validate_nodes_and_infer_types()
    return own
