import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from condyle.config import Experiment, Training
from condyle.errors import ConfigError, UnknownName
from condyle.train.losses import (
    IGNORE,
    LOSSES,
    build_loss,
    class_weights,
    each_against_all,
    faded_cross_entropy,
    focal,
    soft_dice,
    soft_iou,
)


def perfect(target, classes):
    return torch.nn.functional.one_hot(target, classes).movedim(-1, 1).float() * 40 - 20


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 4, 6, 5)])
def test_the_truth_is_best_and_its_opposite_worse_than_nothing_known(name, shape):
    target = torch.from_numpy(np.random.default_rng(0).integers(0, 3, shape))
    loss = build_loss(name)
    best = loss(perfect(target, 3), target, 0.2)
    unsure = loss(torch.zeros(shape[0], 3, *shape[1:]), target, 0.2)
    worst = loss(-perfect(target, 3), target, 0.2)
    assert best < 0.01 < unsure < worst


@pytest.mark.parametrize("name", LOSSES)
def test_losses_pull_towards_the_truth(name):
    target = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2, 8, 8)))
    scores = torch.zeros(2, 3, 8, 8, requires_grad=True)
    loss = build_loss(name)
    for _ in range(60):
        (gradient,) = torch.autograd.grad(loss(scores, target, 0.2), scores)
        scores = (scores - 50 * gradient).detach().requires_grad_()
    assert (scores.argmax(1) == target).float().mean() > 0.99


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_several_scores_is_their_mean(name):
    target = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2, 8, 8)))
    first, second = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    loss = build_loss(name)
    mean = (loss(first, target, 0.2) + loss(second, target, 0.2)) / 2
    torch.testing.assert_close(loss((first, second), target, 0.2), mean)


def test_soft_dice_equals_monais():
    monai = pytest.importorskip("monai.losses")
    scores = torch.randn(2, 4, 8, 8)
    target = torch.from_numpy(np.random.default_rng(0).integers(0, 4, (2, 8, 8)))
    theirs = monai.DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True,
        smooth_nr=1e-5, smooth_dr=1e-5,
    )  # fmt: skip
    torch.testing.assert_close(soft_dice(scores, target), theirs(scores, target[:, None]))


def test_an_unknown_loss_names_the_known_ones():
    with pytest.raises(UnknownName, match="dice"):
        build_loss("dcie")


def test_a_structure_that_is_nowhere_in_the_batch_leaves_dice_alone():
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    target[0, :4] = 1
    scores = torch.zeros(1, 3, 8, 8, requires_grad=True)
    two = soft_dice(scores, target)
    probabilities = scores.softmax(1)[:, 1]
    truth = (target == 1).float()
    alone = 1 - 2 * (probabilities * truth).sum() / (probabilities.sum() + truth.sum())
    torch.testing.assert_close(two, alone)
    assert soft_dice(scores, torch.zeros_like(target)) == 0


def test_rare_classes_count_for_more_at_first_and_like_any_other_in_the_end():
    target = torch.zeros(1, 10, 10, dtype=torch.int64)
    target[0, 0, 0] = 1  # one voxel of a hundred
    found, missed = torch.zeros(1, 2, 10, 10), torch.zeros(1, 2, 10, 10)
    found[0, 1, 0, 0], missed[0, 1, 0, 0] = 5, -5
    gains = [
        float(faded_cross_entropy(missed, target, p) - faded_cross_entropy(found, target, p))
        for p in (0.0, 0.25, 0.5, 1.0)
    ]
    assert gains[0] > gains[1] > gains[2]
    plain = torch.nn.functional.cross_entropy
    assert (
        gains[2] == gains[3] == pytest.approx(float(plain(missed, target) - plain(found, target)))
    )


def a_guess(seed=0, classes=4, shape=(2, 7, 8)):
    drawn = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(shape[0], classes, *shape[1:], generator=drawn)
    return scores, torch.randint(0, classes, shape, generator=drawn)


def with_ignored(target, seed=0):
    hidden = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    return target.masked_fill(hidden, IGNORE)


WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 4.0])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_equals_torchs(weights):
    scores, target = a_guess()
    target = with_ignored(target)
    theirs = torch.nn.functional.cross_entropy(scores, target, weights, ignore_index=IGNORE)
    torch.testing.assert_close(build_loss("ce", weights)(scores, target, 0.2), theirs)


@pytest.mark.parametrize("name", ["DiceLoss", "JaccardLoss"])
def test_dice_and_iou_equal_those_of_segmentation_models(name):
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    scores, target = a_guess()
    mine = {"DiceLoss": soft_dice, "JaccardLoss": soft_iou}[name]
    theirs = getattr(losses, name)("multiclass", classes=[1, 2, 3])
    torch.testing.assert_close(mine(scores, target), theirs(scores, target))


def test_dice_without_ignored_voxels_equals_that_of_segmentation_models():
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    scores, target = a_guess()
    target = with_ignored(target)
    theirs = losses.DiceLoss("multiclass", classes=[1, 2, 3], ignore_index=IGNORE)
    torch.testing.assert_close(soft_dice(scores, target), theirs(scores, target))


