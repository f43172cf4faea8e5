import pytest

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
