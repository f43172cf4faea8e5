"""Networks in PyTorch, on the CPU or a GPU."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from condyle.networks import PredictionNetwork
from condyle.networks.device import moved, pick_device
from condyle.networks.precision import autocast, bf16_pays
from condyle.predict.runtimes.runtime import BackendPrecision

__all__ = ["TorchRuntime"]


@dataclass(frozen=True)
class TorchRuntime:
    """A network in PyTorch, on a device.

    Parameters
    ----------
    precision : fp32, or bf16.
    """

    network: PredictionNetwork
    device: torch.device
    precision: BackendPrecision = "fp32"

    @classmethod
    def of(
        cls,
        network: PredictionNetwork,
        device: str = "auto",
        precision: BackendPrecision | None = None,
    ) -> TorchRuntime:
        """The network, moved to the device and set to predict.

        Parameters
        ----------
        precision : fp32 or bf16; None: bf16 where it is faster.
        """
        where = pick_device(device)
        precision = precision or ("bf16" if bf16_pays(where) else "fp32")
        return cls(moved(network, where).eval(), where, precision)

    @property
    def name(self) -> str:
        """What computes, and in which precision."""
        return f"torch {self.precision}"

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]), float32 on the CPU, of (B, C, i, j[, k])."""
        fewer_bits = self.precision == "bf16"
        with torch.inference_mode(), autocast(self.device) if fewer_bits else nullcontext():
            x = batch.to(self.device, memory_format=self.network.memory_format)
            return self.network(x).float().softmax(dim=1).cpu()
