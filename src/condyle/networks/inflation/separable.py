"""Inflated networks that give the same output with a third of the work, for weights that stay.

A kernel inflated by `average`, `scale` or `center` is one plane times a number a slice. So its
convolution is that plane's, slice by slice, and a weighted sum of neighbouring slices; the two
commute, and the sum is taken where there are fewer numbers. What is trained on is no longer such
a product: this is for networks that only look.
"""

from __future__ import annotations

import copy
from functools import reduce

import torch
from torch import Tensor, nn

from condyle.networks.inflation.layers import DeepConv3d

__all__ = ["SeparableConv3d", "separated"]

EQUAL = 1e-5
"""How far a kernel may be from such a product, as a part of its largest value."""


def separated(module: nn.Module) -> nn.Module:
    """A copy with every kernel that is one plane times a number a slice split into these two.

    Other layers (`acs`, kernels of one slice, kernels that were trained) stay as they are.

    Examples
    --------
    >>> from condyle.networks.inflation.inflate import inflate
    >>> deep = inflate(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1)))
    >>> x = torch.randn(1, 1, 8, 8, 5)
    >>> torch.allclose(deep(x), separated(deep)(x), atol=1e-6)
    True
    """
    found = copy.deepcopy(module)
    if type(found) is DeepConv3d:
        return _split(found)
    for layer in list(found.modules()):
        for name, child in list(layer.named_children()):
            if type(child) is DeepConv3d:
                setattr(layer, name, _split(child))
    return found


def _split(layer: DeepConv3d) -> nn.Module:
    """The layer in two parts, or itself where its kernel is not a product."""
    slices = layer.weight.detach().movedim(2 + layer.at, 0)
    if len(slices) == 1:
        return layer
    plane = slices[int(slices.flatten(1).norm(dim=1).argmax())]
    size = (plane * plane).sum()
    if not size > 0:
        return layer
    along = [float((one * plane).sum() / size) for one in slices]
    apart = max(float((one - a * plane).abs().max()) for one, a in zip(slices, along, strict=True))
    if apart > EQUAL * float(plane.abs().max()):
        return layer
    return SeparableConv3d(layer, plane, along)


class SeparableConv3d(nn.Module):
    """A convolution of each slice, and a weighted sum of each slice and its neighbours.

    Beyond its ends the depth goes on as its end slices, as in `DeepConv3d`.

    Parameters
    ----------
    layer : what it stands for.
    plane : (out, in / groups, k, k), the kernel of a slice.
    along : the weights of the slices about each slice.
    """

    def __init__(self, layer: DeepConv3d, plane: Tensor, along: list[float]):
        super().__init__()
        self.at, self.step, self.gap = layer.at, layer.stride[layer.at], layer.dilation[layer.at]
        self.along = [round(weight, 6) for weight in along]
        self.first = self.step > 1 or layer.in_channels <= layer.out_channels
        size, stride = [*plane.shape[2:]], [*layer.stride]
        size.insert(self.at, 1)
        stride[self.at] = 1
        self.flat = DeepConv3d(
            layer.in_channels, layer.out_channels, size, stride, layer.padding, layer.dilation,
            layer.groups, layer.bias is not None, at=self.at, same=layer.same,
        )  # fmt: skip
        self.flat.to(plane)
        self.flat.weight.data = plane.unsqueeze(2 + self.at).clone()
        if layer.bias is not None and self.flat.bias is not None:
            self.flat.bias.data = layer.bias.data / (1 if self.first else sum(self.along))

    def forward(self, x: Tensor) -> Tensor:
        """Features of ceil(size / stride) slices."""
        return self.flat(self._summed(x)) if self.first else self._summed(self.flat(x))

    def _summed(self, x: Tensor) -> Tensor:
        """Each slice (every `step` of them) as the weighted sum of itself and its neighbours."""
        axis, reach = 2 + self.at, self.gap * (len(self.along) // 2)
        first, last = x.narrow(axis, 0, 1), x[self._slices(-1, None)]
        x = torch.cat([*[first] * reach, x, *[last] * reach], dim=axis)
        parts: list[Tensor] = []
        for n, weight in enumerate(self.along):
            if weight:
                part = x[self._slices(n * self.gap, n * self.gap - 2 * reach or None, self.step)]
                parts.append(part if weight == 1 else part * weight)
        return reduce(torch.add, parts)

    def _slices(self, start: int, stop: int | None, step: int = 1) -> tuple[slice, ...]:
        """What picks slices along the depth."""
        return (*[slice(None)] * (2 + self.at), slice(start, stop, step))
