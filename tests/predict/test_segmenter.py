import contextlib
import functools
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import condyle
from condyle.config import Inflation, Preparation
from condyle.core import KNEE, Grid, LabelScheme, Volume
from condyle.errors import ConfigError, MissingFile, UnreadableFile
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter, TrainingRecord
from condyle.predict.passes import by_slices, by_windows, starts
from condyle.predict.runtimes.torch import TorchRuntime
from condyle.prepare.crop import slab
from condyle.train.sampling import PatchSampler, TrainingCase

pytestmark = pytest.mark.precision


class Threshold(torch.nn.Module):
    """A network that calls bright voxels structure 1: its right answer is known."""

    def __init__(self, spatial, classes=3):
        super().__init__()
        self.spatial, self.classes = spatial, classes
        self.memory_format = torch.contiguous_format

    def forward(self, x):
        scores = torch.zeros(x.shape[0], self.classes, *x.shape[2:])
        scores[:, 1] = 20 * (x[:, 0] - 0.5)
        return scores


def preprocessor(spatial, window=None, **preparation):
    settings = Preparation(**({"intensity": "minmax"} | preparation))
    return RecipePreprocessing(settings=settings, spatial=spatial, window=window)


def segmenter(network, **preparation):
    return Segmenter("unet-plain", network, preprocessor(network.spatial, **preparation), KNEE)


def scan(shape=(20, 18, 9), seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random(shape) > 0.7).astype(np.float32)


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
@pytest.mark.parametrize("spatial", [2, 3])
def test_every_voxel_is_answered_where_it_is(plane, spatial):
    array = scan()
    grid = Grid.regular(array.shape, (1, 2, 3)).turned(
        Grid.regular(array.shape, (1, 2, 3)).turn_to("PIR")
    )
    array = scan(grid.shape)
    found = segmenter(Threshold(spatial), plane=plane).segment(Volume(array, grid))
    np.testing.assert_array_equal(found.array, array > 0)
    assert found.grid.same_as(grid)
    assert found.scheme == KNEE


def test_outside_the_area_all_is_background_and_inside_nothing_changes():
    array, grid = scan(), Grid.regular((20, 18, 9), (1, 2, 3))
    whole = segmenter(Threshold(2)).segment(Volume(array, grid))
    part = segmenter(Threshold(2)).segment(Volume(array, grid), area=slab(grid, 3, 5))
    np.testing.assert_array_equal(part.array[:, :, 3:6], whole.array[:, :, 3:6])
    assert part.array[:, :, :3].max() == part.array[:, :, 6:].max() == 0
    assert part.grid.same_as(grid)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60))
def test_windows_cover_a_side_and_never_leave_it(length, window):
    found = starts(length, min(window, length))
    covered = {n for s in found for n in range(s, s + min(window, length))}
    assert covered == set(range(length))
    assert found == sorted(set(found))


def test_windows_agree_with_one_look_at_the_whole_where_the_network_sees_single_voxels():
    runtime = TorchRuntime.of(Threshold(3), "cpu")
    image = np.random.default_rng(0).random((1, 30, 22, 17)).astype(np.float32)
    whole = by_windows(runtime, image, (30, 22, 17))
    parts = by_windows(runtime, image, (16, 8, 8))
    np.testing.assert_allclose(whole.astype(float), parts.astype(float), atol=2e-3)
    assert whole.max() <= 1
    assert parts.max() <= 1


def test_a_scan_smaller_than_the_window_is_filled_up_as_training_samples_are():
    torch.manual_seed(0)
    runtime = TorchRuntime.of(build("3d:unet-plain", 1, 3, "none")[0].eval(), "cpu")
    image = np.random.default_rng(0).random((1, 13, 10, 9)).astype(np.float32)
    case = TrainingCase("one", image, np.ones(image.shape[1:], np.uint8), (1, 1, 1))
    sampler = PatchSampler([case], (16, 16, 16), foreground=0.5, seed=0)
    n, start, patch = sampler.place(0, 0)
    sample, labels, _ = sampler.at(n, start, patch)
    expected = runtime.probabilities(torch.from_numpy(sample)[None])[0].numpy()
    found = by_windows(runtime, image, (16, 16, 16))
    expected = expected[:, labels > 0].reshape(found.shape)
    np.testing.assert_allclose(found.astype(float), expected, atol=1e-3)


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_slices_give_probabilities_that_sum_to_one(plane):
    torch.manual_seed(0)
    network, _ = build("unet-resnet18", 1, 3, "none")
    found = by_slices(TorchRuntime.of(network, "cpu"), scan()[None], plane)
    assert found.shape == (3, 20, 18, 9)
    np.testing.assert_allclose(found.astype(float).sum(0), 1, atol=5e-3)


def test_label_numbers_are_the_schemes_not_the_networks():
    scheme = LabelScheme.of({"femur": 75, "hip": 300})
    made = Segmenter("unet-plain", Threshold(2), preprocessor(2), scheme)
    array = scan()
    found = made.segment(Volume(array, Grid.regular(array.shape)))
    assert found.present() == (75,)
    assert found.array.dtype == np.uint16


