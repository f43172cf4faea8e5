import numpy as np
import pytest
import torch

from condyle.errors import UnknownName
from condyle.train.losses import LOSSES, build_loss, faded_cross_entropy, soft_dice


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
