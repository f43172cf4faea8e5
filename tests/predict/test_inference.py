from dataclasses import replace

import numpy as np
import pytest
import torch

from condyle.config import Preparation
from condyle.core import KNEE, Grid, LabelScheme, Volume
from condyle.errors import ConfigError
from condyle.networks import build
from condyle.predict import (
    Ensemble,
    InferenceOptions,
    Predictor,
    RecipePreprocessing,
    Segmenter,
    TrainingRecord,
)
from condyle.predict.runtimes.selection import Backends
from condyle.predict.specialist import specialist_weight
from condyle.predict.views import views
from condyle.prepare.recipe import ProbabilityMap, fuse

pytestmark = pytest.mark.precision

SIDED = LabelScheme.of({"femur_left": 1, "femur_right": 2})


class Sides(torch.nn.Module):
    """Calls what is bright structure 1 where it lies first along an axis, 2 where it lies last."""

    def __init__(self, spatial=2, axis=0, sharp=20.0):
        super().__init__()
        self.spatial, self.axis, self.sharp = spatial, axis, sharp
        self.memory_format = torch.contiguous_format

    def forward(self, x):
        scores = torch.zeros(x.shape[0], 3, *x.shape[2:])
        place = torch.linspace(1, -1, x.shape[2 + self.axis])
        place = place.reshape([-1 if a == self.axis else 1 for a in range(self.spatial)])
        scores[:, 1] = self.sharp * (x[:, 0] - 0.5) * (1 + 0.1 * place)
        scores[:, 2] = self.sharp * (x[:, 0] - 0.5) * (1 - 0.1 * place)
        return scores


class Always(torch.nn.Module):
    """Gives every voxel the same class."""

    def __init__(self, number, spatial=2, score=5.0):
        super().__init__()
        self.number, self.spatial, self.score = number, spatial, score
        self.memory_format = torch.contiguous_format
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        scores = torch.zeros(x.shape[0], 3, *x.shape[2:])
        scores[:, self.number] = self.score
        return scores


class Bright(torch.nn.Module):
    """Structure 1 is what is bright; it keeps count of the slices that it was shown."""

    def __init__(self, spatial=2):
        super().__init__()
        self.spatial, self.memory_format, self.slices = spatial, torch.contiguous_format, 0

    def forward(self, x):
        self.slices += x.shape[0] if self.spatial == 2 else x.shape[-1]
        scores = torch.zeros(x.shape[0], 3, *x.shape[2:])
        scores[:, 1] = 20 * (x[:, 0] - 0.5)
        return scores


def segmenter(network, scheme=KNEE, window=None, training=None, **preparation):
    settings = Preparation(**({"intensity": "minmax"} | preparation))
    preprocessor = RecipePreprocessing(settings=settings, spatial=network.spatial, window=window)
    record = TrainingRecord(**(training or {}))
    return Segmenter("unet-plain", network, preprocessor, scheme, training=record)


def ensemble(*segmenters, specialist=None):
    members = tuple(each.member for each in segmenters)
    return Ensemble(members, specialist.member if specialist else None)


def predict(together, scan=None, each=False, progress=lambda part: None, **options):
    """What an ensemble predicts for a scan, with PyTorch."""
    predictor = Predictor(together, InferenceOptions(**({"runtime": "torch"} | options)))
    return predictor.predict(blob() if scan is None else scan, each=each, progress=progress)


def blob(shape=(24, 20, 30), at=slice(8, 14), spacing=(1, 1, 1)):
    array = np.zeros(shape, np.float32)
    array[6:18, 5:15, at] = 1
    return Volume(array, Grid.regular(shape, spacing))


@pytest.mark.parametrize("spatial", [2, 3])
def test_a_mirror_image_gives_back_the_sides_it_swapped(spatial):
    """A network that goes by the side of the picture calls both sides right in each image."""
    volume = blob()
    for mirroring in ("none", "left-right", "all"):
        found = segmenter(Sides(spatial), SIDED).segment(volume, mirroring=mirroring)
        assert (found.array[6:12, 5:15, 8:14] == 1).all(), mirroring
        assert (found.array[12:18, 5:15, 8:14] == 2).all(), mirroring
        assert set(np.unique(found.array[:, :, :8])) == {0}


@pytest.mark.parametrize(("learnt", "count"), [("none", 1), ("left-right", 2), ("all", 4)])
def test_no_network_predicts_mirror_images_that_it_was_not_trained_on(learnt, count):
    made = ensemble(segmenter(Bright(), training={"mirroring": learnt}))
    assert len(predict(made, mirroring="all", each=True).members) == count
    assert made.predictions(InferenceOptions(mirroring="all")) == count


