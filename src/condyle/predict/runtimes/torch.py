"""Running a network on arrays: class probabilities out, in the fastest numbers of this machine."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from condyle.networks import PredictionNetwork
from condyle.networks.device import moved, pick_device
from condyle.networks.precision import autocast, bf16_pays

__all__ = ["Numbers", "TorchRuntime"]

Numbers = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True)
class TorchRuntime:
    """A network in PyTorch, on a device.

    Parameters
    ----------
    numbers : fp32, or bf16.
    """

    network: PredictionNetwork
    device: torch.device
    numbers: Numbers = "fp32"

    @classmethod
    def of(
        cls, network: PredictionNetwork, device: str = "auto", numbers: Numbers | None = None
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
