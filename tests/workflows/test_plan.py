"""What a training chooses by itself."""

import numpy as np
import pytest

from condyle.config import Experiment
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.io import open_dataset, write_nnunet
from condyle.jobs.job import Job
from condyle.prepare.splits import fold_of
from condyle.workflows.training import plan as planning
from condyle.workflows.training.plan import plan_training

SCHEME = LabelScheme.of({"ball": 1})


def planned(experiment, dataset, plane=None):
    """The plan of a training on the experiment's fold."""
    fold = fold_of(dataset, experiment.fold, experiment.training.seed)
    return plan_training(experiment, dataset, fold, Job(), plane=plane)


def dataset(folder, shape, spacing=(1.0, 1.0, 1.0), orientation="RAS"):
    def scan(seed):
        rng = np.random.default_rng(seed)
        grid = Grid.regular(shape, spacing)
        labels = np.zeros(shape, np.uint8)
        labels[tuple(slice(n // 3, 2 * n // 3) for n in shape)] = 1
        image = (100 * labels + 10 * rng.normal(size=shape)).astype(np.float32)
        scan, truth = Volume(image, grid), LabelMap(labels, grid, SCHEME)
        return (scan.reoriented(orientation),), truth.reoriented(orientation)

    pairs = ((f"case_{n}", *scan(n)) for n in range(4))
    return open_dataset(write_nnunet(folder / "data", "data", pairs, SCHEME, ("MRI",)))


@pytest.fixture
def step_takes(monkeypatch):
    """Sets how long a step is found to take, so that nothing depends on this machine."""

    def set_to(seconds, free_gib=16.0):
        monkeypatch.setattr(planning, "seconds_of_step", lambda *_: seconds)
        monkeypatch.setattr(planning, "memory_here", lambda _: int(free_gib * 2**30))

    return set_to


def experiment(data, **settings):
    return Experiment.parse({"dataset": str(data.root), **settings})


def test_scans_that_are_seen_whole_get_a_3d_network_if_there_is_time(tmp_path, step_takes):
    data = dataset(tmp_path, (36, 50, 36))
    step_takes(0.1)
    made = planned(experiment(data, training={"budget": 300}), data)
    assert made.experiment.network.name == "3d:unet-plain"
    assert made.experiment.training.patch == (32, 48, 32)
    step_takes(10.0)
    made = planned(experiment(data, training={"budget": 300}), data)
    assert made.experiment.network.name == "unet-efficientnet_lite0"
    assert any("too slow" in reason for reason in made.reasons)


def test_large_scans_go_slice_by_slice(tmp_path, step_takes):
    step_takes(0.1)
    data = dataset(tmp_path, (128, 128, 72))
    made = planned(experiment(data), data, plane="coronal").experiment
    assert made.network.name == "unet-efficientnet_lite0"
    assert made.preparation.plane == "coronal"
    assert made.training.patch[1] == 1


def test_who_asks_for_a_plane_gets_slices(tmp_path, step_takes):
    step_takes(0.1)
    data = dataset(tmp_path, (36, 50, 36))
    made = planned(experiment(data), data, plane="coronal").experiment
    assert (made.network.name, made.preparation.plane) == ("unet-efficientnet_lite0", "coronal")


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "ASL", "PIR", "SAR"])
@pytest.mark.parametrize(
    ("spacing", "plane"),
    [
        ((3.0, 0.4, 0.4), "sagittal"),
        ((0.9, 4.0, 0.9), "coronal"),
        ((0.9, 1.5, 0.9), "coronal"),
        ((0.9, 0.9, 1.5), "axial"),
        ((1.0, 1.0, 1.0), "axial"),
        ((1.2, 1.0, 1.0), "axial"),
    ],
)
def test_slices_are_those_of_the_acquisition_however_the_axes_are_stored(
    tmp_path, step_takes, spacing, plane, orientation
):
    step_takes(10.0)
    data = dataset(tmp_path, (24, 20, 28), spacing, orientation)
    made = planned(experiment(data, training={"budget": 300}), data)
    assert made.experiment.network.name == "unet-efficientnet_lite0"
    assert made.experiment.preparation.plane == plane
    across = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    assert made.experiment.training.patch[across] == 1
    (reason,) = {why for why in made.reasons if why.startswith("plane")}
    assert plane in reason
    assert ("nearly cubic" in reason) == (max(spacing) < 1.25)


def test_the_plane_suits_half_given_preparations_patches_and_the_ends_of_bones(
    tmp_path, step_takes
):
    step_takes(0.1)
    data = dataset(tmp_path, (24, 20, 28), (3.0, 0.4, 0.4))
    flat = {"network": {"name": "unet-plain"}}
    for settings, plane in (
        ({"preparation": {"spacing": (0, 1, 1)}}, "sagittal"),
        ({"training": {"patch": (32, 32, 1)}}, "axial"),
        ({"training": {"hard_slices": 3}}, "axial"),
        ({"preparation": {"plane": "coronal"}}, "coronal"),
    ):
        made = planned(experiment(data, **(flat | settings)), data).experiment
        assert made.preparation.plane == plane, settings


def test_inflated_networks_are_deep_across_the_slices_of_the_acquisition(tmp_path, step_takes):
    step_takes(0.1)
    data = dataset(tmp_path, (24, 20, 28), (3.0, 0.7, 0.7))
    inflated = experiment(data, network={"name": "3d:unet-mobilenetv3", "weights": "none"})
    made = planned(inflated, data).experiment
    assert made.network.inflation.axis == 2
    assert made.network.inflation.keep_depth == 2


def test_what_is_given_is_kept(tmp_path, step_takes):
    step_takes(0.1)
    data = dataset(tmp_path, (36, 50, 36))
    given = experiment(
        data,
        network={"name": "unet-plain"},
        preparation={"size": 64, "plane": "sagittal"},
        training={"batch": 3, "patch": (1, 32, 64), "budget": 60},
    )
    assert planned(given, data).experiment == given


def test_the_batch_fits_into_memory_and_into_the_time(tmp_path, step_takes):
    data = dataset(tmp_path, (36, 50, 36))
    asked = experiment(data, network={"name": "3d:unet-plain"}, training={"budget": 600})
    step_takes(0.2)
    usual = planned(asked, data).experiment.training.batch
    step_takes(0.2, free_gib=0.05)
    assert planned(asked, data).experiment.training.batch == usual // 2
    step_takes(0.02)
    assert planned(asked, data).experiment.training.batch == 2 * usual


def test_a_plan_says_seconds_and_memory_and_reads_back_as_itself(tmp_path):
    data = dataset(tmp_path, (24, 24, 24))
    made = planned(experiment(data, training={"epochs": 1}), data)
    assert any(" s and " in reason and "GiB" in reason for reason in made.reasons)
    file = tmp_path / "plan.toml"
    file.write_text(made.experiment.to_toml())
    assert Experiment.read(file) == made.experiment
