"""Running a network on arrays: class probabilities out, in the fastest numbers of this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from condyle.networks import SegmentationNetwork
from condyle.networks.device import moved, pick_device
from condyle.networks.precision import autocast, bf16_pays

__all__ = ["Numbers", "Runtime", "Telling", "TellPart", "TorchRuntime", "share_of", "tell_nobody"]

Numbers = Literal["fp32", "bf16", "int8"]
TellPart = Callable[[float], None]
"""Called with the part of a scan that was looked at, from 0 to 1."""


def tell_nobody(part: float) -> None:
    """Tell nobody."""


def share_of(tell: TellPart, number: int, total: int) -> TellPart:
    """What one of so many equal shares of a work tells of itself, told of the whole; from 0."""
    return lambda part: tell((number + part) / total)


class Runtime(Protocol):
    """What runs a network."""

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]), float32 on the CPU, of (B, C, i, j[, k])."""
        ...


@dataclass(frozen=True)
class TorchRuntime:
    """A network in PyTorch, on a device.

    Parameters
    ----------
    numbers : fp32, or bf16.
    """

    network: SegmentationNetwork
    device: torch.device
    numbers: Numbers = "fp32"

    @classmethod
    def of(
        cls, network: SegmentationNetwork, device: str = "auto", numbers: Numbers | None = None
    ) -> TorchRuntime:
        """The network, moved to the device and set to predict.

        Parameters
        ----------
        numbers : fp32 or bf16; None: bf16 where it is faster.
        """
        where = pick_device(device)
        numbers = numbers or ("bf16" if bf16_pays(where) else "fp32")
        return cls(moved(network, where).eval(), where, numbers)

    @property
    def name(self) -> str:
        """What computes, and in which numbers."""
        return f"torch {self.numbers}"

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]), float32 on the CPU, of (B, C, i, j[, k])."""
        fewer_bits = self.numbers == "bf16"
        with torch.inference_mode(), autocast(self.device) if fewer_bits else nullcontext():
            x = batch.to(self.device, memory_format=self.network.memory_format)
            return self.network(x).float().softmax(dim=1).cpu()


@dataclass
class Telling:
    """A runtime that tells how far it is.

    Parameters
    ----------
    ahead : how many slices or windows it is going to see, mirror images too.
    """

    runtime: Runtime
    ahead: int
    tell: TellPart
    seen: int = field(default=0, init=False)

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]) of (B, C, i, j[, k])."""
        found = self.runtime.probabilities(batch)
        self.seen += len(batch)
        self.tell(min(self.seen / self.ahead, 1.0))
        return found
