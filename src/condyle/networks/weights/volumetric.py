"""3D checkpoints (MedicalNet, Astra) adapted to inflated encoders, with a report of every tensor.

They name their layers as torchvision's ResNets do, and saw volumes as (z, y, x); ours are
(x, y, z), so the axes of their kernels are reversed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from condyle.errors import WeightsError
from condyle.networks.encoders import adapted_to_channels
from condyle.networks.weights.load import Report, TensorReport
from condyle.networks.weights.names import beginnings, differ_in_channels, first_convolution

__all__ = ["adapt", "depth_fitted", "holds_volumes", "load_deep"]

ENOUGH = 0.5
"""The share of the convolutions that must find their weights; below it the file is another's."""
EPSILON = 1e-5
"""Of torch's batch norms."""


def holds_volumes(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has kernels with a depth."""
    return any(tensor.ndim == 5 for tensor in state.values())


def load_deep(
    encoder: nn.Module,
    state: Mapping[str, Tensor],
    path: Path,
    depth: Literal["first", "last"] = "first",
) -> Report:
    """Put a 3D checkpoint into an inflated encoder as far as it reaches; see `adapt`."""
    inner = getattr(encoder, "model", encoder)
    assert isinstance(inner, nn.Module)
    try:
        new, report = adapt(state, inner.state_dict(), depth)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    inner.load_state_dict(new)
    return report


def adapt(
    state: Mapping[str, Tensor],
    target_state: Mapping[str, Tensor],
    depth: Literal["first", "last"] = "first",
) -> tuple[dict[str, Tensor], Report]:
    """A 3D encoder's state dict with a checkpoint's values where they fit, and the report.

    Parameters
    ----------
    state : of the checkpoint.
    target_state : of the encoder: kernels (out, in, i, j, k), the depth last.
    depth : where the checkpoint's kernels have their depth.

    Raises
    ------
    WeightsError
        If fewer than half of the encoder's convolutions find their weights.

    Examples
    --------
    >>> mine = {"conv1.weight": torch.zeros(64, 1, 7, 7, 3)}
    >>> _, report = adapt({"module.conv1.weight": torch.ones(64, 3, 7, 7, 7)}, mine)
    >>> report.tensors[0].how
    'axes reversed, input channels 3 to 1, depth 7 folded into 3'
    """
    theirs, ours = beginnings(state, target_state)
    first = first_convolution(target_state)
    shortcuts = {} if any("downsample" in k for k in state) else _plain_shortcuts(target_state)
    new = dict(target_state)
    tensors: list[TensorReport] = []
    for name, wanted in target_state.items():
        source = theirs + name.removeprefix(ours)
        if source in state:
            fitted, how = _fitted(state[source], wanted.shape, name == first, depth)
        elif name in shortcuts:
            fitted, how = shortcuts[name], "shortcut without weights (type A), as a convolution"
            source = ""
        else:
            fitted, how, source = None, "not in the file", ""
        if fitted is None:
            tensors.append(TensorReport(name, source, "left", how))
            continue
        new[name] = fitted.to(wanted.dtype).contiguous()
        tensors.append(TensorReport(name, source, "adapted" if how else "kept", how))
    used = {row.source for row in tensors}
    tensors += [TensorReport("", name, "unused") for name in state if name not in used]
    _check_enough(target_state, tensors)
    return new, Report(tuple(tensors))


def _fitted(
    given: Tensor, wanted: torch.Size, first: bool, depth: Literal["first", "last"]
) -> tuple[Tensor | None, str]:
    """The tensor in the wanted shape and what was done to it, or None and why it cannot be."""
    original, done = tuple(given.shape), list[str]()
    if given.ndim == 5 and depth == "first" and max(given.shape[2:]) > 1:
        given = given.permute(0, 1, 4, 3, 2)
        done.append("axes reversed")
    if first and differ_in_channels(given.shape[:4], wanted[:4]):
        done.append(f"input channels {given.shape[1]} to {wanted[1]}")
        given = adapted_to_channels(given.float(), wanted[1])
    if given.ndim == len(wanted) == 5 and given.shape[:4] == wanted[:4]:
        before = given.shape[-1]
        given = depth_fitted(given, wanted[-1])
        if before != wanted[-1]:
            done.append(f"depth {before} {'folded' if before > wanted[-1] else 'padded'} "
                        f"into {wanted[-1]}")  # fmt: skip
    if given.shape != wanted:
        return None, f"shape {original} in the file, wanted is {tuple(wanted)}"
    if not bool(torch.isfinite(given).all()):
        return None, "values that are not finite"
    return given, ", ".join(done)


def depth_fitted(weight: Tensor, depth: int) -> Tensor:
    """A kernel (..., k) of another depth, with the same output where the depth is constant.

    A deeper one keeps its middle, and what lies beyond is added to the ends; a shallower one gets
    zeros at both ends.

    Examples
    --------
    >>> depth_fitted(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]), 3).tolist()
    [3.0, 4.0, 24.0]
    """
    more = weight.shape[-1] - depth
    if more <= 0:
        return pad(weight, (-more // 2, -more - -more // 2))
    start = more // 2
    middle = weight[..., start : start + depth].clone()
    middle[..., 0] += weight[..., :start].sum(-1)
    middle[..., -1] += weight[..., start + depth :].sum(-1)
    return middle


def _plain_shortcuts(target: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions and norms that do what shortcuts of type A do: skip voxels, add zero channels.

    MedicalNet's ResNet-18 and 34 have such shortcuts, and no tensors for them.
    """
    found: dict[str, Tensor] = {}
    for name, wanted in target.items():
        match = re.fullmatch(r"(.*downsample\.)0\.weight", name)
        if match is None or wanted.ndim != 5 or max(wanted.shape[2:]) > 1:
            continue
        outputs, inputs = wanted.shape[:2]
        found[name] = torch.eye(outputs, inputs).view(outputs, inputs, 1, 1, 1)
        norm = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1 - EPSILON}
        found |= {f"{match[1]}1.{k}": torch.full((outputs,), v) for k, v in norm.items()}
    return found


def _check_enough(target: Mapping[str, Tensor], tensors: list[TensorReport]) -> None:
    """Refuse a checkpoint that gives a network less than half of its convolutions."""
    convolutions = {name for name, tensor in target.items() if tensor.ndim >= 4}
    given = [f for f in tensors if f.tensor in convolutions and f.source and f.outcome != "left"]
    if len(given) >= ENOUGH * len(convolutions):
        return
    left = next(f for f in tensors if f.tensor in convolutions and f.outcome == "left")
    raise WeightsError(
        f"only {len(given)} of the encoder's {len(convolutions)} convolutions have weights "
        f"in the checkpoint ({left.tensor}: {left.how}): it belongs to another network"
    )
