"""Scans of which nobody labelled one half: that half is neither learnt nor judged."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import condyle
from condyle.config import Experiment
from condyle.config.requests import TrainRequest
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.io import write
from condyle.measure import dice
from condyle.workflows.training.train import train

GRID = Grid.regular((32, 16, 8), (1.5, 1.5, 3.0))
UNKNOWN = np.indices(GRID.shape)[0] >= 16


def scan(seed):
    """A bright ball on either side, in noise; and where the balls are."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.indices(GRID.shape), axis=-1) * GRID.spacing
    ball = np.zeros(GRID.shape, bool)
    for middle in (12, 36):
        centre = np.array([middle, 12, 11]) + rng.uniform(-1.5, 1.5, 3)
        ball |= np.linalg.norm(at - centre, axis=-1) < 7 + rng.uniform(-1, 1)
    image = 100 * ball + 15 * rng.normal(size=GRID.shape)
    return Volume(image.astype(np.float32), GRID), ball


def dataset(root, ignore):
    """Six scans and label maps whose unknown halves hold this number."""
    scheme = LabelScheme.of({"ball": 1, "ignore": ignore})
    for n in range(6):
        volume, ball = scan(n)
        write(volume, root / "images" / f"ball_{n}.nii.gz")
        labels = np.where(UNKNOWN, ignore, ball).astype(np.uint16)
        write(LabelMap(labels, GRID, scheme), root / "labels" / f"ball_{n}.nii.gz")
    (root / "labels.json").write_text(json.dumps(scheme.to_dict()))
    return root


def trained(home, ignore, **training):
    experiment = {
        "dataset": str(dataset(home / "balls", ignore)),
        "network": {"name": "3d:unet-plain"},
        "training": {"batch": 2, "rate": 5e-3, "ema": 0.9, **training},
    }
    return train(TrainRequest.of(Experiment.parse(experiment), home / "run"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("half"), 2, epochs=12, steps=8)


def test_a_structure_is_learnt_and_judged_where_it_was_labelled(run):
    assert [row["structure"] for row in run.summary] == ["ball", "mean"]
    assert run.summary[0]["dice_mean"] > 0.93
    half, whole = (
        np.mean([np.count_nonzero(scan(n)[1] & where) for n in range(6)])
        for where in (~UNKNOWN, np.ones_like(UNKNOWN))
    )
    seen = run.summary[0]["volume_error_cm3_mean"] * 1000 / GRID.voxel_volume
    assert abs(seen) < 0.5 * half < whole - half


def test_the_segmenter_finds_the_structure_where_nobody_labelled(run):
    segmenter = condyle.load(run.folder)
    assert segmenter.scheme == LabelScheme.of({"ball": 1})
    volume, ball = scan(17)
    found = segmenter.segment(volume)
    # 0.98; had it learnt that there is background, 0.86
    assert dice(ball, found.array == 1) > 0.93


def test_what_number_is_ignored_changes_no_bit_of_the_weights(tmp_path):
    one, other = (
        load_file(
            trained(tmp_path / str(ignore), ignore, epochs=1, steps=4).folder
            / "segmenter" / "model.safetensors"
        )
        for ignore in (2, 300)
    )  # fmt: skip
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])
