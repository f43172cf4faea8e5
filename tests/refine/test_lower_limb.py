"""The lower-limb tool's rule on whole label maps, stated plainly with scipy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from condyle.core import LOWER_LIMB, Grid, LabelMap
from condyle.refine import Refinement, refine


def one_slice(mask, ratio):
    """The tool's function for one slice, in its own order and with its own thresholds."""
    image = mask.astype(np.uint8)
    small = int(ratio * image.sum())
    for value in (0, 1):  # holes are filled first, then specks dropped
        parts, count = ndimage.label(image == value)
        for part in range(1, count + 1):
            if (parts == part).sum() < small:
                image[parts == part] = 1 - value
    return image.astype(bool)


def plain(array, axis, ratio):
    """Each structure by itself; what it gains is background that no earlier structure gained."""
    cleaned = np.zeros_like(array)
    masks = {}
    for number in LOWER_LIMB.ids:
        slices = [one_slice(image == number, ratio) for image in np.moveaxis(array, axis, 0)]
        masks[number] = np.stack(slices, axis)
        cleaned[masks[number] & (array == number)] = number
    for number in LOWER_LIMB.ids:
        cleaned[masks[number] & (cleaned == 0)] = number
    return cleaned


@st.composite
def bones(draw):
    """Blobs, rings and specks of four structures, as networks draw them."""
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=18))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sigma = draw(st.sampled_from([0.0, 0.7, 1.5]))
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), sigma) for _ in range(5)]
    array = np.argmax(fields, axis=0).astype(np.uint8)
    array[rng.random(shape) < draw(st.sampled_from([0, 0.1, 0.6]))] = 0
    return np.asarray(array, order=draw(st.sampled_from("CF")))


RATIOS = st.sampled_from([0.01, 0.03, 0.1, 0.3])


@settings(deadline=None)
@given(bones(), st.sampled_from([(0, "sagittal"), (1, "coronal"), (2, "axial")]), RATIOS)
def test_the_steps_are_the_lower_limb_tools(array, plane, ratio):
    axis, name = plane
    labels = LabelMap(array, Grid(array.shape, np.eye(4)), LOWER_LIMB)
    cleaned = refine(labels, Refinement(slice_ratio=ratio, slice_plane=name)).array
    np.testing.assert_array_equal(cleaned, plain(array, axis, ratio))


def test_one_per_cent_of_a_slice():
    """Beside a shaft of 20 x 20 pixels 5 pixels stay and 3 go, and its holes are filled."""
    array = np.zeros((60, 60, 3), np.uint8)
    array[10:30, 10:30] = 1
    array[20, 20, 1] = 0
    array[40:45, 40, 1] = 1
    array[50:53, 50, 2] = 1
    labels = LabelMap(array, Grid(array.shape, np.eye(4)), LOWER_LIMB)
    cleaned = refine(labels, Refinement(slice_ratio=0.01)).array
    assert cleaned[20, 20, 1] == 1
    assert cleaned[40:45, 40, 1].all()
    assert not cleaned[40:, :, 2].any()
