"""The tensors of a checkpoint, whatever else it holds; as a script, of a pickle not to be trusted.

``python -I pickles.py FILE OUT`` reads any checkpoint that torch can read and writes its tensors
to a safetensors file. While it reads, every name but those that tensors are made of is an empty
stand-in, so that classes need not be installed and calls do nothing; memory, processor time and
what it may write are limited where the system can do so. It imports nothing of Condyle.
"""

from __future__ import annotations

import contextlib
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import torch
from torch import Tensor

__all__ = ["tensors_of", "without_common_prefix"]

WRAPPERS = (
    "state_dict",
    "network_weights",
    "model_state_dict",
    "model",
    "network",
    "net",
    "weights",
)
"""The names under which checkpoints keep their table of tensors, the surest first."""

COMMON = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


def tensors_of(content: object) -> dict[str, Tensor]:
    """Name -> tensor of what a checkpoint holds: a table, one inside it, or a whole module.

    Examples
    --------
    >>> list(tensors_of({"epoch": 3, "state_dict": {"module.conv1.weight": torch.zeros(1)}}))
    ['conv1.weight']
    """
    held = getattr(content, "__dict__", {})
    if "_parameters" in held and "_modules" in held:
        return without_common_prefix(_of_module(content))
    if not isinstance(content, Mapping):
        return {}
    table = cast(Mapping[object, object], content)
    for name in WRAPPERS:
        inner = tensors_of(table[name]) if name in table else {}
        if inner:
            return inner
    return without_common_prefix(
        {str(name): tensor for name, tensor in table.items() if isinstance(tensor, Tensor)}
    )


def without_common_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The table without the `module.` that every name begins with."""
    for prefix in COMMON:
        if state and all(name.startswith(prefix) for name in state):
            return without_common_prefix({k.removeprefix(prefix): v for k, v in state.items()})
    return state


def _of_module(module: object, prefix: str = "") -> dict[str, Tensor]:
    """The parameters and buffers of a module, or of the stand-in for one."""
    held: dict[str, Any] = vars(module)
    skipped = held.get("_non_persistent_buffers_set", ())
    own = {**held["_parameters"], **held.get("_buffers", {})}
    found = {
        prefix + name: tensor
        for name, tensor in own.items()
        if isinstance(tensor, Tensor) and name not in skipped
    }
    for name, child in held["_modules"].items():
        if "_parameters" in getattr(child, "__dict__", {}):
            found |= _of_module(child, f"{prefix}{name}.")
    return found


class StandIn:
    """What a pickle gets in place of a class or function that it may not have: it does nothing."""

    def __new__(cls, *_: object, **__: object) -> StandIn:
        """An empty object, whatever was asked for."""
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object):
        pass

    def __call__(self, *_: object, **__: object) -> StandIn:
        """Another one."""
        return StandIn()

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(cast(dict[str, Any], state))

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, _: object) -> None:
        """Forget an item."""

    def extend(self, _: object) -> None:
        """Forget items."""


REAL = {
    "collections": r"OrderedDict|defaultdict",
    "builtins": r"set|frozenset|list|dict|tuple|int|float|bool|str|bytes|bytearray|complex|slice",
    "_codecs": r"encode",
    "numpy": r"dtype|ndarray|float\d+|int\d+|uint\d+|bool_?",
    "numpy.dtypes": r"\w+DType",
    "numpy.core.multiarray": r"_reconstruct|scalar",
    "numpy._core.multiarray": r"_reconstruct|scalar",
    "torch": r"Size|device|dtype|\w*Tensor|\w+Storage|b?float\d*|double|half|u?int\d+|long|bool",
    "torch.storage": r"\w*Storage",
    "torch._utils": r"_rebuild_(tensor(_v2|_v3)?|parameter(_with_state)?|qtensor)",
    "torch._tensor": r"_rebuild_from_type_v2",
    "torch.nn.parameter": r"Parameter",
}
"""Module -> the names in it that are what they are: tensors, numbers and containers."""


class Unpickler(pickle.Unpickler):
    """Reads a pickle in which all but tensors, numbers and containers are stand-ins."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """The class or function of this name, or the stand-in."""
        module = {"__builtin__": "builtins"}.get(module_name, module_name)
        if re.fullmatch(REAL.get(module, ""), global_name) and "." not in global_name:
            return super().find_class(module, global_name)
        return StandIn


def _load(stream: IO[bytes], **settings: Any) -> Any:
    return Unpickler(stream, **settings).load()


def _limit(size: int) -> None:
    """Bound memory, processor time and written bytes, where the system knows such limits."""
    with contextlib.suppress(ImportError):
        import resource

        limits = {
            resource.RLIMIT_AS: 24 * 2**30 + 4 * size,
            resource.RLIMIT_CPU: 900,
            resource.RLIMIT_FSIZE: 2**28 + 3 * size,
            resource.RLIMIT_CORE: 0,
        }
        for kind, limit in limits.items():
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(kind, (limit, limit))


def main(file: Path, out: Path) -> None:
    """Write the tensors of a checkpoint to a safetensors file."""
    from safetensors.torch import save_file

    _limit(file.stat().st_size)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                sys.exit("it is a TorchScript program; save its state_dict() instead")
    reader: Any = SimpleNamespace(Unpickler=Unpickler, load=_load, __name__="pickle")
    content = torch.load(file, map_location="cpu", weights_only=False, pickle_module=reader)
    state = {k: v.detach().contiguous().clone() for k, v in tensors_of(content).items()}
    if not state:
        sys.exit("it holds no table of tensors")
    save_file(state, str(out))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