def test_the_mirror_images_of_a_plane_are_those_of_its_own_axes():
    assert [v.mirrored for v in views("axial", "all")] == [(), (0,), (1,), (0, 1)]
    assert [v.mirrored for v in views("sagittal", "left-right")] == [()]
    assert len(views(None, "all")) == 8


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
@pytest.mark.parametrize("orientation", ["RAS", "PIR", "LPS"])
def test_all_planes_agree_on_what_each_sees_right(plane, orientation):
    volume = blob(spacing=(1, 1, 2))
    turn = volume.grid.turn_to(orientation)
    volume = Volume(turn.apply(volume.array), volume.grid.turned(turn))
    made = segmenter(Bright(), plane=plane)
    for planes in ("axial", "sagittal", "coronal", "all"):
        found = made.segment(volume, planes=planes)
        assert found.grid.same_as(volume.grid)
        wrong = np.mean((found.array == 1) != (volume.array > 0.5))
        assert wrong < 0.03, planes  # thick slices are interpolated in two planes


def test_a_plane_counts_by_how_fine_its_pixels_are_in_the_scan():
    """Of slices 5 mm apart, the plane they were taken in has the word."""
    volume = blob(spacing=(1, 1, 5))

    class ByPlane(torch.nn.Module):
        spatial, memory_format = 2, torch.contiguous_format

        def forward(self, x):
            scores = torch.zeros(x.shape[0], 3, *x.shape[2:])
            axial = x.shape[2:] == (24, 20)
            scores[:, 1 if axial else 2] = 3
            return scores

    found = segmenter(ByPlane()).segment(volume, planes="all")
    assert found.present() == (1,)
    even = Volume(volume.array, Grid.regular(volume.array.shape, (1, 1, 1)))
    assert segmenter(ByPlane()).segment(even, planes="all").present() == (2,)


def test_members_are_averaged_and_the_surer_wins():
    one, two = segmenter(Always(1, score=1.0)), segmenter(Always(2, score=4.0))
    assert predict(ensemble(one, two)).labels.present() == (2,)
    found = predict(ensemble(one, two, one), each=True)
    assert [labels.present() for labels in found.members] == [(1,), (2,), (1,)]
    assert found.labels.array.shape == found.members[0].array.shape


@pytest.mark.parametrize("specialist", [False, True])
@pytest.mark.parametrize(("spatial", "window"), [(2, None), (3, (12, 10, 16))])
def test_progress_is_the_part_of_a_scan_that_is_predicted(spatial, window, specialist):
    ends = {"ends_mm": 6.0} if specialist else None
    one, two = (segmenter(Bright(spatial), window=window, training=ends) for _ in range(2))
    made = ensemble(one, specialist=two) if specialist else ensemble(one, two)
    parts = []
    predict(made, mirroring="left-right", progress=parts.append)
    assert parts == sorted(parts)
    assert parts[0] < 0.4
    assert parts[-1] == 1
    assert 0.5 in parts  # the first of two has finished


def test_planes_are_refused_by_those_that_see_volumes():
    volumes, slices = segmenter(Bright(3)), segmenter(Bright(2))
    with pytest.raises(ConfigError, match="sees volumes, not slices"):
        volumes.segment(blob(), planes="axial")
    assert predict(ensemble(slices, volumes), planes="all").labels.present() == (1,)


def test_post_processing_is_the_last_step_and_members_stay_as_they_are():
    def swapped(labels):
        return labels.with_array(np.where(labels.array == 1, 2, 0).astype(np.uint8))

    predictor = Predictor(ensemble(segmenter(Bright())), InferenceOptions(runtime="torch"))
    found = predictor.predict(blob(), each=True, postprocess=swapped)
    assert found.labels.present() == (2,)
    assert found.members[0].present() == (1,)


def test_the_backends_that_one_process_chose_are_those_of_the_next():
    one, two = (replace(segmenter(Bright()), weights=name) for name in ("abc", "def"))
    batch = Predictor(ensemble(one, two), backends=Backends("torch", "cpu", scans=9))
    names = batch.choose_backends(blob())
    assert names == {"abc": "torch fp32", "def": "torch fp32"}
    worker = Predictor(ensemble(one, two), backends=Backends("auto", "cpu", names=names))
    worker.predict(blob())
    assert worker.backends.names == names


def test_members_must_find_the_same_structures():
    with pytest.raises(ConfigError, match="femur_left"):
        ensemble(segmenter(Always(1)), segmenter(Always(1), SIDED))


