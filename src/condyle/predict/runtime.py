"""Running a network on arrays: class probabilities out, in the fastest numbers of this machine."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from condyle.networks import SegmentationNetwork
from condyle.networks.device import bf16_pays, moved, pick_device

__all__ = ["TorchRuntime"]


@dataclass(frozen=True)
class TorchRuntime:
    """A network on a device, in bfloat16 where that is faster."""

    network: SegmentationNetwork
    device: torch.device

    @classmethod
    def of(cls, network: SegmentationNetwork, device: str = "auto") -> TorchRuntime:
        """The network, moved to the device and set to predict."""
        where = pick_device(device)
        return cls(moved(network, where).eval(), where)

    def probabilities(self, batch: Tensor) -> Tensor:
        """Class probabilities (B, classes, i, j[, k]), float32 on the CPU, of (B, C, i, j[, k])."""
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16_pays(self.device)),
        ):
            x = batch.to(self.device, memory_format=self.network.memory_format)
            return self.network(x).float().softmax(dim=1).cpu()
