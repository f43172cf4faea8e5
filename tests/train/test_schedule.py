from itertools import pairwise

import pytest
import torch

from condyle.config import Training
from condyle.train.schedule import SCHEDULES, rate_factor

STEPS = 40
TORCHS = torch.optim.lr_scheduler


def rates_of(build, steps=STEPS):
    """What torch's schedule makes of a rate of 1, before each step and after the last."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    schedule = build(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def mine(steps=STEPS, **settings):
    training = Training(**{"warmup": 0, **settings})
    return [rate_factor(training, step / steps) for step in range(steps + 1)]


@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
def test_cosine_equals_torchs(final):
    theirs = rates_of(lambda o: TORCHS.CosineAnnealingLR(o, STEPS, eta_min=final))
    assert mine(schedule="cosine", final_rate=final) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("final", [0.0, 0.5])
def test_linear_equals_torchs(final):
    theirs = rates_of(lambda o: TORCHS.LinearLR(o, 1.0, final, STEPS))
    assert mine(schedule="linear", final_rate=final) == pytest.approx(theirs, abs=1e-9)


def test_poly_equals_torchs():
    theirs = rates_of(lambda o: TORCHS.PolynomialLR(o, STEPS, power=0.9))
    assert mine(schedule="poly") == pytest.approx(theirs, abs=1e-9)


def test_one_cycle_equals_torchs():
    # torch numbers its steps from 0, so the last of n is n - 1, and the top is at part * n - 1
    steps = STEPS + 1
    theirs = rates_of(
        lambda o: TORCHS.OneCycleLR(
            o, 1.0, total_steps=steps, pct_start=(0.25 * STEPS + 1) / steps
        ),
        steps=STEPS,
    )
    assert mine(schedule="one-cycle", warmup=0.25) == pytest.approx(theirs, abs=1e-9)


def test_the_lower_limb_studys_rate_falls_by_a_millionth_an_epoch():
    for epochs in (20, 40):
        training = Training(
            rate=1e-4, schedule="linear", rate_per_epoch=1e-6, warmup=0, epochs=epochs
        )
        rates = [1e-4 * rate_factor(training, n / epochs, epoch=n) for n in range(epochs)]
        assert rates == pytest.approx([1e-4 - 1e-6 * epoch for epoch in range(epochs)])
    assert rate_factor(training, 0.5, epoch=101) == 0


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("final", [0.0, 0.3])
def test_rates_rise_in_the_warm_up_and_never_after(schedule, final):
    rates = mine(100, schedule=schedule, warmup=0.1, final_rate=final)
    assert rates[0] < 0.05
    assert max(rates) <= 1
    assert all(a <= b for a, b in pairwise(rates[:10]))
    assert all(a >= b for a, b in pairwise(rates[11:]))
    if schedule in ("cosine", "poly", "linear"):
        assert rates[-1] == pytest.approx(final)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_time_beyond_the_end_is_the_end(schedule):
    training = Training(schedule=schedule, warmup=0)
    assert rate_factor(training, 1.5) == rate_factor(training, 1.0)
    assert rate_factor(training, -0.1) == rate_factor(training, 0.0)
