"""nnU-Net's networks as its plans describe them: any depth, widths, kernels and strides."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from condyle.errors import WeightsError
from condyle.networks.factory import PredictionNetwork
from condyle.networks.layers import CONV, NORM, runs_on_one_place

__all__ = ["NnunetNetwork", "architecture_of", "read_checkpoint"]

CLASSES = ("PlainConvUNet", "ResidualEncoderUNet")
"""Of dynamic-network-architectures."""

LAYERS: dict[str, type[nn.Module]] = {
    layer.__name__: layer
    for layer in (
        nn.Conv2d, nn.Conv3d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.BatchNorm2d, nn.BatchNorm3d,
        nn.LeakyReLU, nn.ReLU, nn.GELU, nn.Dropout2d, nn.Dropout3d,
    )
}  # fmt: skip
"""What a plan may name; no other name in it is looked up."""

NUMBERS: list[Any] = [
    cast(Any, np)._core.multiarray.scalar,
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]
"""What nnU-Net's checkpoints hold beside tensors: a few numbers of numpy."""


class NnunetNetwork(PredictionNetwork):
    """A network as a plan of nnU-Net's describes it; its inputs have the axes in nnU-Net's order.

    Parameters
    ----------
    architecture : of the plan: network_class_name and arch_kwargs.
    in_channels : of the scan.
    classes : background and structures together.

    Raises
    ------
    WeightsError
        If it is neither a plain nor a residual U-Net of ordinary layers.
    """

    def __init__(self, architecture: Mapping[str, Any], in_channels: int, classes: int):
        super().__init__()
        try:
            self._build(architecture, in_channels, classes)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise WeightsError(f"the plan does not describe a network ({error})") from error

    def _build(self, architecture: Mapping[str, Any], in_channels: int, classes: int) -> None:
        from dynamic_network_architectures.architectures import unet

        kind = str(architecture["network_class_name"]).rpartition(".")[2]
        if kind not in CLASSES:
            raise WeightsError(
                f"networks of the kind {kind} are not read: {', '.join(CLASSES)} are"
            )
        rules: dict[str, Any] = {**architecture["arch_kwargs"], "deep_supervision": False}
        for key in architecture.get("_kw_requires_import", ()):
            rules[key] = _layer(rules[key])
        self.spatial = 3 if rules["conv_op"] is CONV[3] else 2
        make = cast(Callable[..., nn.Module], getattr(unet, kind))
        self.model = make(input_channels=in_channels, num_classes=classes, **rules)
        _name_once(self.model)
        strides = np.atleast_2d(
            np.array([np.broadcast_to(s, self.spatial) for s in rules["strides"]])
        )
        self.multiple = tuple(int(n) for n in strides.prod(axis=0))
        self.single = runs_on_one_place(self.model)
        self._sides = (in_channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, classes, ...), before softmax, of an input (B, channels, ...)."""
        return self.model(x)

    @property
    def channels(self) -> int:
        """Channels of the scans that it gets."""
        return self._sides[0]

    @property
    def classes(self) -> int:
        """Background and structures together."""
        return self._sides[1]

    def load(self, weights: Mapping[str, Tensor], path: Path) -> None:
        """Take a checkpoint's tensors; none may be missing, but those of deep supervision."""
        own = self.model.state_dict()
        strange = [name for name in weights if name not in own and not TWICE.search(name)]
        if missing := [name for name in own if name not in weights]:
            raise WeightsError(f"{path} does not fit its plans: it has no {missing[0]}")
        for name, tensor in own.items():
            if tensor.shape != weights[name].shape:
                strange.append(name)
        if strange:
            raise WeightsError(
                f"{path} does not fit its plans: {strange[0]} belongs to another network"
            )
        self.model.load_state_dict({name: weights[name] for name in own})


TWICE = re.compile(r"^decoder\.encoder\.|\.(conv|norm)\.(weight|bias|running_\w+|num_batches\w+)$")
"""Second names of tensors in nnU-Net's checkpoints."""


def _name_once(model: nn.Module) -> None:
    """Take away the second names of layers, under which tensors would be stored twice."""
    from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU

    del cast(Any, model).decoder.encoder
    for block in model.modules():
        if isinstance(block, ConvDropoutNormReLU):
            for name in {part for part, _ in block.named_children()} - {"all_modules"}:
                delattr(block, name)


def architecture_of(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture of a plan's configuration; of older plans put together as nnU-Net does."""
    if "architecture" in configuration:
        return configuration["architecture"]
    kind, stages = configuration["UNet_class_name"], len(configuration["n_conv_per_stage_encoder"])
    spatial = 3 if len(configuration["patch_size"]) == 3 else 2
    widest = configuration["unet_max_num_features"]
    widths = [min(configuration["UNet_base_num_features"] * 2**n, widest) for n in range(stages)]
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    return {
        "network_class_name": kind,
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": widths,
            "conv_op": CONV[spatial].__name__,
            "kernel_sizes": configuration["conv_kernel_sizes"],
            "strides": configuration["pool_op_kernel_sizes"],
            blocks: configuration["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": NORM["instance", spatial].__name__,
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _layer(name: str | None) -> type[nn.Module] | None:
    if name is None:
        return None
    short = name.rpartition(".")[2]
    if short not in LAYERS:
        raise WeightsError(f"a plan with layers of {name} is not read: {', '.join(LAYERS)} are")
    return LAYERS[short]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What nnU-Net's checkpoint holds: network_weights, trainer_name, init_args, ...

    Raises
    ------
    WeightsError
        If it is damaged, or holds more than tensors and numbers, which could run any program.
    """
    try:
        with torch.serialization.safe_globals(NUMBERS):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
        assert "network_weights" in content
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is not there") from error
    except Exception as error:  # a damaged file fails in the reader's own ways
        raise WeightsError(
            f"{path} is not a checkpoint of nnU-Net that can be read safely "
            f"({type(error).__name__})"
        ) from error
    return cast(dict[str, Any], content)
