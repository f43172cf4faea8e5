"""Foreign checkpoints, made into plain tables of tensors; and what of them fits a network."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from condyle.config.requests import ImportWeightsRequest
from condyle.errors import ConfigError, WeightsError
from condyle.jobs.job import Job, count_of, verb
from condyle.jobs.outputs import protected, require_free, sha256, write_bytes, write_csv
from condyle.networks import build
from condyle.networks.encoders import TimmEncoder
from condyle.networks.factory import NetworkName
from condyle.networks.weights import pickles
from condyle.networks.weights.load import Report, holds_network, load_into, load_network, read_state
from condyle.networks.weights.volumetric import holds_volumes, load_deep
from condyle.predict.nnunet_import import holds_nnunet, import_nnunet

__all__ = ["Imported", "ImportedModel", "import_weights"]

RISK = (
    "a pickle is a program: reading one from a stranger can run anything with your user "
    "permissions. With `unsafe_pickle` it is read in a process of its own, where all but "
    "tensors are stand-ins and memory and time are limited, but which this "
    "system cannot cut off from network and files"
)
SECONDS = 900
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TEMP", "TMP")
"""The settings of the environment that the process may see: no tokens, no names."""


@dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Parameters
    ----------
    path : the safetensors file.
    sha256 : of the file that was read.
    rows : a row a tensor, as in the .csv beside the file.
    summary : a sentence.
    """

    path: Path
    sha256: str
    rows: list[dict[str, Any]]
    summary: str


@dataclass(frozen=True)
class ImportedModel:
    """A trained nnU-Net that has become a run folder."""

    folder: Path
    name: str
    structures: tuple[str, ...]


@verb
def import_weights(request: ImportWeightsRequest, job: Job) -> Imported | ImportedModel:
    """Write the tensors of a checkpoint to a safetensors file, and beside it a table as .csv.

    A folder, or a zip, of a trained nnU-Net becomes a run folder that `segment` takes.

    Raises
    ------
    ConfigError
        If a setting is given that is for checkpoints, or for nnU-Nets, alone.
    WeightsError
        If a file is missing, damaged, holds more than tensors and `unsafe_pickle` is not set, or
        does not fit the network.
    """
    with protected(request.files):
        return _imported(request)


def _imported(request: ImportWeightsRequest) -> Imported | ImportedModel:
    files, out = request.files, request.out
    if len(files) == 1 and holds_nnunet(files[0]):
        request.refuse(
            {
                "network": "a folder or zip of a trained nnU-Net brings its own network",
                "unsafe_pickle": "nnU-Net's checkpoints are read without it",
            }
        )
        made = import_nnunet(files[0], out, model=request.model, fold=request.fold)
        return ImportedModel(out, made.name, made.scheme.names)
    request.refuse(dict.fromkeys(("model", "fold"), "it is for the folder or zip of an nnU-Net"))
    if out.suffix != ".safetensors":
        raise ConfigError(f"`out` must be a name that ends in .safetensors, not {out.name}")
    for file in files:
        if not file.is_file():
            raise WeightsError(f"the weight file {file} is not there")
    for path in (out, out.with_suffix(".csv")):
        require_free(path)
    with tempfile.TemporaryDirectory(prefix="condyle-") as scratch:
        file = _joined(files, Path(scratch))
        digest = sha256(file)
        state = _state(file, files[0], request.unsafe_pickle, Path(scratch))
    report = _tried(request.network, state, files[0]) if request.network else None
    write_bytes(out, save({k: v.contiguous().clone() for k, v in state.items()}))
    rows = [dict(row) for row in report.rows()] if report else _listed(state)
    write_csv(out.with_suffix(".csv"), rows)
    values = sum(tensor.numel() for tensor in state.values())
    summary = (
        f"{count_of(len(state), 'tensor')}, {values / 1e6:.1f} million values, written to {out}"
    )
    return Imported(
        out, digest, rows, f"{summary}; in {request.network}: {report}" if report else summary
    )


def _joined(files: Sequence[Path], scratch: Path) -> Path:
    """The one file, or its parts in one."""
    if len(files) == 1:
        return files[0]
    joined = scratch / "joined.pth"
    with joined.open("wb") as stream:
        for part in files:
            stream.write(part.read_bytes())
    return joined


def _state(file: Path, given: Path, unsafe_pickle: bool, scratch: Path) -> dict[str, Tensor]:
    """The tensors, read as plain tables or, where that is not enough and allowed, by the child."""
    try:
        return read_state(file)
    except WeightsError as error:
        if error.setting != "unsafe_pickle":
            raise
        if not unsafe_pickle:
            raise WeightsError(
                f"{given} is a pickle that holds more than tensors: {RISK}"
            ) from error
    return _read_by_child(file, given, scratch)


def _read_by_child(file: Path, given: Path, scratch: Path) -> dict[str, Tensor]:
    """The tensors that a process of its own, which knows nothing of us, finds in a pickle."""
    out = scratch / "tensors.safetensors"
    environment = {k: os.environ[k] for k in PASSED_ON if k in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(pickles.__file__), str(file.resolve()), str(out)],
            env=environment | {"OMP_NUM_THREADS": "1"}, cwd=scratch, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{given} was not read within {SECONDS} s") from error
    if done.returncode or not out.is_file():
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WeightsError(f"{given} could not be read in its own process: {reason}")
    return read_state(out)


def _tried(name: str, state: dict[str, Tensor], path: Path) -> Report:
    """What would become of the tensors in a network of this name."""
    network, _ = build(name, 1, 2, "none")
    if NetworkName.parse(name).spatial == 3 and holds_volumes(state):
        return load_deep(network.encoder, state, path)
    if holds_network(state):
        return load_network(network, state, path)
    if not isinstance(network.encoder, TimmEncoder):
        raise ConfigError(f"network {name} has no encoder that {path} could be loaded into")
    return load_into(network.encoder, state, path)


def _listed(state: dict[str, Tensor]) -> list[dict[str, Any]]:
    return [
        {"tensor": k, "shape": "x".join(map(str, v.shape)), "type": str(v.dtype)[6:]}
        for k, v in state.items()
    ]
