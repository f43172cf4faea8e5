"""Real CT through every step: what comes out lies where the scan lies."""

import json

import numpy as np
import pytest

import condyle
from condyle.config import Experiment
from condyle.config.requests import CheckRequest, ImportRequest, TrainRequest
from condyle.core import Grid, Volume
from condyle.prepare.fingerprint import fingerprint, settings_for
from condyle.prepare.recipe import Recipe
from condyle.workflows.check import check
from condyle.workflows.importing.import_scans import import_scans
from condyle.workflows.training.train import train
from strategies import rotation

BONES = {"femur_left": 75, "femur_right": 76, "hip_left": 77, "hip_right": 78, "sacrum": 25}


@pytest.fixture(scope="module")
def dataset(shared, tmp_path_factory):
    """The reference CT of TotalSegmentator with the masks of its pelvis and femora."""
    folder = tmp_path_factory.mktemp("ct")
    reference = shared / "totalsegmentator_reference"
    (folder / "bones.json").write_text(json.dumps(BONES))
    said = import_scans(
        ImportRequest(
            scans=[reference / "example_ct.nii.gz"],
            masks=[reference / "example_seg_fast_force_split.nii.gz"],
            out=folder / "data",
            scheme=str(folder / "bones.json"),
        )
    ).text
    assert "labels that are not in the scheme became background" in said
    return folder / "data"


@pytest.fixture(scope="module")
def segmenter(dataset):
    """One scan is no training set: a smoke run, so that there is something to segment with."""
    experiment = Experiment.parse(
        {"dataset": str(dataset), "training": {"epochs": 1, "batch": 4, "ema": 0}}
    )
    return train(TrainRequest.of(experiment, dataset.parent / "run")).segmenter


def test_the_imported_scan_is_the_scan_and_passes_the_check(dataset, shared):
    reference = shared / "totalsegmentator_reference"
    original = condyle.read(reference / "example_ct.nii.gz")
    (case,) = condyle.open_dataset(dataset)
    channels, labels = case.pair()
    np.testing.assert_array_equal(channels[0].array, original.array)
    assert channels[0].grid.same_as(original.grid, 1e-4)
    assert labels.volume_cm3("femur_left") == pytest.approx(4488 * 0.027, rel=1e-3)
    assert check(CheckRequest(dataset=dataset)) == []


def test_femora_come_back_through_the_recipe(dataset):
    data = condyle.open_dataset(dataset)
    case = data.cases[0]
    channels, labels = case.pair()
    for spatial in (2, 3):
        recipe = Recipe(settings_for(fingerprint([case]), spatial))
        prepared = recipe.apply(channels)
        there = recipe.apply_labels(labels)
        one_hot = np.stack([there.array == n for n in range(len(data.scheme) + 1)])
        back = recipe.undo(one_hot.astype(np.float32), prepared)
        for name in ("femur_left", "femur_right"):
            truth, found = labels.mask(name), back == data.scheme[name].id
            assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) >= 0.98


def test_every_answer_lies_on_its_scans_own_grid(segmenter, shared):
    for path in sorted((shared / "sts_extremity").glob("STS_0[124]*/CT_image.nii.gz"))[:4]:
        volume = condyle.read(path)
        assert segmenter.segment(volume).grid.distance_to(volume.grid) < 1e-4


def test_flipped_and_oblique_copies_of_a_scan_get_the_same_answer(segmenter, dataset):
    volume = condyle.open_dataset(dataset).cases[0].image()
    volume = volume.cropped((20, 20, 0), (100, 80, 40))
    straight = segmenter.segment(volume)
    for orientation in ("LPS", "PIR", "SRA"):
        turned = segmenter.segment(volume.reoriented(orientation))
        np.testing.assert_array_equal(
            turned.reoriented(straight.grid.orientation).array, straight.array
        )
    affine = volume.grid.affine.copy()
    affine[:3, :3] = rotation((0.2, -0.15, 0.1)) @ affine[:3, :3]
    oblique = Volume(volume.array, Grid(volume.grid.shape, affine), volume.modality)
    found = segmenter.segment(oblique)
    np.testing.assert_array_equal(found.array, straight.array)
    assert found.grid.distance_to(oblique.grid) < 1e-4