def test_views_one_after_another_average_to_those_of_one_pass():
    torch.manual_seed(0)
    network, _ = build("unet-resnet18", 1, 3, "none")
    made = segmenter(network.eval(), spacing=(1.3, 1.3, 0))
    volume = Volume(np.random.default_rng(0).random((24, 20, 6)).astype(np.float32),
                    Grid.regular((24, 20, 6)))  # fmt: skip
    at_once = predict(ensemble(made), volume, mirroring="all").labels
    one_by_one = predict(ensemble(made), volume, mirroring="all", each=True)
    assert len(one_by_one.members) == 4
    same = at_once.array == one_by_one.labels.array
    assert same.mean() > 0.97  # but for ties in half precision


@pytest.mark.parametrize(("spatial", "window"), [(2, None), (3, (24, 20, 16))])
def test_a_first_look_spares_what_shows_nothing_and_changes_nothing(spatial, window):
    volume = blob((24, 20, 200), slice(90, 120))
    close, first = Bright(spatial), Bright(spatial)
    whole = segmenter(close, window=window).segment(volume, runtime="torch")
    made = ensemble(segmenter(first, window=window))
    found = predict(made, volume, first_look=True).labels
    np.testing.assert_array_equal(found.array, whole.array)
    assert first.slices < 0.9 * close.slices if spatial == 3 else first.slices < 0.5 * close.slices


def test_a_first_look_that_finds_nothing_leaves_nothing_out():
    volume = blob((24, 20, 60), slice(3, 4))  # between two slices of the first look
    found = predict(ensemble(segmenter(Bright())), volume, first_look=True).labels
    np.testing.assert_array_equal(found.array, (volume.array > 0.5).astype(np.uint8))


def test_the_specialist_answers_at_the_ends_of_what_the_others_find():
    volume = blob((24, 20, 60), slice(10, 50))
    general = segmenter(Bright())
    special = segmenter(Always(2, score=9.0), training={"ends_mm": 6.0})
    found = predict(ensemble(general, specialist=special), volume).labels.array[10, 10]
    assert set(found[10:16]) == set(found[44:50]) == {2}
    assert set(found[20:40]) == {1}
    with pytest.raises(ConfigError, match="hard_slices"):
        ensemble(general, specialist=segmenter(Always(2)))


def test_a_short_bone_is_the_specialists_alone():
    bone = np.zeros((3, 3, 12), np.uint8)
    bone[1, 1, 4:8] = 1
    assert (specialist_weight(bone, 2, 6.0)[0, 0, 4:8] == 1).all()
    assert specialist_weight(np.zeros((3, 3, 12), np.uint8), 2, 6.0).max() == 0


def test_fused_maps_lie_where_each_was_predicted():
    """Two working grids of one scan: the mean of the two, each enlarged by itself."""
    source = Grid.regular((8, 8, 8))
    small, large = source.resized((4, 4, 4)), source.resized((16, 16, 16))
    rng = np.random.default_rng(0)
    maps = []
    for grid, weight in ((small, 1.0), (large, 3.0)):
        p = rng.random((3, *grid.shape)).astype(np.float32)
        maps.append(ProbabilityMap(p / p.sum(0), grid, source, weight))
    from condyle.prepare.resample import resample_probabilities

    whole = sum(a.weight * resample_probabilities(a.probabilities, (8, 8, 8)) for a in maps)
    np.testing.assert_array_equal(fuse(maps), whole.argmax(0))


def test_scans_cut_to_what_is_not_zero_give_label_maps_of_the_whole_scan():
    """A crop in slices, in windows, along several planes and beside a member without one."""
    volume = blob()
    cut = volume.with_array(np.where(np.indices(volume.grid.shape)[0] < 20, volume.array + 1, 0))
    plain = predict(ensemble(segmenter(Bright())), cut).labels
    for options in ({}, {"planes": "all"}):
        one = segmenter(Bright(), crop="nonzero")
        found = predict(ensemble(one), cut, **options).labels
        assert found.grid.same_as(volume.grid)
        assert (found.array == (volume.array > 0)).all()
    deep = segmenter(Bright(3), crop="nonzero", window=(16, 16, 16))
    assert (predict(ensemble(deep), cut).labels.array == (volume.array > 0)).all()
    both = predict(ensemble(segmenter(Bright(), crop="nonzero"), segmenter(Bright())), cut)
    assert both.labels.array[20:].sum() == 0
    assert plain.grid.same_as(both.labels.grid)
