import numpy as np
import pytest
import torch

from condyle.config import Augmentation
from condyle.train.augment import augment, draw

STILL = Augmentation(p=0, flip=False)
MIRROR = torch.tensor([0, 2, 1, 3])


def scan(sides, seed=0):
    """A smooth image and labels that are its thresholds, so that both must move together."""
    rng = np.random.default_rng(seed)
    places = np.meshgrid(*[np.linspace(-1, 1, n) for n in sides], indexing="ij")
    image = sum(np.sin(3 * p + rng.random() * 6) for p in places)
    labels = np.digitize(image, [-1, 0, 1])
    return torch.from_numpy(image)[None, None].float(), torch.from_numpy(labels)[None]


@pytest.mark.parametrize("sides", [(32, 24), (16, 12, 10)])
def test_no_change_drawn_is_no_change(sides):
    image, labels = scan(sides)
    spacing = (1.0, 2.0, 3.0)[: len(sides)]
    drawn = draw(STILL, spacing, 0, 0, 0, 0)
    changed, truth = augment(image, labels, sides, [spacing], [drawn], MIRROR)
    torch.testing.assert_close(changed, image, rtol=1e-4, atol=1e-4)
    assert torch.equal(truth, labels)


def test_the_patch_is_the_middle_of_its_context():
    image, labels = scan((40, 40))
    drawn = draw(STILL, (1.0, 1.0), 0, 0, 0, 0)
    changed, truth = augment(image, labels, (20, 30), [(1.0, 1.0)], [drawn], MIRROR)
    torch.testing.assert_close(changed, image[..., 10:30, 5:35], rtol=1e-4, atol=1e-4)
    assert torch.equal(truth, labels[:, 10:30, 5:35])


def mirrored_draw(sides, spacing, axis):
    settings = Augmentation(p=0, flip=True)
    for index in range(50):
        drawn = draw(settings, spacing, axis, 0, 0, index)
        if drawn.mirrored:
            return drawn
    raise AssertionError("no mirror image in fifty draws of a half")


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirror_image_swaps_left_and_right_labels(axis):
    image, labels = scan((16, 16))
    drawn = mirrored_draw((16, 16), (1.0, 1.0), axis)
    changed, truth = augment(image, labels, (16, 16), [(1.0, 1.0)], [drawn], MIRROR)
    torch.testing.assert_close(changed, image.flip(axis + 2), rtol=1e-4, atol=1e-4)
    assert torch.equal(truth, MIRROR[labels.flip(axis + 1)])


def test_a_patch_without_a_left_right_axis_is_never_mirrored():
    assert not any(draw(Augmentation(), (1.0, 1.0), None, 0, 0, n).mirrored for n in range(50))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 2.5), (1.0, 1.0, 1.0), (0.7, 0.9, 1.8)])
def test_turning_is_a_rotation_in_millimetres_and_moves_image_and_labels_together(spacing):
    sides = (48, 32, 20)[: len(spacing)]
    image, labels = scan(sides)
    settings = Augmentation(p=1, flip=False, brightness=0, contrast=0, gamma=0, noise=0)
    drawn = draw(settings, spacing, 0, 3, 0, 0)
    product = drawn.matrix @ drawn.matrix.T
    np.testing.assert_allclose(product, np.eye(len(spacing)) * product[0, 0], atol=1e-9)
    changed, truth = augment(image, labels, sides, [spacing], [drawn], MIRROR)
    expected = np.digitize(changed.numpy()[0], [-1, 0, 1])
    middle = tuple(slice(n // 4, -n // 4) for n in sides)
    same = (expected[0] == truth.numpy()[0])[middle].mean()
    assert same > 0.93  # but for voxels on the thresholds
    assert not torch.equal(truth, labels)


def test_axes_with_long_voxels_are_not_turned_into_short_ones():
    settings = Augmentation(p=1, scaling=0, flip=False)
    matrix = draw(settings, (1.0, 1.0, 5.0), 0, 0, 0, 0).matrix
    np.testing.assert_allclose(matrix[2], [0, 0, 1], atol=1e-12)
    assert abs(matrix[0, 1]) > 1e-4


def test_labels_never_mix():
    labels = torch.zeros(1, 32, 32, dtype=torch.int64)
    labels[:, 8:24, 8:24] = 3
    image = labels[:, None].float()
    for index in range(20):
        drawn = draw(Augmentation(p=1), (1.0, 1.0), 0, 0, 0, index)
        _, truth = augment(image, labels, (32, 32), [(1.0, 1.0)], [drawn], MIRROR)
        assert set(truth.unique().tolist()) <= {0, 3}


def test_the_same_place_in_the_training_draws_the_same_change():
    one, two = (draw(Augmentation(), (1.0, 1.0), 0, 5, 2, 9) for _ in range(2))
    other = draw(Augmentation(), (1.0, 1.0), 0, 5, 2, 10)
    assert np.array_equal(one.matrix, two.matrix)
    assert (one.shift, one.gamma, one.noise_seed) == (two.shift, two.gamma, two.noise_seed)
    assert one.noise_seed != other.noise_seed
