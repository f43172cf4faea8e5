"""One network for three planes, and a specialist for the ends: trained, kept, loaded, used."""

import numpy as np
import pytest

import condyle
from condyle.config import Experiment
from condyle.config.requests import SegmentRequest, TrainRequest
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError
from condyle.io import read_labels, write, write_nnunet
from condyle.workflows.segment import segment
from condyle.workflows.training.train import train

SCHEME = LabelScheme.of({"rod": 1})


def rod(seed):
    """A bright rod from feet to head, in noise."""
    rng = np.random.default_rng(seed)
    grid = Grid.regular((24, 20, 28), (2.0, 2.0, 2.0))
    labels = np.zeros(grid.shape, np.uint8)
    labels[8:16, 6:14, 4:24] = 1
    image = (100 * labels + 10 * rng.normal(size=grid.shape)).astype(np.float32)
    return Volume(image, grid), LabelMap(labels, grid, SCHEME)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planes")
    pairs = ((f"rod_{n}", (rod(n)[0],), rod(n)[1]) for n in range(5))
    write_nnunet(folder / "rods", "rods", pairs, SCHEME, ("MRI",))
    return folder


def trained(home, name, plane, **training):
    settings = {
        "dataset": str(home / "rods"),
        "network": {"name": "unet-plain"},
        "preparation": {"spacing": [2, 2, 2], "plane": plane},
        "training": {"epochs": 6, "steps": 8, "batch": 4, "rate": 5e-3, "ema": 0.8} | training,
    }
    return train(TrainRequest.of(Experiment.parse(settings), home / name))


@pytest.fixture(scope="module")
def all_planes(home):
    return trained(home, "all", "all")


def test_a_network_for_three_planes_finds_the_same_in_each_and_in_all(all_planes):
    volume, truth = rod(9)
    segmenter = condyle.load(all_planes.folder)
    assert segmenter.preprocessor.plane == "all"
    for planes in ("axial", "sagittal", "coronal", None):
        found = segmenter.segment(volume, planes=planes).array
        shared = np.count_nonzero(found & truth.array)
        assert 2 * shared / (found.sum() + truth.array.sum()) > 0.8, planes


def test_a_specialist_for_the_ends_answers_with_a_run_for_all(home, all_planes, tmp_path):
    special = trained(home, "ends", "axial", hard_slices=3)
    assert condyle.load(special.folder).training.ends_mm == 6.0
    scan = write(rod(9)[0], tmp_path / "rod.nii.gz")
    plain = segment(
        SegmentRequest(run=all_planes.folder, scans=[scan], out=tmp_path / "plain")
    ).written["rod"]
    done = segment(
        SegmentRequest(
            run=all_planes.folder, scans=[scan], out=tmp_path / "both", specialist=special.folder
        )
    )
    one, both = (read_labels(path).array for path in (plain, done.written["rod"]))
    np.testing.assert_array_equal(one[..., 12:16], both[..., 12:16])  # the middle stays
    with pytest.raises(ConfigError, match="hard_slices"):
        segment(
            SegmentRequest(
                run=special.folder, scans=[scan], out=tmp_path / "no", specialist=all_planes.folder
            )
        )
