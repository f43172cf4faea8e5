import copy
import os

import pytest
import torch

from condyle.config import Training
from condyle.networks import build
from condyle.train import pace


@pytest.fixture
def steps(monkeypatch):
    """The numbers of the steps that are tried, each of a second."""
    made, now = [], iter(range(1000))

    class Step:
        def __init__(self, *arguments): ...

        def __call__(self, image, target, number, progress):
            made.append(number)

    monkeypatch.setattr(pace, "Step", Step)
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(now))
    return made


@pytest.mark.parametrize(("budget", "tried"), [(None, 4), (900, 4), (60, 2), (120, 3)])
def test_a_short_budget_is_not_spent_on_trying_steps(steps, budget, tried):
    network, _ = build("3d:unet-plain", 1, 2, "none")
    training = Training(budget=budget)
    assert pace.seconds_of_step(network, (8, 8, 8), 2, training, "cpu") == 1
    assert len(steps) == tried


@pytest.mark.parametrize(
    ("name", "patch", "each"), [("unet-plain", (32, 32), 1 / 8), ("3d:unet-plain", (16, 16, 16), 1)]
)
def test_the_time_of_predicting_is_that_of_a_sample_and_the_network_stays(
    monkeypatch, name, patch, each
):
    now = iter(range(1000))
    network, _ = build(name, 1, 2, "none")
    before = copy.deepcopy(network.state_dict())
    monkeypatch.setattr(pace.time, "monotonic", lambda: next(now))  # a pass takes a second
    assert pace.seconds_of_forward(network, patch, "cpu") == each
    assert network.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


def test_free_memory_is_part_of_what_the_machine_has():
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 2**20 < pace.memory_here(torch.device("cpu")) <= whole
