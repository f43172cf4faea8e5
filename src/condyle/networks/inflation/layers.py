"""The layers of an inflated network that torch has no class for.

Each keeps the names and shapes of the parameters that its 2D original has, but for the depth of
its kernels; so a state dict tells which tensor came from where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from condyle.networks.layers import fitting_rate

__all__ = ["ACSConv3d", "DeepAtrousConv3d", "DeepConv3d", "NormAct3d", "Squeeze3d"]


class NormAct3d(nn.BatchNorm3d):
    """Batch norm, dropout and activation in one, as timm's BatchNormAct2d for slices."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """The normed and activated features, of the input's shape."""
        return self.act(self.drop(super().forward(input)))


class DeepConv3d(nn.Conv3d):
    """A convolution that pads the plane by zeros, as the 2D layer did, and the depth by its ends.

    So a scan of few slices keeps the strength of features that the weights were trained on: zeros
    beyond the ends would take a third of it in each layer.

    Parameters
    ----------
    at : the spatial axis, 0 to 2, of the depth.
    same : pad the plane as TensorFlow does, by what the input's size needs.
    """

    def __init__(self, *settings: Any, at: int = 2, same: bool = False, **more: Any):
        super().__init__(*settings, **more)
        self.at, self.same = at, same

    def forward(self, input: Tensor) -> Tensor:
        """Features of ceil(size / stride) slices."""
        if self.kernel_size[self.at] > 1:
            reach = self.dilation[self.at] * (self.kernel_size[self.at] // 2)
            input = _with_ends(input, self.at, reach)
        if self.same:
            input = _padded_same(input, self.kernel_size, self.stride, self.dilation, self.at)
        return super().forward(input)


class DeepAtrousConv3d(DeepConv3d):
    """An `AtrousConv2d` with a depth: its holes shrink where the plane is small.

    Parameters
    ----------
    widest : the largest of the rates side by side.
    """

    def __init__(self, *settings: Any, widest: int, **more: Any):
        super().__init__(*settings, **more)
        self.widest = widest

    def forward(self, input: Tensor) -> Tensor:
        """Features of the input's size."""
        nominal = max(self.dilation)
        plane = [side for axis, side in enumerate(input.shape[2:]) if axis != self.at]
        rate = fitting_rate(nominal, self.widest, plane)
        dilation = tuple(rate if step == nominal else step for step in self.dilation)
        reach = dilation[self.at] * (self.kernel_size[self.at] // 2)
        return functional.conv3d(
            _with_ends(input, self.at, reach) if reach else input,
            self.weight,
            self.bias,
            self.stride,
            tuple(0 if axis == self.at else rate for axis in range(3)),
            dilation,
            self.groups,
        )


class Squeeze3d(nn.Module):
    """Squeeze and excitation (Hu et al. 2018, arXiv:1709.01507) over a volume or slice by slice.

    Parameters
    ----------
    layers : from the squeezed features to the gate, with the names they had in 2D.
    axes : the tensor axes that are averaged.
    """

    def __init__(self, layers: dict[str, nn.Module], axes: Sequence[int]):
        super().__init__()
        self.axes = tuple(axes)
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """The features, each channel scaled by its gate."""
        gate = x.mean(self.axes, keepdim=True)
        for layer in self.children():
            gate = layer(gate)
        return x * gate


class ACSConv3d(nn.Module):
    """Axial, coronal and sagittal convolutions by the kernels of one 2D layer.

    A third of the output channels each looks at one pair of axes (Yang et al. 2021,
    arXiv:1911.10477). The weights keep their 2D shape: nothing is added, and nothing is repeated.

    Parameters
    ----------
    weight, bias : (out, in / groups, k, k) and (out) of the 2D layer.
    stride, padding, dilation : along the three tensor axes.
    groups : of the 2D layer.
    first : the spatial axis, 0 to 2, that the first third does not see: the depth.
    same : pad as TensorFlow pads.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int, int],
        padding: tuple[int, int, int],
        dilation: tuple[int, int, int],
        groups: int = 1,
        first: int = 2,
        same: bool = False,
    ):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())
        self.bias = None if bias is None else nn.Parameter(bias.clone())
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups, self.same = groups, same
        self.unseen = (first, *(axis for axis in range(3) if axis != first))
        third, rest = divmod(weight.shape[0], 3)
        self.sizes = [third + (rest > 0), third + (rest > 1), third]

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, out, i, j, k)."""
        if self.same or self.groups > 1:
            kernel = self.kernel()
            padding = self.padding
            if self.same:
                size = cast(tuple[int, int, int], tuple(kernel.shape[2:]))
                x, padding = _padded_same(x, size, self.stride, self.dilation), (0, 0, 0)
            return functional.conv3d(
                x, kernel, self.bias, self.stride, padding, self.dilation, self.groups
            )
        parts = [
            functional.conv3d(
                x,
                part.unsqueeze(2 + axis),
                None,
                self.stride,
                tuple(0 if a == axis else p for a, p in enumerate(self.padding)),
                self.dilation,
            )
            for part, axis in zip(self.weight.split(self.sizes), self.unseen, strict=True)
            if part.shape[0]
        ]
        joined = torch.cat(parts, dim=1)
        return joined if self.bias is None else joined + self.bias.view(1, -1, 1, 1, 1)

    def kernel(self) -> Tensor:
        """The same layer as one kernel (out, in / groups, k, k, k), zero outside three planes."""
        middle = self.weight.shape[-1] // 2
        wide = self.weight.shape[-1]
        parts: list[Tensor] = []
        for part, axis in zip(self.weight.split(self.sizes), self.unseen, strict=True):
            pads = [0] * 6
            pads[2 * (2 - axis)], pads[2 * (2 - axis) + 1] = middle, wide - 1 - middle
            parts.append(functional.pad(part.unsqueeze(2 + axis), pads))
        return torch.cat(parts)

    def extra_repr(self) -> str:
        """The layer's settings, for printing."""
        outputs, inputs, wide, _ = self.weight.shape
        return f"{inputs * self.groups}, {outputs}, {wide}, stride={self.stride}"


def _padded_same(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    but: int | None = None,
) -> Tensor:
    """The tensor with zeros around it such that a convolution gives ceil(size / stride) a side.

    `but` is a spatial axis that stays as it is.
    """
    pads: list[int] = []
    for axis, (side, k, s, d) in enumerate(zip(x.shape[2:], kernel, stride, dilation, strict=True)):
        missing = 0 if axis == but else max((-(-side // s) - 1) * s + (k - 1) * d + 1 - side, 0)
        pads = [missing // 2, missing - missing // 2, *pads]
    return functional.pad(x, pads) if any(pads) else x


def _with_ends(x: Tensor, at: int, reach: int) -> Tensor:
    """The tensor with its end slices repeated as often as a kernel reaches past them."""
    axis = 2 + at
    shape = [-1] * 5
    shape[axis] = reach
    first = x.narrow(axis, 0, 1).expand(shape)
    last = x.narrow(axis, x.shape[axis] - 1, 1).expand(shape)
    return torch.cat([first, x, last], dim=axis)
