"""From 2D to 3D, weights included: every rule that the field has, for any network of known layers.

A kernel W of a 2D layer becomes a deeper one, the slices of which are

- ``center``: W in the middle, zeros elsewhere (as a start, the network sees slice by slice),
- ``first``: W in the first slice, zeros elsewhere (the zero initialisation of the talk "from 2D to
  3D", t = 1: what is seen moves on by a slice in each layer),
- ``average``: W / T in each of T slices (I3D, Carreira and Zisserman 2017, arXiv:1705.07750),
- ``scale``: a_t W with weights a_t that are positive and sum to 1 (triangular, Gaussian, given),
- ``acs``: a third of the kernels each in the axial, coronal and sagittal plane (arXiv:1911.10477).

On an input that does not change along the depth, all but ``acs`` give the 2D network's output in
every slice, at the ends too, since the depth is padded by its ends; `networks.proof` measures it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import log2
from typing import Any, Literal, cast

import torch
from timm.layers.activations import Sigmoid as TimmSigmoid
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.drop import DropPath
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.squeeze_excite import EffectiveSEModule, SEModule
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn

from condyle.errors import ConfigError, UnknownName
from condyle.networks.inflation.layers import (
    ACSConv3d,
    DeepAtrousConv3d,
    DeepConv3d,
    NormAct3d,
    Squeeze3d,
)
from condyle.networks.layers import AtrousConv2d

__all__ = ["STRATEGIES", "Strategy", "inflate", "slice_weights"]

Strategy = Literal["center", "first", "average", "scale", "acs"]
Alphas = Literal["triangular", "gaussian"] | Sequence[float]

STRATEGIES: dict[Strategy, Callable[[int, Alphas], Tensor]] = {
    "center": lambda depth, _: torch.eye(depth, dtype=torch.float64)[depth // 2],
    "first": lambda depth, _: torch.eye(depth, dtype=torch.float64)[0],
    "average": lambda depth, _: torch.full((depth,), 1 / depth, dtype=torch.float64),
    "scale": lambda depth, alphas: _alphas(depth, alphas),
    "acs": lambda depth, _: torch.ones(depth, dtype=torch.float64),
}
"""Strategy -> the weights of the slices of a kernel, which sum to 1; acs has kernels of its own."""


def slice_weights(strategy: Strategy, depth: int, alphas: Alphas = "triangular") -> Tensor:
    """The weights (depth,) of the slices of an inflated kernel; they sum to 1.

    Examples
    --------
    >>> slice_weights("scale", 3).tolist()
    [0.25, 0.5, 0.25]
    """
    if strategy not in STRATEGIES:
        raise UnknownName("inflation", strategy, STRATEGIES)
    if depth < 1 or depth % 2 == 0:
        raise ConfigError(f"a kernel's depth must be odd, 1, 3, 5, ..., not {depth}")
    return STRATEGIES[strategy](depth, alphas)


def _alphas(depth: int, alphas: Alphas) -> Tensor:
    """Positive weights that sum to 1, from their name or as given."""
    away = torch.arange(depth, dtype=torch.float64) - depth // 2
    if alphas == "triangular":
        found = 1 + depth // 2 - away.abs()
    elif alphas == "gaussian":
        found = torch.exp(-0.5 * (away / max(depth / 4, 0.25)) ** 2)
    elif isinstance(alphas, str):
        raise UnknownName("alphas", alphas, ["triangular", "gaussian", "or numbers"])
    else:
        found = torch.tensor([float(a) for a in alphas], dtype=torch.float64)
        if len(found) != depth or not bool((found > 0).all()) or abs(float(found.sum()) - 1) > 1e-6:
            raise ConfigError(
                f"alphas must be {depth} positive numbers that sum to 1, got {list(alphas)}"
            )
    return found / found.sum()


@dataclass(frozen=True)
class Rule:
    """How one layer is inflated.

    Parameters
    ----------
    strategy, alphas : of its kernel.
    depth : of its kernel; 0 as deep as it is wide.
    at : the spatial axis, 0 to 2, at which the depth is put in.
    strided : whether it halves (or doubles) the depth where it does so in the plane.
    """

    strategy: Strategy
    alphas: Alphas
    depth: int
    at: int
    strided: bool

    def joined(self, plane: Sequence[int], depth: int) -> tuple[int, int, int]:
        """The sizes in the plane with one for the depth put in its place."""
        sizes = [*plane]
        sizes.insert(self.at, depth)
        return sizes[0], sizes[1], sizes[2]

    @property
    def axes(self) -> tuple[int, ...]:
        """The tensor axes that pooling over everything pools."""
        return (2, 3, 4) if self.strided else tuple(a for a in (2, 3, 4) if a != 2 + self.at)


def inflate(
    module: nn.Module,
    strategy: Strategy = "average",
    depth: int | Sequence[int] = 3,
    axis: int = -1,
    *,
    alphas: Alphas = "triangular",
    keep_depth: int | Literal["all"] = 0,
    example: Tensor | None = None,
) -> nn.Module:
    """A 3D network with a 2D network's weights; the 2D network stays as it is.

    Parameters
    ----------
    module : a network of layers that the table below knows, an encoder or a part of one.
    strategy, alphas : what the slices of a kernel are; see the top of this module.
    depth : of the kernels that are wider than one pixel: odd; 0 makes each as deep as it is wide.
        Several numbers: one a level, the first for the full plane, the next for half of it, ...
    axis : of the tensors (B, C, i, j, k) at which the depth lies: 2, 3, 4, or from the end.
    keep_depth : how many of the first halvings of the plane leave the depth as it is, for scans
        with thick slices; 'all' never halves it. Pools and squeezes reach across slices only
        where the depth is halved: with 'center' and 'all' each slice is seen alone.
    example : an input of the 2D network, which is run once to see at which level each layer works;
        needed only for levels, and made up (64 x 64 pixels) where it is not given.

    Raises
    ------
    ConfigError
        If a layer is of a type that the table does not know: it is named. A subclass counts as
        unknown, since it may do more than its parent.

    Examples
    --------
    >>> flat = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    >>> inflate(flat)(torch.zeros(1, 1, 8, 8, 5)).shape
    torch.Size([1, 4, 8, 8, 5])
    """
    at = axis - 2 if axis >= 0 else axis + 3
    if at not in (0, 1, 2):
        raise ConfigError(f"the depth's axis must be 2, 3, 4, -1, -2 or -3, not {axis}")
    slice_weights(strategy, 1, (1.0,))
    depths = [depth] if isinstance(depth, int) else list(depth)
    for number in depths:
        if number:
            slice_weights(strategy, number, alphas if number > 1 else (1.0,))
    by_level = len(depths) > 1 or keep_depth not in (0, "all")
    levels = _levels(module, example) if by_level else {}

    def rule(name: str, enlarges: bool) -> Rule:
        level = max(levels.get(name, 0) - enlarges, 0)
        strided = keep_depth != "all" and level >= keep_depth
        return Rule(strategy, alphas, depths[min(level, len(depths) - 1)], at, strided)

    return _inflated(copy.deepcopy(module), "", rule)


def _inflated(module: nn.Module, name: str, rule: Callable[[str, bool], Rule]) -> nn.Module:
    """A module in 3D: from the table, or (what only holds others) with its parts replaced."""
    kind = type(module)
    if kind in FREE or (isinstance(module, nn.Sequential | nn.ModuleList) and not len(module)):
        return module
    if kind in LAYERS:
        new = LAYERS[kind](module, rule(name, kind in ENLARGING))
        return new.train(module.training)
    if not list(module.children()) or list(module.parameters(recurse=False)):
        raise ConfigError(
            f"layer {name or 'itself'} is a {kind.__module__}.{kind.__qualname__}, and how to "
            "inflate that is not known: replace it by one of "
            f"{', '.join(sorted(k.__name__ for k in LAYERS))}"
        )
    for child_name, child in list(module.named_children()):
        path = f"{name}.{child_name}" if name else child_name
        setattr(module, child_name, _inflated(child, path, rule))
    if getattr(module, "spatial", None) == 2:
        vars(module)["spatial"] = 3  # the mark of our own modules
    return module


def _levels(module: nn.Module, example: Tensor | None) -> dict[str, int]:
    """At which level each layer works: how often its input is halved against the example."""
    if example is None:
        first = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
        example = torch.zeros(1, first.in_channels, 64, 64, dtype=first.weight.dtype)
    levels: dict[str, int] = {}

    def note(name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim == 4:
            level = round(log2(example.shape[-1] / inputs[0].shape[-1]))
            levels.setdefault(name, max(level, 0))

    hooks = [m.register_forward_pre_hook(partial(note, n)) for n, m in module.named_modules()]
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(example)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return levels


def _conv(layer: Any, rule: Rule) -> nn.Module:
    same = type(layer) is Conv2dSame
    if isinstance(layer.padding, str):
        raise ConfigError(f"a convolution padded by {layer.padding!r} cannot be inflated: {layer}")
    stride = layer.stride[0] if rule.strided else 1
    dilation = layer.dilation[0] if rule.strided else 1
    wide = max(layer.kernel_size)
    if rule.strategy == "acs" and wide > 1:
        return _acs(layer, rule, stride, same)
    depth = 1 if wide == 1 else rule.depth or wide
    alphas = (1.0,) if depth == 1 else rule.alphas
    kernel = rule.joined(layer.kernel_size, depth)
    if layer.padding_mode != "zeros":
        raise ConfigError(f"a convolution padded by {layer.padding_mode} cannot be inflated")
    atrous = isinstance(layer, AtrousConv2d)
    make = partial(DeepAtrousConv3d, widest=layer.widest) if atrous else DeepConv3d
    new = make(
        layer.in_channels, layer.out_channels, kernel, rule.joined(layer.stride, stride),
        rule.joined(layer.padding, 0), rule.joined(layer.dilation, dilation), layer.groups,
        layer.bias is not None, at=rule.at, same=same,
    )  # fmt: skip
    weights = slice_weights(rule.strategy, depth, alphas)
    return _filled(new, layer, _deepened(layer.weight, weights, rule))


def _acs(layer: Any, rule: Rule, stride: int, same: bool) -> nn.Module:
    k, k2 = layer.kernel_size
    padding: Any = layer.padding
    kept = same or 2 * padding[0] == layer.dilation[0] * (k - 1)
    if k != k2 or not kept or layer.padding_mode != "zeros":
        raise ConfigError(f"acs needs square kernels and zeros that keep the size, not {layer}")
    return ACSConv3d(
        layer.weight.detach(),
        None if layer.bias is None else layer.bias.detach(),
        rule.joined(layer.stride, stride),
        rule.joined(padding, padding[0]),
        rule.joined(layer.dilation, layer.dilation[0]),
        layer.groups,
        first=rule.at,
        same=same,
    )


def _transposed(layer: Any, rule: Rule) -> nn.Module:
    """A slice comes from one slice: the kernel is as deep as the step, W in each of its slices."""
    step = layer.stride[0] if rule.strided else 1
    new = nn.ConvTranspose3d(
        layer.in_channels, layer.out_channels, rule.joined(layer.kernel_size, step),
        rule.joined(layer.stride, step), rule.joined(layer.padding, 0),
        rule.joined(layer.output_padding, 0), layer.groups, layer.bias is not None,
        rule.joined(layer.dilation, 1),
    )  # fmt: skip
    return _filled(new, layer, _deepened(layer.weight, torch.ones(step), rule))


def _deepened(weight: Tensor, slices: Tensor, rule: Rule) -> Tensor:
    """The kernel (.., .., i, j) with a depth, each slice weighted."""
    shape = [1] * 5
    shape[2 + rule.at] = len(slices)
    return weight.detach().unsqueeze(2 + rule.at) * slices.to(weight).view(shape)


def _filled(new: nn.Module, old: nn.Module, weight: Tensor) -> nn.Module:
    """The new layer with this weight and the old layer's bias, on its device and in its type."""
    new = new.to(weight)
    state = {**old.state_dict(), "weight": weight}
    new.load_state_dict(state)
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(cast(nn.Parameter, getattr(old, name)).requires_grad)
    return new


