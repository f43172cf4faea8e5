import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.config import Augmentation
from condyle.core import Grid, LabelMap, LabelScheme
from condyle.errors import ConfigError, DatasetError
from condyle.prepare.slices import AXIS, hard_slices
from condyle.train import Batches, TrainingCase
from condyle.train.sampling import IGNORE, PatchSampler, cut


def drawn_by(sampler, epoch, index):
    """Image, class indices and spacing of one sample."""
    return sampler.at(*sampler.place(epoch, index))


def case(shape=(20, 24, 10), at=(15, 4, 8), name="a"):
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    labels[at] = 1
    return TrainingCase(name, image, labels, (1.0, 1.0, 2.0))


@pytest.mark.parametrize("patch", [(8, 8, 1), (8, 8, 4), (32, 32, 1), (64, 8, 16)])
def test_samples_about_a_structure_hold_it_and_come_in_the_patchs_size(patch):
    sampler = PatchSampler([case()], patch, foreground=1.0, seed=0)
    for index in range(30):
        image, labels, spacing = drawn_by(sampler, 0, index)
        assert image.shape == (1, *patch)
        assert labels.shape == patch
        assert labels.any()
        assert spacing == (1.0, 1.0, 2.0)


def test_rare_structures_come_as_often_as_common_ones():
    common = case()
    labels = np.ones((20, 24, 10), np.uint8)
    labels[3, 3, 3] = 2
    both = TrainingCase("b", common.image, labels, common.spacing)
    sampler = PatchSampler([both], (1, 1, 1), foreground=1.0, seed=0)
    drawn = [int(drawn_by(sampler, 0, n)[1].item()) for n in range(200)]
    assert 60 < drawn.count(2) < 140


def test_samples_depend_on_seed_epoch_and_index_alone():
    one = PatchSampler([case(), case(name="b")], (8, 8, 1), 0.5, seed=1)
    two = PatchSampler([case(), case(name="b")], (8, 8, 1), 0.5, seed=1)
    for index in (5, 2, 9):
        np.testing.assert_array_equal(drawn_by(one, 3, index)[0], drawn_by(two, 3, index)[0])
    assert not np.array_equal(drawn_by(one, 3, 5)[0], drawn_by(one, 4, 5)[0])


def test_nothing_labelled_is_nothing_to_learn():
    empty = TrainingCase("a", np.zeros((1, 4, 4, 4)), np.zeros((4, 4, 4), np.uint8), (1, 1, 1))
    with pytest.raises(DatasetError, match="has a labelled structure"):
        PatchSampler([empty], (4, 4, 1), 0.5, 0)


def test_a_cut_that_reaches_outside_goes_on_with_the_edge():
    array = np.arange(4)[:, None, None] * np.ones((1, 2, 2), int)
    np.testing.assert_array_equal(
        cut(array, (-2, 0, 0), (8, 1, 1), edge=True).ravel(), [0, 0, 0, 1, 2, 3, 3, 3]
    )
    np.testing.assert_array_equal(
        cut(array, (-2, 0, 0), (8, 1, 1), edge=False).ravel(), [0, 0, 0, 1, 2, 3, 0, 0]
    )


@pytest.mark.parametrize(
    ("patch", "shape"), [((16, 16, 1), (2, 1, 16, 16)), ((16, 1, 8), (2, 1, 16, 8)),
                         ((8, 8, 8), (2, 1, 8, 8, 8))]
)  # fmt: skip
def test_batches_are_slices_or_volumes_and_the_same_each_time(patch, shape):
    batches = Batches([case()], patch, 2, Augmentation(), (0, 1), 0.5, seed=0)
    first = [(x.clone(), y.clone()) for x, y in batches.epoch(1, 3)]
    again = list(batches.epoch(1, 3))
    assert len(first) == 3
    for (x, y), (x2, y2) in zip(first, again, strict=True):
        assert tuple(x.shape) == shape
        assert tuple(y.shape) == (2, *shape[2:])
        assert bool((x == x2).all())
        assert bool((y == y2).all())


def test_no_sample_is_about_voxels_that_nobody_labelled():
    labels = np.full((12, 12, 12), IGNORE, np.uint8)
    labels[3, 4, 5] = 2
    one = TrainingCase("a", np.zeros((1, 12, 12, 12), np.float32), labels, (1, 1, 1))
    sampler = PatchSampler([one], (1, 1, 1), foreground=1.0, seed=0)
    assert {int(drawn_by(sampler, 0, n)[1].item()) for n in range(20)} == {2}
    labels[3, 4, 5] = 0
    with pytest.raises(DatasetError, match="has a labelled structure"):
        PatchSampler([one], (1, 1, 1), foreground=1.0, seed=0)


def by_slice(batches, epoch, steps=40):
    """Which changed slices were seen, by the number of the slice that is written into them."""
    seen: dict[int, set[bytes]] = {}
    for images, labels in batches.epoch(epoch, steps):
        for image, truth in zip(images, labels, strict=True):
            seen.setdefault(int(truth.max()), set()).add(image.numpy().tobytes())
    return seen


