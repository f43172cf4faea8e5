"""Float32 or bfloat16: which is taken here, and bfloat16 where the processor lacks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from condyle.errors import UnknownName

__all__ = [
    "PRECISION",
    "PRECISIONS",
    "Precision",
    "autocast",
    "bf16_pays",
    "has_bf16",
    "precision",
    "precision_of",
]

Precision = Literal["auto", "fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
PRECISION = "CONDYLE_PRECISION"
"""The environment variable that says which is taken, in this process and in those it starts."""


def precision() -> Precision:
    """What CONDYLE_PRECISION says; auto where it is not set.

    auto: bfloat16 is taken where the processor has it in hardware. fp32: nowhere. bf16: also where
    the processor lacks it, which then rounds to bfloat16: the labels and weights of a faster
    machine, but not its speed.

    Raises
    ------
    UnknownName
        For any other value.
    """
    asked = os.environ.get(PRECISION) or "auto"
    if asked not in PRECISIONS:
        raise UnknownName(PRECISION, asked, PRECISIONS)
    return asked


def bf16_pays(device: torch.device) -> bool:
    """Whether bfloat16 is taken to be faster than float32 on a device; see `precision`."""
    asked = precision()
    return has_bf16(device) if asked == "auto" else asked == "bf16"


def precision_of(device: torch.device) -> Literal["fp32", "bf16"]:
    """The precision that networks are trained in on a device: bf16 or fp32."""
    return "bf16" if bf16_pays(device) else "fp32"


def has_bf16(device: torch.device) -> bool:
    """Whether a device is fast in bfloat16: GPUs that have it, CPUs with AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        found = torch.backends.cpu.get_cpu_capability()
        return "AVX512" in found and bool(
            torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]  no public name
        )
    return False


@contextmanager
def autocast(device: torch.device) -> Generator[None]:
    """Networks compute in bfloat16 in here, as `torch.autocast` has it."""
    rounding = _Rounding(has_bf16(device)) if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16), rounding:
        yield


CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (
    torch.conv1d, torch.conv2d, torch.conv3d,
    torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d,
)  # fmt: skip


class _Rounding(TorchFunctionMode):
    """Convolutions of numbers rounded to bfloat16, summed in float32 and rounded again.

    That is how processors with AVX512-BF16 compute them. PyTorch's own convolutions in bfloat16
    give the same on the others, but take a hundred times as long there.

    Parameters
    ----------
    rarely : only those that PyTorch computes wrongly: in 2.14 the gradients of the weights of a 3D
        convolution hold what lay in memory before, where the first side of its input is shorter
        than its kernel (two voxels and a kernel of three, as at the deepest level of a U-Net).
    """

    def __init__(self, rarely: bool):
        super().__init__()
        self.rarely = rarely

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func not in CONVOLUTIONS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **given)
        if self.rarely and not (func is torch.conv3d and _is_short(*args, **given)):
            return func(*args, **given)
        with torch.autocast("cpu", enabled=False):
            rounded = {name: _rounded(value) for name, value in given.items()}
            return func(*map(_rounded, args), **rounded).to(torch.bfloat16)


def _is_short(
    input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> bool:  # fmt: skip
    """Whether the first side of a 3D convolution's input is shorter than its kernel."""
    first = dilation if isinstance(dilation, int) else dilation[0]
    return input.shape[-3] < first * (weight.shape[-3] - 1) + 1


def _rounded(value: Any) -> Any:
    """A tensor's numbers rounded to those of bfloat16, in float32; anything else as it is."""
    return value.to(torch.bfloat16).float() if isinstance(value, Tensor) else value
