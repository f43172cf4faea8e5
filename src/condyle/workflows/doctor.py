"""What this machine has, and what can be built on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from condyle.config import presets, read_preset
from condyle.config.requests import DoctorRequest, NetworksRequest, PresetsRequest
from condyle.config.studies import numbers
from condyle.engines import EngineName
from condyle.engines import names as engines
from condyle.engines.process import python, versions
from condyle.errors import ConfigError, UnknownName
from condyle.jobs.job import Job, verb
from condyle.networks import names
from condyle.networks.cost import cost
from condyle.networks.device import pick_device
from condyle.networks.encoders import ATROUS, ENCODERS, SCRATCH, weights_of
from condyle.networks.factory import NetworkName
from condyle.networks.precision import PRECISION, bf16_pays, precision
from condyle.networks.weights.locate import torch_home, weights_row
from condyle.predict.runtimes.openvino import bf16_here, version
from condyle.runs.record import environment

__all__ = ["doctor", "doctor_rows", "list_networks", "list_presets", "network_rows"]


@verb
def list_networks(request: NetworksRequest, job: Job) -> list[dict[str, Any]]:
    """A row a network whose name holds a part, those to start with first; see `network_rows`."""
    rows = network_rows(request.cost, request.part)
    if not rows:
        raise UnknownName("network", request.part, names())
    return rows


@verb
def list_presets(request: PresetsRequest, job: Job) -> list[dict[str, Any]]:
    """A row a preset: its name, title and variants; of one, a row a number of its study."""
    if request.name:
        return [
            {
                "variant": one.variant or "all",
                "setting": one.setting,
                "study": one.study,
                "here": one.here,
                "why": one.why,
            }
            for one in numbers(request.name)
        ]
    studies = {name: read_preset(name).study for name in presets()}
    return [
        {"name": name, "title": study.title, "variants": ", ".join(study.variants)}
        for name, study in studies.items()
    ]


@verb
def doctor(request: DoctorRequest, job: Job) -> list[dict[str, Any]]:
    """A row a thing that a bug report needs."""
    return doctor_rows()


def network_rows(costs: bool = False, part: str = "") -> list[dict[str, Any]]:
    """A row a network: its name, 2D or 3D, its pretrained weights and whose they are, its cost.

    Parameters
    ----------
    part : of the names of those that are listed.
    costs : add millions of parameters and the GFLOP of a slice of 256 x 256 pixels or a block of
        96 x 96 x 96 voxels; it takes half a minute.
    """
    rows: list[dict[str, Any]] = []
    known = {name: {"where": "none needed", "source": "", "licence": ""} for name in SCRATCH}
    for name in sorted(names(), key=_order):
        if part not in name:
            continue
        parts = NetworkName.parse(name)
        encoder = weights_of(parts.encoder)
        if encoder not in known:
            known[encoder] = weights_row(encoder)
        found = known[encoder]
        row = {"network": name, "sees": f"{parts.spatial}D", "weights": found["where"]}
        row["note"] = START.get(name, "")
        row |= {"from": found["source"], "licence": found["licence"]}
        if costs:
            price = cost(name)
            row |= {"parameters (M)": f"{price.parameters:.1f}", "GFLOP": f"{price.gflop:.1f}"}
        rows.append(row)
    return [*rows, *(row for row in engine_rows() if part in row["network"])]


START = {"unet-efficientnet_lite0": "start with this one", "3d:unet-plain": "for volumes"}
"""The networks that `plan` chooses."""


def _order(name: str) -> tuple[bool, int, bool]:
    """Where a network stands in the list: those to start with, then encoder by encoder."""
    parts, encoders = NetworkName.parse(name), [*ENCODERS, *ATROUS, *SCRATCH]
    return name not in START, encoders.index(parts.encoder), parts.spatial == 3


def engine_rows() -> list[dict[str, Any]]:
    """The same of the engines, which are other programs; they bring their own weights."""
    rows: list[dict[str, Any]] = []
    for name in engines():
        engine = EngineName.parse(name)
        here = engine.package.lower() in _engines()
        where = "" if here else f"{engine.package} is missing: pip install 'condyle[engines]'"
        learns = engine.engine == "nnunet"
        where = where or ("none needed" if learns else "fetched at the first use")
        sees = "2D" if name == "nnunet:2d" else "3D"
        row = {"network": name, "sees": sees, "weights": where, "note": ""}
        rows.append(row | {"from": "", "licence": ""})
    return rows


def _engines() -> dict[str, str]:
    """The engines' packages, of the Python that runs them, and their versions."""
    try:
        found = versions(python())
    except ConfigError as error:
        return {"none": str(error)}
    return {name: version for name, version in found.items() if name != "torch"}


def doctor_rows() -> list[dict[str, Any]]:
    """What a bug report needs: versions, processor, memory, caches."""
    device = pick_device()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    found = environment() | {
        "device": str(device),
        "fast precision": _fast_precision(device),
        "runtimes": _runtimes(),
        "engines": ", ".join(f"{name} {version}" for name, version in _engines().items())
        or "none (pip install 'condyle[engines]')",
        "torch threads": torch.get_num_threads(),
        "weights cache": torch_home(),
        "free disk here": f"{free:.0f} GiB",
    }
    memory = f"{found.pop('memory_gib'):.0f} GiB"
    found = {"time": found.pop("time"), "memory": memory} | found
    return [{"what": key, "here": value} for key, value in found.items()]


def _fast_precision(device: torch.device) -> str:
    """The precision of training, which `auto` tries in prediction, too."""
    if precision() != "auto":
        return f"{'bfloat16' if bf16_pays(device) else 'float32 only'} (set by {PRECISION})"
    return "bfloat16" if bf16_pays(device) else "float32 only (no AVX512-BF16, no GPU)"


def _runtimes() -> str:
    """What can run a network here."""
    if not version():
        return "torch only (OpenVINO is missing: pip install openvino)"
    return f"torch, OpenVINO {version()} in {'bfloat16' if bf16_here() else 'float32'}"
