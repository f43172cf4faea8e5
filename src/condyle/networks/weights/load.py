"""State dicts of other makers, adapted to our networks with a report of every tensor.

timm's, torchvision's, segmentation-models-pytorch's (smp) and our own runs' load into 2D encoders
and networks; an encoder takes all its tensors from a file, or the file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import torch
from torch import Tensor, nn

from condyle.errors import WeightsError
from condyle.networks.encoders import TimmEncoder, adapted_to_channels
from condyle.networks.weights.names import (
    beginnings,
    differ_in_channels,
    first_convolution,
    renamed,
)
from condyle.networks.weights.pickles import tensors_of, without_common_prefix

__all__ = ["TensorReport", "Report", "holds_network", "load_into", "load_network", "read_state"]


@dataclass(frozen=True)
class TensorReport:
    """What became of one tensor.

    Parameters
    ----------
    tensor : its name in our network; '' for a tensor of the file that found no place.
    source : its name in the file; '' if there is none.
    outcome : kept (as it is), adapted, left (as it was in our network), or unused.
    how : what was done to it, or why it was left.
    """

    tensor: str
    source: str
    outcome: Literal["kept", "adapted", "left", "unused"]
    how: str = ""


@dataclass(frozen=True)
class Report:
    """What became of every tensor of a network and of the file that was loaded into it."""

    tensors: tuple[TensorReport, ...]

    def count(self, outcome: str) -> int:
        """How many tensors had this outcome."""
        return sum(row.outcome == outcome for row in self.tensors)

    def rows(self) -> list[dict[str, str]]:
        """A row a tensor, for a table."""
        return [vars(row) for row in self.tensors]

    def __str__(self) -> str:
        return (
            f"{self.count('kept')} tensors kept, {self.count('adapted')} adapted, "
            f"{self.count('left')} left as they were; {self.count('unused')} of the file not used"
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file by name: .safetensors, or another file of plain tensors.

    Raises
    ------
    WeightsError
        If it is cut short or damaged, or a pickle that holds more than tensors and numbers.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return without_common_prefix(load_file(str(path)))
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"the weight file {path} is not there") from error
    except Exception as error:  # a damaged file fails in the reader's own ways
        if _foreign(error):
            raise WeightsError(
                f"{path} is a pickle that holds more than tensors, and reading it could run any "
                "program: condyle import-weights extracts its tensors in a separate process, if "
                "`unsafe_pickle` is set",
                setting="unsafe_pickle",
            ) from error
        raise WeightsError(
            f"{path} is not a weight file that can be read ({type(error).__name__}): "
            "it is cut short, damaged, or of another kind"
        ) from error
    state = tensors_of(content)
    if not state:
        raise WeightsError(f"{path} holds no table of tensors")
    return state


def _foreign(error: Exception) -> bool:
    """Whether torch refused a file for what it holds, not because it is damaged."""
    text = str(error)
    refused = isinstance(error, UnpicklingError) and "nsupported operand" not in text
    return refused or "Cannot use ``weights_only=True``" in text


def load_into(encoder: TimmEncoder, state: Mapping[str, Tensor], path: Path) -> Report:
    """Put weights of a classifier, a network or a run into an encoder; none may be missing.

    Parameters
    ----------
    encoder : a 2D encoder; its first convolution may have another number of channels.
    state : under the names of timm, torchvision, smp, EfficientNet-PyTorch, or our own.
    path : of the file, for messages.

    Raises
    ------
    WeightsError
        If a tensor is missing, has another shape, or is one of a larger network: it is named.
    """
    chosen, report = _all_of(state, encoder.model.state_dict(), encoder.architecture, path)
    encoder.model.load_state_dict(chosen)
    return report


def _all_of(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], architecture: str, path: Path
) -> tuple[dict[str, Tensor], Report]:
    """A source for every wanted tensor, and the report."""
    plain = {name.replace("features_", "features.", 1): name for name in wanted}
    named = renamed(state, {p: wanted[name] for p, name in plain.items()}, architecture, path)
    source_start, start = beginnings(named, plain)
    first = first_convolution(wanted)
    chosen: dict[str, Tensor] = {}
    tensors: list[TensorReport] = []
    for canonical, name in plain.items():
        source, tensor = source_start + canonical.removeprefix(start), wanted[name]
        if source not in named:
            if not name.endswith("num_batches_tracked"):
                raise WeightsError(f"{path} has no tensor {source}: it belongs to another network")
            chosen[name] = tensor
            tensors.append(TensorReport(name, "", "left", "a counter of batches"))
            continue
        original, given = named[source]
        how = ""
        if name == first and differ_in_channels(given.shape, tensor.shape):
            how = f"input channels {given.shape[1]} to {tensor.shape[1]}"
            given = adapted_to_channels(given, tensor.shape[1])
        if given.shape != tensor.shape:
            raise WeightsError(
                f"{path}: {original} has shape {tuple(given.shape)}, "
                f"the encoder wants {tuple(tensor.shape)}"
            )
        if not bool(torch.isfinite(given).all()):
            raise WeightsError(f"{path}: {original} holds values that are not finite")
        chosen[name] = given.to(tensor.dtype)
        tensors.append(TensorReport(name, original, "adapted" if how else "kept", how))
    used = {row.source for row in tensors}
    places = {tensor.data_ptr() for original, tensor in named.values() if original in used}
    stages = {canonical.removeprefix(start).split(".")[0] for canonical in plain}
    for source, (original, tensor) in named.items():
        if original in used or tensor.data_ptr() in places:  # nnU-Net names a tensor twice
            continue
        inside = source.startswith(source_start)
        if inside and source.removeprefix(source_start).split(".")[0] in stages:
            raise WeightsError(
                f"{path}: {original} does not fit into {architecture}: it belongs to a larger "
                "network"
            )
        tensors.append(TensorReport("", original, "unused"))
    return chosen, Report(tuple(tensors))


def holds_network(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict is a whole segmentation network's, smp's or ours."""
    return any(name.startswith("decoder.") for name in state)


