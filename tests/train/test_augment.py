import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn.functional import interpolate

from condyle.config import Augmentation
from condyle.train.augment import augment, draw
from condyle.train.sampling import IGNORE

STILL = Augmentation(p=0, flip="none")
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
    settings = Augmentation(p=0, flip="left-right")
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
    settings = Augmentation(p=1, flip="none", brightness=0, contrast=0, gamma=0, noise=0)
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
    settings = Augmentation(p=1, scaling=0, flip="none")
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
    assert (one.shift, one.gamma, one.seed) == (two.shift, two.gamma, two.seed)
    assert one.seed != other.seed


NOTHING = {"p": 0.5, "rotation": 0, "scaling": 0, "flip": "none", "brightness": 0, "contrast": 0,
           "gamma": 0, "noise": 0}  # fmt: skip


def changed_by(image, labels, patch=None, spacing=None, left_right=0, seed=0, **settings):
    """The sample changed by these settings alone, each of them applied, and its draw."""
    patch = patch or tuple(labels.shape[1:])
    spacing = spacing or (1.0,) * len(patch)
    drawn = draw(Augmentation(**{**NOTHING, "p": 1, **settings}), spacing, left_right, seed, 0, 0)
    return (*augment(image, labels, patch, [spacing], [drawn], MIRROR), drawn)


PATCHES = st.lists(st.integers(3, 9), min_size=2, max_size=3).map(tuple)


@st.composite
def settings(draw_):
    """Any augmentation, gentle or not."""
    number = lambda high: draw_(st.sampled_from([0.0, high / 3, high]))  # noqa: E731
    return Augmentation(
        p=draw_(st.sampled_from([0.0, 0.5, 1.0])),
        rotation=number(60),
        scaling=number(0.5),
        elastic=number(4),
        flip=draw_(st.sampled_from(["none", "left-right", "all"])),
        blur=number(1.5),
        low_resolution=1 + number(3),
        brightness=number(1),
        contrast=number(0.5),
        gamma=number(0.5),
        noise=number(0.5),
        copies=draw_(st.sampled_from([None, 0, 3])),
    )


@given(given_=settings(), patch=PATCHES, seed=st.integers(0, 9), epoch=st.integers(0, 5),
       classes=st.sets(st.sampled_from([1, 2, 3, IGNORE]), min_size=1))  # fmt: skip
def test_no_label_comes_out_that_did_not_go_in(given_, patch, seed, epoch, classes):
    rng = np.random.default_rng(seed)
    context = [side + int(rng.integers(4)) for side in patch]
    labels = torch.from_numpy(rng.choice(sorted({0, *classes}), [1, *context]).astype(np.uint8))
    image = torch.from_numpy(rng.normal(size=[1, 2, *context])).float()
    spacing = tuple(rng.uniform(0.3, 3, len(patch)))
    drawn = draw(given_, spacing, 0, seed, epoch, 0)
    changed, truth = augment(image, labels, patch, [spacing], [drawn], MIRROR)
    assert changed.shape == (1, 2, *patch)
    assert changed.isfinite().all()
    assert truth.shape == (1, *patch)
    swap = {1: 2, 2: 1} if drawn.mirrored else {}
    assert set(truth.unique().tolist()) <= {0, *(swap.get(c, c) for c in classes)}


@given(given_=settings(), patch=PATCHES, seed=st.integers(0, 9))
def test_what_is_not_drawn_leaves_the_middle_bit_for_bit(given_, patch, seed):
    rng = np.random.default_rng(seed)
    context = [side + int(rng.integers(4)) for side in patch]
    image = torch.from_numpy(rng.normal(size=[1, 1, *context])).float()
    labels = torch.from_numpy(rng.integers(0, 4, [1, *context]))
    spacing = tuple(rng.uniform(0.3, 3, len(patch)))
    still = given_.changed(p=0, flip="none")
    changed, truth = augment(
        image, labels, patch, [spacing], [draw(still, spacing, 0, seed, 0, 0)], MIRROR
    )
    starts = [(c - side) // 2 for c, side in zip(context, patch, strict=True)]
    middle = tuple(slice(s, s + side) for s, side in zip(starts, patch, strict=True))
    assert torch.equal(changed, image[(..., *middle)])
    assert torch.equal(truth, labels[(..., *middle)])


@pytest.mark.parametrize("sides", [(32, 24), (14, 12, 10)])
@given(seed=st.integers(0, 999))
def test_labels_are_those_of_the_voxel_nearest_to_where_the_image_comes_from(sides, seed):
    places = torch.from_numpy(np.indices(sides)).float()[None]
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (1, *sides)))
    came, truth, _ = changed_by(
        places, labels, seed=seed, rotation=30, scaling=0.3, elastic=3, flip="all", left_right=None
    )
    nearest = came[0].round().long()
    expected = labels[0][tuple(nearest)]
    # but for voxels half-way between two, or at the border, where the image's edge goes on
    last = torch.tensor(sides).view(-1, *[1] * len(sides)) - 1
    certain = ((came[0] - nearest).abs() < 0.499) & (came[0] > 1e-3) & (came[0] < last - 1e-3)
    assert certain.all(0).float().mean() > 0.25
    assert torch.equal(truth[0][certain.all(0)], expected[certain.all(0)])


