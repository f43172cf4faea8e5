"""A scan in whatever form people have it: segmented as the same scan, or refused in a sentence."""

import doctest
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given
from hypothesis import strategies as st

import condyle
from condyle.config import Preparation
from condyle.core import KNEE, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, MissingFile, UnknownName
from condyle.io import read_labels, write
from condyle.io.exchange import channels_of
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter

AFFINE = np.array([[0, -0.8, 0, 30], [0.9, 0, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    network = build("unet-plain", 1, 3, "none")[0].eval()
    return Segmenter("unet-plain", network, RecipePreprocessing(settings=Preparation()), KNEE)


@pytest.fixture(scope="module")
def scan():
    array = np.random.default_rng(0).normal(size=(20, 18, 10)).astype(np.float32)
    return Volume(array, Grid(array.shape, AFFINE), "MR")


def test_a_scan_is_segmented_in_every_form(segmenter, scan, tmp_path):
    path = write(scan, tmp_path / "scan.nii.gz")
    expected = segmenter.segment(scan)
    image = nibabel.Nifti1Image(scan.array, AFFINE)
    forms = [path, str(path), image, nibabel.load(path), sitk.ReadImage(str(path)), (scan,), [path]]
    for form in forms:
        found = segmenter.segment(form)
        assert found.grid.same_as(scan.grid, 1e-3)
        assert np.array_equal(found.array, expected.array)
    assert np.array_equal(segmenter.segment(scan.array, grid=scan.grid).array, expected.array)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (np.zeros((8, 8, 8)), "give `grid`"),
        (None, "a NoneType"),
        (7, "a int"),
        (LabelMap(np.ones((8, 8, 8), np.uint8), Grid.regular((8, 8, 8)), KNEE), "a label map"),
        ([Volume(np.zeros((8, 8, 8)), Grid.regular((8, 8, 8)))] * 2, "1 channel, the scan has 2"),
        (nibabel.Nifti1Image(np.zeros((8, 8)), np.eye(4)), "3 axes"),
        ("nowhere.nii.gz", "nowhere.nii.gz"),
    ],
)
def test_what_is_no_scan_is_refused_in_a_sentence(segmenter, form, words):
    with pytest.raises(MissingFile if isinstance(form, str) else ConfigError,
                       match=words):  # fmt: skip
        segmenter.segment(form)


@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3), st.integers(0, 9))
def test_to_other_libraries_and_back_nothing_moves(axes, signs, seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[list(axes)] * signs * rng.uniform(0.3, 4, 3)
    affine[:3, 3] = rng.uniform(-99, 99, 3)
    scan = Volume(rng.integers(-900, 900, (4, 5, 6)).astype(np.int16), Grid((4, 5, 6), affine))
    for image in (condyle.to_nibabel(scan), condyle.to_sitk(scan)):
        (back,) = channels_of(image)
        assert np.array_equal(back.array, scan.array)
        assert back.array.dtype == scan.array.dtype
        assert np.allclose(back.affine, affine, atol=1e-9)
    place = condyle.to_sitk(scan).TransformIndexToPhysicalPoint((1, 2, 3))
    assert np.allclose(np.array(place) * (-1, -1, 1), (affine @ (1, 2, 3, 1))[:3])


def test_what_is_shown_of_a_thing_is_one_line(segmenter, scan):
    assert repr(segmenter) == "Segmenter(unet-plain: tibia, femur)"
    assert repr(scan) == "Volume(MR float32, Grid(20x18x10 voxels, 0.9x0.8x2 mm, ALS))"
    assert repr(KNEE) == "LabelScheme(tibia=1, femur=2)"
    assert "\n" not in repr(segmenter.segment(scan))
    assert (scan.shape, scan.spacing) == ((20, 18, 10), pytest.approx((0.9, 0.8, 2)))
    assert np.array_equal(scan.affine, AFFINE)


def test_labels_are_read_under_names_that_are_given_in_any_way(tmp_path):
    array = np.zeros((4, 4, 4), np.uint8)
    array[1], array[2] = 1, 2
    path = write(LabelMap(array, Grid.regular((4, 4, 4), spacing=(10, 10, 10)), KNEE),
                 tmp_path / "knee.nii.gz")  # fmt: skip
    for scheme in ("knee", {"tibia": 1, "femur": 2}, LabelScheme.of({"tibia": 1, "femur": 2})):
        assert read_labels(path, scheme).volumes() == pytest.approx({"tibia": 16, "femur": 16})
    with pytest.raises(UnknownName, match="lower-limb"):
        read_labels(path, "knees")
    with pytest.raises(ConfigError, match="a scheme says what numbers stand for"):
        read_labels(path, {})


def test_the_examples_of_the_page_on_python_run():
    page = Path(__file__).parents[2] / "docs" / "python.md"
    done = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert (done.failed, done.attempted > 5) == (0, True)
