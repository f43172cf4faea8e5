"""The processes and the device that a training runs on: one, or as many as torchrun started."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.single_device import SingleDeviceStrategy

from condyle.networks.device import pick_device
from condyle.networks.precision import autocast, bf16_pays

__all__ = ["alone", "fabric_for"]

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
# it prints each choice of its own on the terminal ("Using bfloat16 Automatic Mixed Precision")


def fabric_for(device: str = "auto") -> Fabric:
    """The device of this process, in bfloat16 where that is faster, and its fellow processes.

    Under torchrun each process gets its share of every batch, and gradients are averaged; without
    it there is one process.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        return alone(device)
    where = pick_device(device)
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=where.type,
        devices=here,
        num_nodes=processes // here,
        # an encoder may be frozen for a while: its weights then have no gradients to average
        strategy=DDPStrategy(find_unused_parameters=True),
        plugins=_precision(where),
    )
    fabric.launch()
    return fabric


def alone(device: str = "auto") -> Fabric:
    """The device of this process, whether or not there are others."""
    where = pick_device(device)
    strategy = SingleDeviceStrategy(torch.device(where.type, where.index or 0))
    return Fabric(strategy=strategy, plugins=_precision(where))


class _InBfloat16(MixedPrecision):
    """Networks compute in bfloat16; their weights and what these are moved by stay in float32."""

    def __init__(self, where: torch.device):
        super().__init__("bf16-mixed", where.type)
        self.where = where

    def forward_context(self) -> AbstractContextManager[None]:
        """What is computed in here is computed in bfloat16."""
        return autocast(self.where)


def _precision(where: torch.device) -> Precision:
    return _InBfloat16(where) if bf16_pays(where) else Precision()