def _norm(kind: type[nn.Module], layer: Any, _: Rule) -> nn.Module:
    new = kind(
        layer.num_features, eps=layer.eps, momentum=layer.momentum, affine=layer.affine,
        track_running_stats=layer.track_running_stats,
    )  # fmt: skip
    if isinstance(new, NormAct3d):
        new.drop, new.act = layer.drop, layer.act
    if not list(layer.state_dict()):
        return new
    new = new.to(next(iter(layer.state_dict().values())).device)
    if layer.affine:
        new = new.to(layer.weight.dtype)
        for name in ("weight", "bias"):
            getattr(new, name).requires_grad_(getattr(layer, name).requires_grad)
    new.load_state_dict(layer.state_dict())
    return new


def _max_pool(layer: nn.MaxPool2d, rule: Rule) -> nn.Module:
    given: tuple[Any, ...] = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    sizes = [_pair(value) for value in given]
    deep = [pair[0] for pair in sizes] if rule.strided and sizes[1][0] > 1 else [1, 1, 0, 1]
    kernel, stride, padding, dilation = map(rule.joined, sizes, deep)
    return nn.MaxPool3d(kernel, stride, padding, dilation, ceil_mode=layer.ceil_mode)


def _average_pool(layer: nn.AvgPool2d, rule: Rule) -> nn.Module:
    kernel, stride, padding = map(_pair, (layer.kernel_size, layer.stride, layer.padding))
    step = stride[0] if rule.strided else 1
    return nn.AvgPool3d(
        rule.joined(kernel, step),
        rule.joined(stride, step),
        rule.joined(padding, 0),
        layer.ceil_mode,
        layer.count_include_pad,
        layer.divisor_override and layer.divisor_override * step,
    )


