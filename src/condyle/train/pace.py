"""What a training step costs on this machine: seconds, by trying; memory, by counting."""

from __future__ import annotations

import copy
import math
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch.autograd.graph import saved_tensors_hooks

from condyle.config import Network, Training
from condyle.networks import SegmentationNetwork
from condyle.networks.device import moved
from condyle.networks.seeds import in_turn
from condyle.train.devices import alone
from condyle.train.losses import build_loss
from condyle.train.step import Step

__all__ = ["memory_here", "memory_of_step", "seconds_of_forward", "seconds_of_step"]

TRIES = 3
TOGETHER = {2: 8, 3: 1}
"""Samples that are predicted at once."""
SHARE_FOR_TRYING = 0.02
"""The part of a budget after which one try must do."""
COPIES = 7
"""Of the weights: themselves, gradient, two of AdamW, average, best, and one on its way to disk."""
BESIDE = 1.5
"""What a step holds at its peak as a multiple of what it keeps for the way back."""


def seconds_of_step(
    network: SegmentationNetwork, patch: tuple[int, ...], batch: int,
    training: Training, device: str = "auto",
) -> float:  # fmt: skip
    """The wall time of one step on a batch of noise, in seconds; the network stays as it is.

    Parameters
    ----------
    patch : voxels of a sample along the network's 2 or 3 axes.
    batch : samples in this process.
    """
    fabric = alone(device)
    tried = moved(copy.deepcopy(network), fabric.device)
    step = Step(fabric, tried.train(), copy.deepcopy(tried), training, Network())
    image, target = _noise(network, patch, batch)
    spans: list[float] = []
    for number in range(TRIES + 1):
        if len(spans) > 1 and sum(spans) > SHARE_FOR_TRYING * (training.budget or math.inf):
            break
        started = time.monotonic()
        step(image, target, number, 0.5)
        spans.append(time.monotonic() - started)
    return min(spans[1:])  # the first one warms up; other work on the machine only slows


def seconds_of_forward(
    network: SegmentationNetwork, patch: tuple[int, ...], device: str = "auto"
) -> float:
    """The wall time of predicting a sample of noise, in seconds; the network stays as it is.

    Slices are predicted several at once, as they are in scans.
    """
    fabric, together = alone(device), TOGETHER[network.spatial]
    tried = moved(copy.deepcopy(network), fabric.device).eval()
    image = _noise(network, patch, together)[0].to(fabric.device)
    spans: list[float] = []
    with torch.inference_mode(), fabric.autocast():
        for _ in range(2):  # the first one warms up
            started = time.monotonic()
            tried(image)
            spans.append(time.monotonic() - started)
    return min(spans) / together


def memory_of_step(
    network: SegmentationNetwork, patch: tuple[int, ...], training: Training
) -> tuple[int, int]:
    """Bytes that training holds for the network, and for each sample of a batch on top.

    What is kept for the way back is counted on a forward pass, so the figure is the same on
    every machine; what a step needs beside it is a rule of thumb.
    """
    tried = copy.deepcopy(network).train()
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    image, target = _noise(network, patch, 2)
    with in_turn(), saved_tensors_hooks(count, lambda tensor: tensor):
        loss = build_loss(training.loss)(tried(image), target, 0.5)
    weights = sum(p.numel() * p.element_size() for p in tried.parameters())
    mine = {p.untyped_storage().data_ptr() for p in tried.parameters()}
    a_sample = sum(size for place, size in kept.items() if place not in mine) / 2
    del loss
    return COPIES * weights, int(BESIDE * a_sample)


def memory_here(device: torch.device) -> int:
    """Bytes that are free now on a device; 0 where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    return 0


def _noise(
    network: SegmentationNetwork, patch: tuple[int, ...], batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of images and class indices that mean nothing."""
    drawn = torch.Generator().manual_seed(0)
    image = torch.randn((batch, network.channels, *patch), generator=drawn)
    return image, torch.randint(network.classes, (batch, *patch), generator=drawn)
