"""All that an interrupted training needs to go on: one safetensors file, whole or absent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as as_bytes
from torch import Tensor, nn

from condyle.errors import UnreadableFile
from condyle.jobs.job import warn
from condyle.jobs.outputs import linked, write_bytes

__all__ = ["LAST", "drop_earlier", "load", "load_last", "save", "save_last"]


LAST, EARLIER = "last.safetensors", "earlier.safetensors"
"""The last checkpoint of a training, and the one before it."""


def save_last(
    folder: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
) -> None:  # fmt: skip
    """Write the last checkpoint; the one before it is kept as well."""
    last = folder / LAST
    if last.is_file():
        linked(last, folder / EARLIER)
    save(last, networks, optimizer, progress)


def drop_earlier(folder: Path) -> None:
    """Remove the checkpoint before the last: a training that has ended needs one alone."""
    (folder / EARLIER).unlink(missing_ok=True)


def load_last(
    folder: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> dict[str, Any] | None:
    """Put the last checkpoint that can be read back; its progress, or None if there is none."""
    files = [path for name in (LAST, EARLIER) if (path := folder / name).is_file()]
    for number, path in enumerate(files, 1):
        try:
            return load(path, networks, optimizer)
        except UnreadableFile as error:
            if number == len(files):
                raise
            warn(f"{error}; going on from the one before it")
    return None


def save(
    path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer,
    progress: dict[str, Any],
) -> None:  # fmt: skip
    """Write networks (by a name each), optimizer and progress (JSON values) to one file."""
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        tensors |= {f"{name}.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{slot}": v.contiguous() for slot, v in slots.items()}
    note = {"progress": json.dumps(progress)}
    note["sha256"] = _digest(tensors, note["progress"])
    write_bytes(path, as_bytes(tensors, metadata=note))


def _digest(tensors: Mapping[str, Tensor], progress: str) -> str:
    """A hash of all that a checkpoint holds."""
    found = hashlib.sha256(progress.encode())
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8)
        found.update(name.encode())
        found.update(values.numpy().data)
    return found.hexdigest()


def load(
    path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put a checkpoint back into networks and optimizer; gives back its progress.

    Raises
    ------
    UnreadableFile
        If the file is damaged or belongs to another network.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            note: dict[str, str] = file.metadata()
            progress: dict[str, Any] = json.loads(note["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        if _digest(tensors, note["progress"]) != note["sha256"]:
            raise ValueError("its bytes are not those that were written")
    except Exception as error:  # safetensors raises its own kinds
        raise UnreadableFile(
            f"the checkpoint {path} cannot be read ({error}): train again without `resume`"
        ) from error
    try:
        for name, network in networks.items():
            network.load_state_dict(_under(tensors, f"{name}."))
    except RuntimeError as error:
        raise UnreadableFile(f"the checkpoint {path} belongs to another network") from error
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in _under(tensors, "optimizer.").items():
        number, slot = key.split(".", 1)
        if tensor.ndim:  # in the order of values that the weights have: fused steps want that
            tensor = torch.empty_like(weights[int(number)], device="cpu").copy_(tensor)
        state.setdefault(int(number), {})[slot] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return progress


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