def _adaptive_pool(kind: type[nn.Module], layer: Any, rule: Rule) -> nn.Module:
    sides = _pair(layer.output_size)
    size: list[int | None] = [*sides]
    size.insert(rule.at, 1 if rule.strided and sides == (1, 1) else None)
    return kind(tuple(size))


def _squeeze(layer: nn.Module, rule: Rule) -> nn.Module:
    if getattr(layer, "add_maxpool", False):
        raise ConfigError("squeeze-and-excitation with max pooling cannot be inflated")
    inner = {
        n: _inflated(child, n, lambda _name, _enlarges: rule) for n, child in layer.named_children()
    }
    return Squeeze3d(inner, rule.axes)


def _upsample(layer: nn.Upsample, rule: Rule) -> nn.Module:
    if layer.scale_factor is None:
        raise ConfigError("an Upsample to a fixed size cannot be inflated: give it a scale_factor")
    scale = _pair(layer.scale_factor)
    mode = {"bilinear": "trilinear"}.get(layer.mode, layer.mode)
    if mode == "bicubic":
        raise ConfigError("a bicubic Upsample cannot be inflated: use bilinear")
    deep = (scale[0] if rule.strided else 1,)
    factors = tuple(float(s) for s in (*scale[: rule.at], *deep, *scale[rule.at :]))
    return nn.Upsample(scale_factor=factors, mode=mode, align_corners=layer.align_corners)


