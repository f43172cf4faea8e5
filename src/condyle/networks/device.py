"""Which processor computes."""

from __future__ import annotations

import platform
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from condyle.errors import ConfigError

__all__ = ["DEVICES", "moved", "pick_device", "processor"]

N = TypeVar("N", bound=nn.Module)

DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; 'auto' takes the GPU where there is one.

    Raises
    ------
    ConfigError
        If the device is not there, or the name is not 'auto', 'cpu', 'cuda[:n]' or 'mps'.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind = name.partition(":")[0]
    if kind not in DEVICES:
        raise ConfigError(f"unknown device {name!r}: choose auto, cpu, cuda, cuda:1 or mps")
    if (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise ConfigError(f"there is no {kind} device on this machine: choose `device` cpu")
    return torch.device(name)


def processor() -> str:
    """The name of this machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def moved(network: N, device: torch.device) -> N:
    """The network itself, on a device, its weights in the order of values that is fastest there."""
    network.to(device)
    for weight in network.parameters():  # `acs` keeps flat kernels in a network for volumes
        if weight.ndim >= 4:
            order = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
            weight.data = weight.data.contiguous(memory_format=order)
    return network