@given(seed=st.integers(0, 999))
def test_a_mirrored_sample_has_its_left_labels_where_the_right_were(seed):
    image, labels = scan((12, 10, 8))
    changed, truth, drawn = changed_by(image, labels, seed=seed, flip="all", left_right=1)
    axes = [axis for axis, flipped in enumerate(drawn.flipped) if flipped]
    assert drawn.mirrored is (1 in axes)
    assert torch.equal(changed, image.flip([axis + 2 for axis in axes]))
    back = truth.flip([axis + 1 for axis in axes])
    assert torch.equal(MIRROR[back] if drawn.mirrored else back, labels)


def test_every_axis_is_flipped_by_itself_in_half_of_the_samples():
    every = [draw(Augmentation(flip="all"), (1.0, 1.0, 1.0), 0, 0, 0, n).flipped
             for n in range(400)]  # fmt: skip
    for flips in itertools.product([False, True], repeat=3):
        assert 25 <= every.count(flips) <= 75
    one = [draw(Augmentation(), (1.0, 1.0), 1, 0, 0, n).flipped for n in range(100)]
    assert {first for first, _ in one} == {False}
    assert {second for _, second in one} == {False, True}


@pytest.mark.parametrize(
    ("patch", "spacing"),
    [((64, 48), (1.0, 1.0)), ((40, 32, 24), (1.0, 1.0, 1.0)), ((40, 32, 12), (0.5, 0.8, 1.0))],
)
def test_bending_displaces_by_no_more_than_the_largest_and_never_folds(patch, spacing):
    places = np.meshgrid(
        *[(np.arange(n) + 0.5) * s for n, s in zip(patch, spacing, strict=True)], indexing="ij"
    )
    image = torch.from_numpy(np.stack(places)).float()[None]
    labels = torch.zeros(1, *patch, dtype=torch.int64)
    largest = 0.0
    for seed in range(20):
        # an image of the places themselves shows where each voxel came from
        came, _, _ = changed_by(image, labels, spacing=spacing, seed=seed, elastic=3)
        moved = (came - image).abs().numpy()
        largest = max(largest, moved.max())
        inner = came[0].numpy()[(slice(None), *(slice(6, -6) for _ in patch))]
        if inner.shape[-1] > 2:
            steps = [np.gradient(axis, *spacing) for axis in inner]
            assert np.linalg.det(np.moveaxis(np.array(steps), (0, 1), (-2, -1))).min() > 0
    assert 1 < largest <= 3


def test_long_voxels_are_neither_bent_nor_blurred_into_short_ones():
    spacing, sides = (1.0, 1.0, 5.0), (24, 24, 6)
    slices = torch.arange(6.0).expand(1, 1, *sides)
    labels = torch.zeros(1, *sides, dtype=torch.int64)
    for change in ({"elastic": 3}, {"blur": 2}, {"low_resolution": 4}):
        changed, _, _ = changed_by(slices, labels, spacing=spacing, **change)
        torch.testing.assert_close(changed, slices, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sides", [(20, 17), (9, 12, 7)])
def test_blur_equals_scipys_and_leaves_labels_alone(sides):
    image, labels = scan(sides)
    changed, truth, drawn = changed_by(image, labels, blur=2.0)
    theirs = ndimage.gaussian_filter(
        image[0, 0].numpy().astype(float), drawn.blur, mode="nearest",
        radius=int(np.ceil(3 * drawn.blur)),
    )  # fmt: skip
    np.testing.assert_allclose(changed[0, 0], theirs, atol=1e-5)
    assert torch.equal(truth, labels)


@pytest.mark.parametrize("sides", [(24, 16), (12, 10, 8)])
def test_low_resolution_is_the_mean_over_longer_voxels_interpolated(sides):
    image, labels = scan(sides)
    changed, truth, drawn = changed_by(image, labels, low_resolution=4.0)
    assert 1 < drawn.low_resolution <= 4
    fewer = [round(n / drawn.low_resolution) for n in sides]
    zoomed = interpolate(image, fewer, mode="area")
    mode = "bilinear" if len(sides) == 2 else "trilinear"
    torch.testing.assert_close(changed, interpolate(zoomed, sides, mode=mode))
    assert torch.equal(truth, labels)


def test_strengths_stay_within_their_settings():
    chosen = Augmentation(p=1, elastic=5, blur=1.5, low_resolution=3)
    every = [draw(chosen, (1.0, 1.0), 0, 0, 0, n) for n in range(300)]
    for name, low, high in (("blur", 0, 1.5), ("low_resolution", 1, 3), ("noise", 0, 0.1),
                            ("contrast", 0.75, 1.25), ("shift", -0.2, 0.2)):  # fmt: skip
        values = [getattr(d, name) for d in every]
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high
    never = [draw(Augmentation(p=0, elastic=5, blur=1.5, low_resolution=3), (1.0, 1.0), 0, 0, 0, n)
             for n in range(50)]  # fmt: skip
    assert {(d.elastic, d.blur, d.low_resolution, d.noise, d.is_moved) for d in never} == {
        (0, 0, 1, 0, False)
    }


def test_copies_come_in_turn_the_first_as_it_is():
    chosen = Augmentation(p=1, copies=2)
    drawn = [draw(chosen, (1.0, 1.0), 0, 5, epoch, 3) for epoch in range(6)]
    for first, again in zip(drawn[:3], drawn[3:], strict=True):
        assert (first.seed, first.shift, first.flipped) == (again.seed, again.shift, again.flipped)
    assert not drawn[0].is_moved
    assert not any(drawn[0].flipped)
    assert (drawn[0].shift, drawn[0].contrast, drawn[0].gamma, drawn[0].noise) == (0, 1, 1, 0)
    assert len({d.seed for d in drawn}) == 3
