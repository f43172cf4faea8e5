"""What the last convolutions of an inflated encoder make of a volume, in bounded memory.

The encoder is cut in two. Its first part, which works near full size and sees a few voxels around
each, goes over slabs with as much of their neighbours as it sees, so that its output is that for
the whole; its second part, at an eighth of the size, sees the whole at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from condyle.errors import ConfigError, MissingExtra, UnknownName
from condyle.networks.device import moved, pick_device
from condyle.networks.encoders import TimmEncoder, pretrained_encoder, weights_of
from condyle.networks.inflation.inflate import STRATEGIES, Strategy, inflate
from condyle.networks.inflation.layers import ACSConv3d, DeepConv3d, NormAct3d, Squeeze3d
from condyle.networks.inflation.separable import SeparableConv3d, separated
from condyle.networks.seeds import in_turn
from condyle.networks.weights.locate import Found, load_into, locate, read_state, source_of
from condyle.predict.runtimes.openvino import converted, library

__all__ = ["LAYERS", "FeatureMaps", "RuntimeName", "convolutions"]

RuntimeName = Literal["auto", "torch", "openvino"]

LAYERS = {"Fifth-Last": -5, "Third-Last": -3, "Last": -1}
"""Column -> which of the encoder's convolutions, in the order in which they compute."""

CUT = 8
"""Where the encoder is cut: at the first layer that is so many times smaller than the input."""
SLAB = 2**23
"""Voxels of the input that the first part sees at once, without what surrounds them."""

CONVOLUTIONS = (SeparableConv3d, DeepConv3d, ACSConv3d)


class Colours(nn.Module):
    """A grey volume of 0 to 1 in the colours that photographs were shown in."""

    def __init__(self, means: Sequence[float], deviations: Sequence[float]):
        super().__init__()
        shape = (1, len(means), 1, 1, 1)
        self.register_buffer("means", torch.tensor(means).view(shape))
        self.register_buffer("deviations", torch.tensor(deviations).view(shape))

    def forward(self, grey: Tensor) -> Tensor:
        """(B, 3, i, j, k) of (B, 1, i, j, k)."""
        return (grey - self.get_buffer("means")) / self.get_buffer("deviations")


LOCAL = (
    Colours, nn.BatchNorm3d, NormAct3d, nn.Identity, nn.Dropout, nn.Dropout3d,
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU,
)  # fmt: skip
"""Layers that see no neighbours."""


