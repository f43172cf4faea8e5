"""The names and the order that other makers give to the tensors of networks that we build too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from condyle.errors import WeightsError

__all__ = ["beginnings", "differ_in_channels", "first_convolution", "renamed"]


def beginnings(source: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, str]:
    """What names begin with, in the file and with us, where most of the rest agree."""
    ours = [
        start for start in _up_to_dots(wanted) if all(name.startswith(start) for name in wanted)
    ]
    return max(
        ((theirs, start) for theirs in _up_to_dots(source) for start in ours),
        key=lambda pair: (
            sum(pair[0] + name.removeprefix(pair[1]) in source for name in wanted),
            -len(pair[0]) - len(pair[1]),
        ),
    )


def _up_to_dots(names: Mapping[str, Any]) -> list[str]:
    """'' and what names begin with up to the first, second and third dot."""
    found = {"": None}
    for name in names:
        parts = name.split(".")
        for count in range(1, min(len(parts), 4)):
            found[".".join(parts[:count]) + "."] = None
    return list(found)


def first_convolution(wanted: Mapping[str, Tensor]) -> str:
    """The name of the weights that see the image itself."""
    return next((name for name, tensor in wanted.items() if tensor.ndim >= 4), "")


def differ_in_channels(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two kernels are alike but for the channels of their input."""
    return len(a) == len(b) >= 4 and a[1] != b[1] and (a[0], *a[2:]) == (b[0], *b[2:])


STEMS = {
    "_conv_stem.weight": {
        f"tf_efficientnet_{size}": 0.0
        for size in ("lite0", "lite1", "lite2", "lite3", "lite4", "b0", "b1", "b2", "b3", "b4")
    },
    "features.0.0.weight": {
        "mobilenetv2_100": 0.0,
        "efficientnet_b0": 0.0,
        "mobilenetv3_large_100": 1e-3 - 1e-5,
    },
}
"""First tensor of a family whose names are not timm's (EfficientNet-PyTorch, torchvision) ->
timm's networks that have the same layers in the same order, and by how much the epsilon of their
norms is smaller, which the variances make up for."""

ORDER = (
    "_conv_stem", "_expand_conv", "_bn0", "_depthwise_conv", "_blocks", "_conv_head", "_bn1",
    "_se_reduce", "_se_expand", "_project_conv", "_bn2", "_fc",
)  # fmt: skip
"""EfficientNet-PyTorch's layers in the order of their use, in the network and in a block."""


def renamed(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], architecture: str, path: Path
) -> dict[str, tuple[str, Tensor]]:
    """Timm's name -> the file's name and tensor."""
    stem = next((s for s in STEMS for name in state if name.endswith(s)), "")
    if stem:
        return _by_order(state, wanted, stem, architecture, path)
    found: dict[str, tuple[str, Tensor]] = {}
    for name, tensor in state.items():
        new = re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name)
        found[re.sub(r"(^|\.)features_", r"\1features.", new)] = (name, tensor)
    return found


def _by_order(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    stem: str,
    architecture: str,
    path: Path,
) -> dict[str, tuple[str, Tensor]]:
    """Layer by layer: the file's layers in the order of their use against ours."""
    if architecture not in STEMS[stem]:
        raise WeightsError(
            f"{path} has names such as {stem}, of {' and '.join(STEMS[stem])}, not of "
            f"{architecture}: it belongs to another network"
        )
    start = next(name for name in state if name.endswith(stem)).removesuffix(stem)
    family = start + ("_" if stem.startswith("_") else "features.")
    theirs = _layers({k: v for k, v in state.items() if k.startswith(family)})
    ours = _layers(wanted)
    named: dict[str, tuple[str, Tensor]] = {}
    for layer, source in zip(ours, sorted(theirs, key=_rank), strict=False):
        if not ours[layer] <= theirs[source] | {"num_batches_tracked"}:
            raise WeightsError(
                f"{path}: its layer {source} has {', '.join(sorted(theirs[source]))} where "
                f"{architecture} wants {', '.join(sorted(ours[layer]))}: it is another network"
            )
        for leaf in theirs[source]:
            tensor = state[f"{source}.{leaf}"]
            if leaf == "running_var":
                tensor = tensor.float() + STEMS[stem][architecture]
            named[f"{layer}.{leaf}"] = (f"{source}.{leaf}", tensor)
    taken = {name for name, _ in named.values()}
    return named | {k: (k, v) for k, v in state.items() if k not in taken}


def _layers(state: Mapping[str, Tensor]) -> dict[str, set[str]]:
    """Layer -> the names of its tensors, in the order of the table."""
    found: dict[str, set[str]] = {}
    for name in state:
        layer, _, leaf = name.rpartition(".")
        found.setdefault(layer, set()).add(leaf)
    return found


def _rank(layer: str) -> list[tuple[int, str]]:
    """What sorts layers by their use: numbers as numbers, EfficientNet's names by `ORDER`."""
    return [
        (int(part), "")
        if part.isdigit()
        else (ORDER.index(part), "")
        if part in ORDER
        else (0, part)
        for part in layer.split(".")
    ]