def test_with_copies_a_slice_exists_as_itself_and_so_many_changed_ones():
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 5)).astype(np.float32)
    labels = np.broadcast_to(np.arange(1, 6, dtype=np.uint8), (16, 16, 5))
    case = TrainingCase("a", image, labels, (1.0, 1.0, 1.0))
    chosen = Augmentation(p=1, copies=2)
    batches = Batches([case], (16, 16, 1), 4, chosen, (0, 1, 2, 3, 4, 5), 0.5, seed=0)
    epochs = [by_slice(batches, epoch) for epoch in range(6)]
    for n in range(1, 6):
        assert epochs[0][n] == {image[0, :, :, n - 1].tobytes()}
        assert all(len(epoch[n]) == 1 for epoch in epochs)
        assert len(set.union(*(epoch[n] for epoch in epochs))) == 3
        assert epochs[1][n] == epochs[4][n] != epochs[2][n] == epochs[5][n]


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from(sorted(AXIS)),
    st.sampled_from([0.0, 0.5, 1.0]),
)  # fmt: skip
def test_hard_slices_alone_are_drawn_and_all_of_them(seed, n, plane, foreground):
    rng = np.random.default_rng(seed)
    shape, through = (12, 11, 13), AXIS[plane]
    labels = np.zeros(shape, np.uint8)
    beside = (through + 1) % 3
    for index in (1, 2):  # boxes side by side, so that no slice of one has too few voxels to come
        low, size = rng.integers(0, 8, 3), rng.integers(1, 8, 3)
        low[beside], size[beside] = 6 * (index - 1) + rng.integers(0, 3), rng.integers(1, 4)
        box = tuple(slice(a, a + s) for a, s in zip(low, size, strict=True))
        labels[box] = index
    numbers = np.zeros(shape, np.float32)
    numbers += np.arange(shape[through]).reshape([-1 if a == through else 1 for a in range(3)])
    scheme = LabelScheme.of({"a": 1, "b": 2})
    hard = hard_slices(LabelMap(labels, Grid.regular(shape), scheme), n, plane)
    expected = set(np.concatenate(list(hard.values())).tolist())
    patch = [16, 16, 16]
    patch[through] = 1
    one = TrainingCase("a", numbers[None], labels, (1.0, 1.0, 1.0))
    batches = Batches([one], tuple(patch), 8, Augmentation(), (0, 1, 2), foreground, 0, 0, 1, n)
    drawn = {int(drawn_by(batches.sampler, 0, index)[0].max()) for index in range(200)}
    assert drawn == expected
    assert batches.samples == len(expected)


def test_hard_slices_are_no_volumes():
    with pytest.raises(ConfigError, match="take a 2D network"):
        PatchSampler([case()], (8, 8, 8), 0.5, 0, hard_slices=3)


def test_as_many_samples_as_slices_whatever_their_size():
    small = case((10, 12, 7), at=(5, 5, 3))
    batches = Batches([case(), small], (24, 24, 1), 2, Augmentation(), (0, 1), 0.5, seed=0)
    assert batches.samples == 17


def test_slices_of_all_planes_come_as_often_and_sided_labels_swap_only_where_sides_are_seen():
    labels = np.zeros((30, 30, 30), np.uint8)
    labels[3:12, 3:27, 3:27], labels[18:27, 3:27, 3:27] = 1, 2
    image = np.broadcast_to(np.arange(30, dtype=np.float32)[:, None, None], labels.shape)
    one = TrainingCase("a", image[None], labels, (1.0, 1.0, 1.0))
    sampler = PatchSampler([one], (16, 16, 1), 0.5, 0, turned=True)
    across = [sampler.place(0, index)[2].index(1) for index in range(300)]
    assert min(across.count(axis) for axis in range(3)) > 70
    still = Augmentation(p=0, flip="left-right")
    batches = Batches([one], (32, 32, 1), 24, still, (0, 2, 1), 0.9, 0, turned=True)
    seen, truth = next(iter(batches.epoch(0, 1)))
    assert tuple(seen.shape) == (24, 1, 32, 32)
    for picture, classes in zip(seen[:, 0].numpy(), truth.numpy(), strict=True):
        middle = picture[classes == 1].mean() if (classes == 1).any() else None
        if np.ptp(picture) == 0:  # sagittal: one place from left to right
            assert len(np.unique(classes)) <= 2
        elif middle is not None and (classes == 2).any():  # the smaller value lies where 1 does,
            rows = [np.argwhere(classes == number)[:, 0].mean() for number in (1, 2)]
            assert rows[0] < rows[1]  # mirrored or not: the names have changed places with them


def test_slices_of_all_planes_are_square():
    with pytest.raises(ConfigError, match="square"):
        PatchSampler([case()], (16, 8, 1), 0.5, 0, turned=True)
    with pytest.raises(ConfigError, match="one plane"):
        PatchSampler([case()], (8, 8, 1), 0.5, 0, hard_slices=3, turned=True)