class Tapped(nn.Sequential):
    """Steps that give what some of the convolutions inside them made."""

    def __init__(self, steps: Sequence[nn.Module], taps: Sequence[nn.Module]):
        super().__init__(*steps)
        self.made: list[Any] = [None] * len(taps)
        for place, layer in enumerate(taps):
            layer.register_forward_hook(partial(self._keep, place))

    def _keep(self, place: int, _: nn.Module, __: Any, made: Tensor) -> None:
        self.made[place] = made

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, C, i, j, k), one a tap."""
        super().forward(input)
        return tuple(self.made)


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """An inflated encoder that looks at volumes.

    Parameters
    ----------
    names : column of `LAYERS` -> the layer's name in the timm model, and its channels.
    multiple : what the sides of a volume must be multiples of.
    first, last : the two parts, compiled; there may be no first.
    reach : voxels that the first part sees beyond each, a multiple of its `step`.
    step : by how much the first part makes a volume smaller.
    computed_by : the runtime and its numbers.
    found : the weights' file; None for random numbers.
    """

    encoder: str
    inflation: Strategy
    names: dict[str, tuple[str, int]]
    multiple: int
    first: Callable[[Tensor], list[Tensor]] | None
    last: Callable[[Tensor], list[Tensor]]
    reach: int
    step: int
    computed_by: str
    found: Found | None

    @classmethod
    def of(
        cls,
        encoder: str = "densenet121",
        inflation: Strategy = "average",
        weights: str = "imagenet",
        device: str = "auto",
        runtime: RuntimeName = "auto",
    ) -> FeatureMaps:
        """The encoder with its weights, in 3D, ready to look.

        Parameters
        ----------
        encoder : a name of `networks.encoders`, or of timm.
        inflation : average, center, scale or acs; kernels of three slices, along the body.
        weights : imagenet, none, a file, or the folder of a training.
        runtime : auto is OpenVINO on a CPU, and PyTorch elsewhere; always in float32, since
            bfloat16 moves cosines by 0.02 (EfficientNet-Lite0 on a phantom knee).

        Raises
        ------
        UnknownName, WeightsError
            For a name that is in no table, and for weights that are missing.
        """
        if inflation not in STRATEGIES:
            raise UnknownName("inflation", inflation, STRATEGIES)
        flat, found = _with_weights(encoder, weights)
        deep = separated(inflate(flat, inflation)).eval().requires_grad_(False)
        multiple = max(flat.reductions)
        order = convolutions(deep, multiple)
        if len(order) < -min(LAYERS.values()):
            raise ConfigError(f"{encoder} has {len(order)} convolutions: five are needed")
        layers = dict(deep.named_modules())
        taps = [layers[order[n]] for n in LAYERS.values()]
        colours = Colours(*source_of(encoder).colours)
        steps = [colours, *_in_turn(deep, taps, multiple)]
        cut, step, reach = _cut(steps, taps, multiple)
        where = pick_device(device)
        make, by = _runtime(runtime, where)
        x = torch.rand(1, 1, *[multiple] * 3, generator=torch.Generator().manual_seed(0))
        first = make(nn.Sequential(*steps[:cut]), x) if cut else None
        x = nn.Sequential(*steps[:cut])(x.to(where)).cpu() if cut else x
        last = make(Tapped(steps[cut:], taps), x)
        names = {
            column: (order[n].removeprefix("model."), _channels(layers[order[n]]))
            for column, n in LAYERS.items()
        }
        return cls(encoder, inflation, names, multiple, first, last, reach, step, by, found)

    def __call__(self, grey: NDArray[np.float32], slab: int = SLAB) -> dict[str, NDArray[Any]]:
        """Column -> the map (C, i, j, k) of that layer.

        Parameters
        ----------
        grey : (i, j, k), 0 to 1, its sides multiples of `multiple`.
        slab : voxels that the first part sees at once.
        """
        x = torch.from_numpy(np.ascontiguousarray(grey, np.float32))[None, None]
        if self.first is not None:
            x = self._in_slabs(x, self.first, slab)
        made = self.last(x)
        return {column: m[0].numpy() for column, m in zip(self.names, made, strict=True)}

    def _in_slabs(self, x: Tensor, first: Callable[[Tensor], list[Tensor]], slab: int) -> Tensor:
        """What the first part makes of the whole, slab after slab along the longest side."""
        axis = max((2, 3, 4), key=lambda a: x.shape[a])
        side = x.shape[axis]
        thick = max(slab * side // x.numel() // self.step, 1) * self.step
        parts: list[Tensor] = []
        for start in range(0, side, thick):
            stop = min(start + thick, side)
            low, high = max(start - self.reach, 0), min(stop + self.reach, side)
            made = first(x.narrow(axis, low, high - low))[0]
            inside = (stop - start) // self.step
            parts.append(made.narrow(axis, (start - low) // self.step, inside))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis)


def convolutions(encoder: nn.Module, side: int = 32) -> list[str]:
    """The names of an inflated encoder's convolutions, in the order in which they compute.

    Those that only weigh channels (squeeze and excitation) make no maps and are left out.
    """
    within = tuple(
        f"{name}." for name, m in encoder.named_modules()
        if isinstance(m, Squeeze3d | SeparableConv3d)
    )  # fmt: skip
    named = {
        name: layer for name, layer in encoder.named_modules()
        if isinstance(layer, CONVOLUTIONS) and not name.startswith(within)
    }  # fmt: skip
    order: list[str] = []

    def note(name: str, *_: Any) -> None:
        order.append(name)

    hooks = [m.register_forward_hook(partial(note, name)) for name, m in named.items()]
    try:
        with torch.inference_mode():
            encoder(torch.zeros(1, 3, side, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return order


def _with_weights(encoder: str, weights: str) -> tuple[TimmEncoder, Found | None]:
    """The 2D encoder with its weights; the same random numbers each time for 'none'."""
    with in_turn(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flat = pretrained_encoder(encoder)
    if weights == "none":
        return flat.eval(), None
    found = locate(weights_of(encoder), weights)
    load_into(flat, read_state(found.path), Path(found.path))
    return flat.eval(), found


def _in_turn(encoder: nn.Module, taps: Sequence[nn.Module], side: int) -> list[nn.Module]:
    """The parts of an encoder, such that one after the other they do what it does; or itself."""
    inner = getattr(encoder, "model", encoder)
    steps: list[nn.Module] = []
    for child in cast(nn.Module, inner).children():
        steps += list(child.children()) if type(child) is nn.Sequential else [child]
    x = torch.rand(1, 3, side, side, side, generator=torch.Generator().manual_seed(0))
    made: list[list[Tensor]] = []
    for way in ([encoder], steps):
        kept: list[Tensor] = []
        hooks = [m.register_forward_hook(lambda _, __, y, kept=kept: kept.append(y)) for m in taps]
        try:
            with torch.inference_mode():
                nn.Sequential(*way)(x)
        except (RuntimeError, TypeError):  # they do not fit one on the other
            return [encoder]
        finally:
            for hook in hooks:
                hook.remove()
        made.append(kept)
    same = len(made[1]) == len(taps) and all(map(torch.equal, *made))
    return steps if same else [encoder]


def _cut(steps: Sequence[nn.Module], taps: Sequence[nn.Module], side: int) -> tuple[int, int, int]:
    """How many steps go over slabs, by how much they shrink the input, and how far they see.

    It is rather too far than not far enough: the reaches of branches are added.
    """
    x = torch.zeros(1, 1, *[side] * 3)
    reach = 0

    def note(layer: nn.Module, given: tuple[Tensor, ...], _: Any) -> None:
        nonlocal reach
        reach += (_reach(layer) or 0) * (side // given[0].shape[-1])

    for number, step in enumerate(steps):
        layers = _layers(step)
        if set(taps) & set(layers) or None in map(_reach, layers):
            break
        hooks = [layer.register_forward_hook(note) for layer in layers if _reach(layer)]
        with torch.inference_mode():
            x = step(x)
        for hook in hooks:
            hook.remove()
        smaller = side // x.shape[-1]
        if smaller >= CUT:
            return number + 1, smaller, -(-reach // smaller) * smaller
    return 0, 1, 0


def _layers(module: nn.Module) -> list[nn.Module]:
    """The layers of a module that compute for themselves."""
    children = list(module.children())
    if isinstance(module, SeparableConv3d | Squeeze3d | NormAct3d) or not children:
        return [module]
    return [layer for child in children for layer in _layers(child)]


def _reach(layer: nn.Module) -> int | None:
    """How many places a layer sees to each side; None where it may see all of them."""
    if isinstance(layer, SeparableConv3d):
        return max(layer.gap * (len(layer.along) // 2), _reach(layer.flat) or 0)
    if isinstance(layer, ACSConv3d):
        return max(layer.dilation) * (layer.weight.shape[-1] // 2)
    if isinstance(layer, nn.Conv3d):
        return max(d * (k // 2) for k, d in zip(layer.kernel_size, layer.dilation, strict=True))
    if isinstance(layer, nn.MaxPool3d | nn.AvgPool3d):
        return int(np.max(layer.kernel_size)) // 2
    return 0 if isinstance(layer, LOCAL) else None


def _channels(layer: nn.Module) -> int:
    if isinstance(layer, SeparableConv3d):
        layer = layer.flat
    return cast(Tensor, layer.weight).shape[0]


Computed = Callable[[Tensor], list[Tensor]]


def _runtime(name: str, where: torch.device) -> tuple[Callable[[nn.Module, Tensor], Computed], str]:
    """What makes a part of an encoder ready to compute, and in which numbers."""
    if name not in ("auto", "torch", "openvino"):
        raise UnknownName("runtime", name, ["auto", "torch", "openvino"])
    if name == "torch" or where.type != "cpu" or (name == "auto" and library() is None):
        return partial(_in_torch, where), "torch fp32"
    if library() is None:
        raise MissingExtra("OpenVINO is not installed: pip install openvino")
    return _in_openvino, "openvino fp32"


def _in_torch(where: torch.device, part: nn.Module, _: Tensor) -> Computed:
    ready = moved(part, where)

    def compute(x: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            made = ready(x.to(where, memory_format=torch.channels_last_3d))
        return [m.float().cpu() for m in (made if isinstance(made, tuple) else (made,))]

    return compute


def _in_openvino(part: nn.Module, example: Tensor) -> Computed:
    model = converted(part, example)
    model.reshape([1, example.shape[1], -1, -1, -1])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # other work would sit on the same cores
    }
    ready = library().Core().compile_model(model, "CPU", settings)

    def compute(x: Tensor) -> list[Tensor]:
        made = ready(x.contiguous().numpy(), share_inputs=True)
        return [torch.from_numpy(np.array(made[n])) for n in range(len(ready.outputs))]

    return compute