def _dropout(layer: nn.Dropout2d, _: Rule) -> nn.Module:
    return nn.Dropout3d(layer.p, layer.inplace)


def _pair(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


LAYERS: dict[type[nn.Module], Callable[[Any, Rule], nn.Module]] = {
    nn.Conv2d: _conv,
    Conv2dSame: _conv,
    AtrousConv2d: _conv,
    nn.ConvTranspose2d: _transposed,
    nn.BatchNorm2d: partial(_norm, nn.BatchNorm3d),
    nn.InstanceNorm2d: partial(_norm, nn.InstanceNorm3d),
    BatchNormAct2d: partial(_norm, NormAct3d),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: partial(_adaptive_pool, nn.AdaptiveAvgPool3d),
    nn.AdaptiveMaxPool2d: partial(_adaptive_pool, nn.AdaptiveMaxPool3d),
    nn.Upsample: _upsample,
    nn.Dropout2d: _dropout,
    SqueezeExcite: _squeeze,
    SEModule: _squeeze,
    EffectiveSEModule: _squeeze,
}
"""2D layer, of exactly this type -> what makes it 3D."""

ENLARGING = {nn.ConvTranspose2d, nn.Upsample}
"""Layers that lead from a level to the finer one before it."""

FREE = {
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Softplus, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Identity,
    nn.Dropout, nn.GroupNorm, DropPath, TimmSigmoid,
}  # fmt: skip
"""Layers that are the same for slices and volumes."""
