"""What this machine has, and what can be built on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from condyle.errors import WeightsError
from condyle.networks import names
from condyle.networks.build import NetworkName
from condyle.networks.device import bf16_pays, pick_device
from condyle.networks.weights import locate, torch_home
from condyle.workflows.record import environment

__all__ = ["doctor_rows", "network_rows"]


def network_rows() -> list[dict[str, Any]]:
    """A row a network: its name, 2D or 3D, and where its pretrained weights are."""
    rows: list[dict[str, Any]] = []
    where: dict[str, str] = {"plain": "none needed"}
    for name in names():
        parts = NetworkName.parse(name)
        if parts.encoder not in where:
            where[parts.encoder] = _where(parts.encoder)
        rows.append({"network": name, "sees": f"{parts.spatial}D", "weights": where[parts.encoder]})
    return rows


def _where(encoder: str) -> str:
    try:
        return locate(encoder, download=False).origin
    except WeightsError:
        return "to be downloaded"


def doctor_rows() -> list[dict[str, Any]]:
    """What a bug report needs: versions, processor, memory, caches."""
    device = pick_device()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    found = environment() | {
        "device": str(device),
        "fast numbers": "bfloat16"
        if bf16_pays(device)
        else "float32 only (no AVX512-BF16, no GPU)",
        "torch threads": torch.get_num_threads(),
        "weights cache": torch_home(),
        "free disk here": f"{free:.0f} GiB",
    }
    return [{"what": key, "here": value} for key, value in found.items()]
