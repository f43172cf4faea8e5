"""What nnU-Net's trainer is given of our settings: the parts that need no nnU-Net."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from condyle.config import Training
from condyle.engines.process import CHILDREN
from condyle.train.schedule import SCHEDULES, rate_factor


@pytest.fixture(scope="module")
def given():
    """The module, which children import from their own folder."""
    spec = importlib.util.spec_from_file_location("given", CHILDREN / "trainer_settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_rates_fall_as_ours_do(given, schedule, warmup):
    final = 0.0 if schedule in ("constant", "one-cycle") else 0.1
    own = {"schedule": schedule, "final_rate": final, "warmup": warmup}
    for progress in np.linspace(0, 1, 23):
        ours = rate_factor(Training(**own), float(progress))
        assert given.rate_factor(own, float(progress)) == pytest.approx(ours)


def trainer(levels=6):
    """A trainer with nnU-Net's own values."""
    return SimpleNamespace(
        initial_lr=1e-2, weight_decay=3e-5, oversample_foreground_percent=0.33, mirrored=True,
        configuration_manager=SimpleNamespace(pool_op_kernel_sizes=[[2, 2]] * levels),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "rate", "mirrored"),
    [
        ({}, 1e-2, True),
        ({"training.optimizer": "adam"}, 3e-4, True),
        ({"training.optimizer": "adam", "training.rate": 2e-3}, 2e-3, True),
        ({"training.rate": 2e-3, "augmentation.flip": "none"}, 2e-3, False),
    ],
)
def test_what_is_not_asked_for_stays_nnu_nets_own(given, asked, rate, mirrored):
    made = trainer()
    given.set_up(made, asked)
    assert (made.initial_lr, made.mirrored) == (rate, mirrored)
    assert (made.weight_decay, made.oversample_foreground_percent) == (3e-5, 0.33)
    assert made.enable_deep_supervision
    assert made.shape == {"schedule": "poly", "final_rate": 0.0, "warmup": 0.0}


@pytest.mark.parametrize(
    ("levels", "asked", "deep"),
    [(3, {}, True), (2, {}, False), (3, {"network.deep_supervision": False}, False)],
)
def test_networks_of_two_levels_have_no_inner_outputs_to_weigh(given, levels, asked, deep):
    made = trainer(levels)
    given.set_up(made, asked)
    assert made.enable_deep_supervision == deep


def test_optimizers_are_those_asked_for(given):
    weights = [torch.nn.Parameter(torch.zeros(2))]
    for name, kind in (("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")):
        made = given.optimizer_of(name, weights, 3e-4, 1e-3)
        assert type(made).__name__ == kind
        (group,) = made.param_groups
        assert (group["lr"], group["weight_decay"]) == (3e-4, 1e-3)
    assert given.optimizer_of("sgd", weights, 1.0, 0.0).param_groups[0]["momentum"] == 0.99


@pytest.mark.parametrize("ignored", [False, True])
def test_binary_losses_get_a_channel_a_class(given, ignored):
    target = torch.tensor([[[0, 2, 1 + 2 * ignored]]])[:, None, 0]
    seen = []
    given.OneHot(lambda scores, hot: seen.append(hot), ignored)(torch.zeros(1, 3, 3), target)
    expected = torch.zeros(1, 3 + ignored, 3)
    for place, number in enumerate(target[0, 0]):
        expected[0, number, place] = 1
    assert torch.equal(seen[0], expected)


@pytest.mark.parametrize("name", ["dice+ce", "ce", "dice"])
def test_parts_of_nnu_nets_loss_can_be_left_out(given, name):
    made = given.loss_of(name, SimpleNamespace(weight_dice=1, weight_ce=1), False, False)
    assert given.loss_name(made) == name


def test_augmentation_is_described_with_its_values(given):
    class RotationTransform:
        pass

    rotation = type("SpatialTransform", (), {
        "rotation": (-np.pi / 6, np.pi / 6), "p_rotation": 0.2, "scaling": (0.7, 1.4),
        "p_scaling": 0.2, "p_elastic_deform": 0,
    })()  # fmt: skip
    step = SimpleNamespace(transform=RotationTransform(), apply_probability=0.1)
    pipeline = SimpleNamespace(transforms=[rotation, step])
    assert given.described(pipeline) == [
        "Spatial: rotation -30 to 30 degrees, probability of rotation 0.2, scaling 0.7 to 1.4, "
        "probability of scaling 0.2, probability of elastic deform 0",
        "Rotation: probability 0.1",
    ]
