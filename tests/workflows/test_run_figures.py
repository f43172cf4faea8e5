"""What a run folder shows of a training: its network, its patients, random slices."""

import io

import numpy as np
import pytest
from matplotlib import image
from torch import nn

from condyle.config import Experiment
from condyle.core import Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.io import open_dataset, write, write_nnunet
from condyle.networks import build
from condyle.runs.folder import RunFolder
from condyle.runs.record import read_csv
from condyle.workflows.training.run_figures import outline, write_beginning, write_slices

SCHEME = LabelScheme.of({"bar": 1})
GRID = Grid.regular((20, 24, 12), (1.0, 1.0, 3.0))
ASKED = Experiment.parse({"dataset": "bars"})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[5:15, 5:15, 4:9] = 1
    scan = Volume((100 * labels + rng.normal(size=GRID.shape)).astype(np.float32), GRID)
    pairs = ((f"bar_{n}", (scan,), LabelMap(labels, GRID, SCHEME)) for n in range(3))
    folder = tmp_path_factory.mktemp("bars") / "bars"
    return open_dataset(write_nnunet(folder, "bars", pairs, SCHEME, ("MRI",)))


@pytest.fixture(scope="module")
def predictions(dataset, tmp_path_factory):
    """Of two of the three cases."""
    out = tmp_path_factory.mktemp("predictions")
    for case in dataset.cases[:2]:
        write(case.labels(), out / f"{case.id}.nii.gz")
    return {case.id: out / f"{case.id}.nii.gz" for case in dataset.cases[:2]}


def test_slices_are_drawn_by_lot_and_the_seed_says_which(dataset, predictions, tmp_path):
    drawn = [
        write_slices(
            dataset.cases, predictions, ASKED.changed(training={"seed": seed}), RunFolder(tmp_path)
        ).read_bytes()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    pixels = image.imread(io.BytesIO(drawn[0]))
    assert pixels.shape[1] == 1200
    assert pixels.std() > 0.05


def test_where_no_case_is_held_out_there_is_nothing_to_draw(tmp_path):
    assert write_slices([], {}, ASKED, RunFolder(tmp_path)) is None
    assert not list(tmp_path.iterdir())


def test_a_run_says_who_was_trained_on_and_what_the_network_is(dataset, tmp_path):
    network, _ = build("3d:unet-plain", 1, 2, "none")
    fold = Fold(("bar_0",), ("bar_1",), ("bar_2",))
    write_beginning("3d:unet-plain", network, dataset, fold, RunFolder(tmp_path))
    parts = {row["case"]: row["part"] for row in read_csv(tmp_path / "cases.csv")}
    assert parts == {"bar_0": "train", "bar_1": "validation", "bar_2": "test"}
    text = (tmp_path / "network.txt").read_text()
    assert text.startswith("3d:unet-plain\n")
    size = sum(weights.numel() for weights in network.parameters())
    assert f"{size:,} parameters" in text
    assert "decoder" in text


def test_the_parts_of_an_outline_add_up():
    network = nn.ModuleDict({"one": nn.Linear(3, 4), "two": nn.Linear(4, 5), "none": nn.ReLU()})
    first, *rest = outline(network).splitlines()
    numbers = [int(line.split()[-1].replace(",", "")) for line in rest]
    assert f"{sum(numbers)} parameters" in first
    assert len(rest) == 2