def load_network(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> Report:
    """Put a whole network's weights, smp's or an earlier run's, into a network of ours.

    The encoder must fit. The decoder, and the head, are taken where all their tensors fit, and
    left as they were where not (other classes, say): the report tells.
    """
    whole = network.state_dict()
    within = "encoder.model." if isinstance(network.encoder, TimmEncoder) else "encoder."
    architecture = getattr(network.encoder, "architecture", "this encoder")
    wanted = {k.removeprefix(within): v for k, v in whole.items() if k.startswith(within)}
    inside = {k: v for k, v in state.items() if k.startswith("encoder.")}
    chosen, report = _all_of(inside, wanted, architecture, path)
    tensors = [replace(f, tensor=f.tensor and within + f.tensor) for f in report.tensors]
    otherwise = _read_otherwise(architecture, state)
    new = {**whole, **{within + name: tensor for name, tensor in chosen.items()}}
    for part in ("encoder.aspp.", "decoder.", "segmentation_head.", "supervision."):
        ours = {k: v for k, v in whole.items() if k.startswith(part)}
        reason = otherwise or _misfit(ours, state)
        tensors += [
            TensorReport(k, "" if reason else k, "left" if reason else "kept", reason) for k in ours
        ]
        new |= {} if reason else {k: state[k].to(v.dtype) for k, v in ours.items()}
    used = {row.source for row in tensors}
    tensors += [TensorReport("", name, "unused") for name in state if name not in used]
    network.load_state_dict(new)
    return Report(tuple(tensors))


def _read_otherwise(architecture: str, state: Mapping[str, Tensor]) -> str:
    """Why a decoder of smp's, though its shapes fit, would get other features from our encoder."""
    if architecture.startswith("densenet") and "encoder.features.norm0.weight" in state:
        return "smp's own DenseNet hands on other layers than timm's: train smp's tu-densenet"
    atrous = any(name.startswith("decoder.aspp.") for name in state)
    if architecture.startswith("resnet") and atrous and "encoder.conv1.weight" in state:
        return "smp's own atrous ResNet has other holes than timm's: train smp's tu-resnet"
    return ""


def _misfit(ours: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Why these tensors cannot all be had from a state dict; '' if they can."""
    for name, tensor in ours.items():
        if name not in state:
            return f"the file has no {name}"
        if state[name].shape != tensor.shape:
            theirs, wanted = tuple(state[name].shape), tuple(tensor.shape)
            return f"{name} has shape {theirs}, wanted is {wanted}"
    return ""