def test_the_focal_loss_equals_monais_but_for_the_mean_over_classes():
    monai = pytest.importorskip("monai.losses")
    scores, target = a_guess()
    theirs = monai.FocalLoss(to_onehot_y=True, use_softmax=True, gamma=2.0)
    torch.testing.assert_close(focal(scores, target), 4 * theirs(scores, target[:, None]))


def test_binary_cross_entropy_of_one_structure_is_that_of_its_log_odds():
    losses = pytest.importorskip("segmentation_models_pytorch.losses")
    scores, target = a_guess(classes=2)
    theirs = losses.SoftBCEWithLogitsLoss()(scores[:, 1] - scores[:, 0], target.float())
    torch.testing.assert_close(each_against_all(scores, target), theirs)


def test_binary_cross_entropy_of_several_is_the_mean_of_each_against_all():
    scores, target = a_guess()
    each = []
    for structure in (1, 2, 3):
        rest = scores[:, [c for c in range(4) if c != structure]].logsumexp(1)
        truth = (target == structure).float()
        log_odds = scores[:, structure] - rest
        each.append(torch.nn.functional.binary_cross_entropy_with_logits(log_odds, truth))
    torch.testing.assert_close(each_against_all(scores, target), sum(each) / 3)
    weighted = (2 * each[0] + each[1] + 4 * each[2]) / 7
    torch.testing.assert_close(each_against_all(scores, target, WEIGHTS), weighted)


def test_combined_losses_are_the_sums_of_their_parts():
    scores, target = a_guess()
    for name in ("dice+iou", "dice+focal", "dice+ce"):
        parts = [build_loss(part)(scores, target, 0.2) for part in name.split("+")]
        torch.testing.assert_close(build_loss(name)(scores, target, 0.2), sum(parts))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_ignored_voxels_change_nothing(name, weights):
    loss = build_loss(name, weights)
    scores, target = a_guess()
    target[:, 4:] = IGNORE
    without = loss(scores[:, :, :4], target[:, :4], 0.2)
    scores.requires_grad_()
    with_them = loss(scores, target, 0.2)
    torch.testing.assert_close(with_them, without)
    with_them.backward()
    assert scores.grad is not None
    assert scores.grad[:, :, :4].abs().sum() > 0
    assert (scores.grad[:, :, 4:] == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_nothing_labelled_teaches_nothing(name, weights):
    scores, target = a_guess()
    scores.requires_grad_()
    loss = build_loss(name, weights)(scores, torch.full_like(target, IGNORE), 0.2)
    loss.backward()
    assert loss == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 99), height=st.sampled_from([1e-3, 1.0, 30.0, 1e3, 1e5]))
def test_gradients_are_finite_whatever_the_scores_and_whichever_classes_are_there(
    name, seed, height
):
    scores, target = a_guess(seed, shape=(1, 3, 3))
    target[target == seed % 4] = 0 if seed % 3 else IGNORE
    scores = (height * scores).requires_grad_()
    loss = build_loss(name, WEIGHTS)(scores, target, 0.2)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert loss.isfinite()
    assert loss >= 0
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 99))
def test_the_truth_costs_nothing_wherever_it_is_known(name, seed):
    _, target = a_guess(seed, shape=(2, 4, 5))
    scores = perfect(target, 4)
    assert build_loss(name, WEIGHTS)(scores, with_ignored(target, seed), 0.2) < 1e-4


def test_heavier_structures_pull_harder():
    scores = torch.zeros(1, 3, 8, 8)
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    target[0, :2], target[0, 2:4] = 1, 2
    weights = class_weights({"fibula": 5.0}, ["tibia", "fibula"])
    assert weights is not None
    for name in LOSSES:
        pulls = []
        for each in (None, weights):
            moving = scores.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(build_loss(name, each)(moving, target, 0.5), moving)
            pulls.append(-gradient[0, 2, 2:4].sum() / -gradient[0, 1, :2].sum())
        assert pulls[1] > 1.5 * pulls[0], name


def test_class_weights_go_by_name_and_an_unknown_one_is_refused_with_the_known():
    assert class_weights({}, ["femur", "tibia"]) is None
    given_ = class_weights({"background": 0.5, "tibia": 2}, ["femur", "tibia"])
    torch.testing.assert_close(given_, torch.tensor([0.5, 1, 2]))
    with pytest.raises(ConfigError, match=r"'tibula'.*background, femur, tibia"):
        class_weights({"tibula": 2}, ["femur", "tibia"])


def test_class_weights_are_settings_and_must_be_above_nothing():
    text = Experiment(dataset="a", training=Training(class_weights={"femur": 2.5})).to_toml()
    assert "femur = 2.5" in text
    with pytest.raises(ConfigError, match=r"class_weights\.femur"):
        Experiment.parse({"dataset": "a", "training": {"class_weights": {"femur": 0}}})
