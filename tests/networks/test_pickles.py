"""The reader of foreign pickles knows tensors, numbers and containers, and nothing that acts."""

import io
from collections import OrderedDict

import pytest
import torch

from condyle.networks.weights.pickles import StandIn, Unpickler, tensors_of


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "open"),
        ("__builtin__", "__import__"),
        ("torch", "load"),
        ("torch", "hub.load"),
        ("torch.hub", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch.serialization", "load"),
        ("torch._utils", "_import_dotted_name"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy.testing._private.utils", "runstring"),
        ("collections", "namedtuple"),
        ("condyle.jobs.outputs", "write_text"),
        ("functools", "partial"),
    ],
)
def test_names_that_act_are_stand_ins(module, name):
    assert Unpickler(io.BytesIO()).find_class(module, name) is StandIn


def test_names_that_tensors_are_made_of_are_real():
    reader = Unpickler(io.BytesIO())
    assert reader.find_class("collections", "OrderedDict") is OrderedDict
    assert reader.find_class("torch", "bfloat16") is torch.bfloat16
    assert (
        reader.find_class("torch._utils", "_rebuild_tensor_v2") is torch._utils._rebuild_tensor_v2
    )


def test_a_stand_in_takes_whatever_a_pickle_does_to_it():
    thing = StandIn(1, a=2)
    thing["key"] = 3
    thing.append(4)
    thing.extend([5])
    assert isinstance(thing(6), StandIn)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"a.weight": torch.ones(1), "epoch": 3}, ["a.weight"]),
        ({"model": {"module.a": torch.ones(1)}, "optimizer": {"state": torch.ones(1)}}, ["a"]),
        ({"module._orig_mod.a": torch.ones(1), "module._orig_mod.b": torch.ones(1)}, ["a", "b"]),
        ({"model": {"state_dict": {"a": torch.ones(1)}}}, ["a"]),
        ({"model": torch.ones(1)}, ["model"]),
        ({"epoch": 3}, []),
        ([torch.ones(1)], []),
        (torch.nn.Linear(1, 1), ["weight", "bias"]),
    ],
)
def test_the_table_of_tensors_is_found(content, names):
    assert list(tensors_of(content)) == names