def test_what_was_saved_loads_to_the_same_answer(tmp_path):
    torch.manual_seed(0)
    network, _ = build("3d:unet-plain", 1, 3)
    made = Segmenter(
        "3d:unet-plain", network.eval(), preprocessor(3, (16, 16, 16), spacing=(1.5, 1.5, 0)),
        KNEE, training=TrainingRecord(weights="random numbers", train=("a", "b")),
    )  # fmt: skip
    made.save(tmp_path / "segmenter")
    again = condyle.load(tmp_path)
    volume = Volume(scan(), Grid.regular((20, 18, 9)))
    np.testing.assert_array_equal(made.segment(volume).array, again.segment(volume).array)
    assert (again.name, again.scheme) == (made.name, KNEE)
    assert again.preprocessor == made.preprocessor
    assert again.training == made.training


def test_a_folder_without_a_segmenter_says_what_to_give(tmp_path):
    with pytest.raises(MissingFile, match="condyle train"):
        condyle.load(tmp_path)


@pytest.mark.parametrize("runtime", ["torch", "openvino", "auto"])
def test_a_models_folder_is_only_read_while_predicting(tmp_path, runtime):
    """A lab's shared model lies in a folder that only others may write to."""
    torch.manual_seed(0)
    made = Segmenter("unet-plain", build("unet-plain", 1, 3)[0].eval(), preprocessor(2), KNEE)
    run = made.save(tmp_path / "run" / "segmenter").parent
    for path in (run / "segmenter", run):
        path.chmod(0o555)
    before = everything_in(run)
    volume = Volume(scan((64, 48, 12)), Grid.regular((64, 48, 12)))
    found = condyle.load(run).segment(volume, "cpu", runtime=runtime)
    assert found.grid.same_as(volume.grid)
    assert everything_in(run) == before
    for path in (run / "segmenter", run):
        path.chmod(0o755)


def everything_in(folder):
    """Path -> size and time of last change, of a folder and all that is in it."""
    found = {path: path.stat() for path in (folder, *folder.rglob("*"))}
    return {path: (at.st_size, at.st_mtime_ns, at.st_mode) for path, at in found.items()}


def test_the_files_of_a_segmenter_may_be_read_by_those_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        segmenter(build("unet-plain", 1, 3)[0]).save(tmp_path)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_any_damage_to_the_file_of_a_segmenter_is_a_sentence(tmp_path):
    """Each value in turn is replaced by one of another kind."""
    network, _ = build("3d:unet-plain", 1, 3)
    Segmenter("3d:unet-plain", network, preprocessor(3), KNEE).save(tmp_path)
    file = tmp_path / "segmenter.json"
    whole = json.loads(file.read_text())
    for path in paths_in(whole):
        for other in (None, -1, "x", [], {"a": []}):
            changed = json.loads(json.dumps(whole))
            *parents, last = path
            place = functools.reduce(lambda found, key: found[key], parents, changed)
            place[last] = other
            file.write_text(json.dumps(changed))
            with contextlib.suppress(UnreadableFile):
                Segmenter.load(tmp_path)
    for text in ("", "[]", "null", "[" * 100_000, "\0"):
        file.write_text(text)
        with pytest.raises(UnreadableFile, match=r"segmenter\.json"):
            Segmenter.load(tmp_path)


def paths_in(tree, path=()):
    """The keys that lead to each value in nested JSON."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths_in(value, (*path, key))


@pytest.mark.parametrize("spoil", ["weights", "card", "network", "missing"])
def test_a_damaged_segmenter_is_refused(tmp_path, spoil):
    network, _ = build("3d:unet-plain", 1, 3)
    Segmenter("3d:unet-plain", network, preprocessor(3), KNEE).save(tmp_path)
    weights, card = tmp_path / "model.safetensors", tmp_path / "segmenter.json"
    if spoil == "weights":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif spoil == "card":
        card.write_text(card.read_text()[:-30])
    elif spoil == "missing":
        weights.unlink()
    else:
        card.write_text(json.dumps(json.loads(card.read_text()) | {"channels": 4}))
    with pytest.raises(UnreadableFile):
        Segmenter.load(tmp_path)


def test_a_scan_with_another_number_of_channels_is_refused():
    volume = Volume(scan(), Grid.regular((20, 18, 9)))
    with pytest.raises(ConfigError, match="1 channel"):
        segmenter(Threshold(2)).segment((volume, volume))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_an_inflated_segmenter_answers_as_on_slices_where_all_slices_are_alike(tmp_path, plane):
    torch.manual_seed(0)
    network, _ = build("unet-resnet18", 1, 3, "none")
    with torch.no_grad():  # every class wins somewhere, and not by a hair
        network.segmentation_head[0].weight *= 1000
        scores = network.eval()(torch.rand(4, 1, 32, 32))
        network.segmentation_head[0].bias -= scores.mean((0, 2, 3))
    flat = segmenter(network, plane=plane)
    flat = Segmenter("unet-resnet18", flat.network, flat.preprocessor, KNEE)
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    array = np.repeat(np.random.default_rng(0).random((32, 32)).astype(np.float32)[None], 32, 0)
    volume = Volume(np.moveaxis(array, 0, axis), Grid.regular((32, 32, 32)))
    deep = flat.inflated(Inflation(strategy="scale"))
    assert deep.name == "3d:unet-resnet18"
    expected = flat.segment(volume)
    assert len(np.unique(expected.array)) > 1
    assert (deep.segment(volume).array == expected.array).mean() > 0.999
    again = condyle.load(deep.save(tmp_path / "deep"))
    assert again.inflation == deep.inflation
    np.testing.assert_array_equal(again.segment(volume).array, deep.segment(volume).array)
    with pytest.raises(ConfigError, match="3D already"):
        deep.inflated()
