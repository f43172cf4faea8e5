"""How the networks of a batch predict."""

from __future__ import annotations

from dataclasses import dataclass

from condyle.config import Planes
from condyle.predict.views import Mirroring

__all__ = ["InferenceOptions"]


@dataclass(frozen=True)
class InferenceOptions:
    """How scans are predicted.

    Parameters
    ----------
    planes : of the slices of 2D networks: one, or all, whose probabilities are averaged, each
        weighted by how fine its pixels are in the scan; None: as the network was trained.
    mirroring : none, left-right or all: predict mirror images too, mirror them back, and average;
        only those that a network was trained on.
    device : auto, cpu, cuda or mps.
    runtime : torch, openvino, or auto: the fastest whose labels are PyTorch's in float32.
    first_look : predict a few slices first, and closely only where they show a structure.
    """

    planes: Planes | None = None
    mirroring: Mirroring = "none"
    device: str = "auto"
    runtime: str = "auto"
    first_look: bool = False
