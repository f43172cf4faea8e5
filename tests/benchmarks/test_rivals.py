import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from condyle.core import Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.io import open_dataset
from condyle.io.datasets.nnunet import write_nnunet

LONG = Path(__file__).parents[2] / "benchmarks" / "long"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(LONG)


@pytest.fixture
def summary(tmp_path):
    def written(folder, dice):
        folder.mkdir(parents=True)
        (folder / "summary.csv").write_text(f"structure,dice_mean\nfemur,0.1\nmean,{dice}\n")

    return written


def test_a_finished_run_is_not_repeated_and_a_broken_one_begins_anew(
    tmp_path, monkeypatch, summary
):
    import rivals

    course, calls = rivals.Course(tmp_path / "data", 0, tmp_path / "runs"), []

    def train(course, minutes, seed, folder):
        calls.append(folder.exists())
        summary(folder, 0.5)

    monkeypatch.setitem(rivals.RIVALS, "Condyle", train)
    course.folder("Condyle", 5, 0).mkdir(parents=True)
    course.run("Condyle", 5, 0)
    course.run("Condyle", 5, 0)
    assert calls == [False]
    assert course.scores(5, [0, 1]) == {"Condyle": [0.5], "plain script": [], "nnU-Net": []}


def test_a_run_that_fails_leaves_its_cell_empty(tmp_path, monkeypatch, capsys):
    import rivals

    def fail(course, minutes, seed, folder):
        rivals.call(folder, sys.executable, "-c", "raise SystemExit('no memory')")

    monkeypatch.setitem(rivals.RIVALS, "nnU-Net", fail)
    course = rivals.Course(tmp_path / "data", 0, tmp_path)
    course.run("nnU-Net", 5, 0)
    assert "no memory" in (tmp_path / "nnU-Net-5m-seed0.log").read_text()
    assert "nnU-Net failed" in capsys.readouterr().err
    assert course.scores(5, [0])["nnU-Net"] == []


def test_the_table_has_means_and_the_range_over_seeds():
    import rivals

    scores = {"Condyle": [0.9, 0.8], "plain script": [0.7], "nnU-Net": []}
    text = rivals.table("minutes", {5: scores})
    assert text.splitlines()[-1] == "| 5 | 0.850 (0.800 to 0.900) | 0.700 |  |"


@pytest.fixture
def dataset(tmp_path):
    """Four tiny cases, two of one patient, in two folds."""
    scheme = LabelScheme.of({"femur": 1})
    pairs = []
    for number, name in enumerate("abcd"):
        array = np.full((8, 9, 10), number, np.int16)
        grid = Grid(array.shape, np.eye(4))
        labels = LabelMap((array >= 0).astype(np.uint8), grid, scheme)
        pairs.append((name, (Volume(array, grid),), labels))
    folds = [Fold(("a", "b"), ("c", "d")), Fold(("c", "d"), ("a",), ("b",))]
    patients = "case,patient\na,one\nb,two\nc,three\nd,three\n"
    return write_nnunet(
        tmp_path / "data", "tiny", pairs, scheme, ["CT"], folds, lambda: {"patients.csv": patients}
    )


def test_a_cut_holds_the_cases_asked_for_and_their_split(dataset, tmp_path):
    import rivals

    rivals.write_cut(dataset, (("a",), ("c", "d")), tmp_path / "cut")
    cut = open_dataset(tmp_path / "cut")
    assert [case.id for case in cut] == ["a", "c", "d"]
    assert cut["c"].patient == cut["d"].patient == "three"
    assert rivals.split(tmp_path / "cut", 0) == (("a",), ("c", "d"))
    assert cut["d"].image().array.max() == 3


def test_cases_that_would_choose_train_the_rivals_where_others_judge(dataset):
    import rivals

    assert rivals.split(dataset, 1) == (("c", "d", "a"), ("b",))


def test_the_plain_script_moves_scan_and_labels_alike():
    import plain

    torch.manual_seed(0)
    target = torch.zeros(4, 24, 40, 32, dtype=torch.long)
    target[:, 6:16, 10:34, 8:20] = 1
    image, changed = plain.changed(target[:, None].float(), target, torch.arange(2))
    assert not torch.equal(changed, target)
    inside, outside = image[changed[:, None] == 1], image[changed[:, None] == 0]
    assert inside.median() > outside.median() + 0.5


def test_the_plain_script_segments_a_scan_of_any_size():
    import plain

    network = plain.UNet(1, 3).eval()
    image = np.zeros((1, 13, 21, 9), np.float32)
    assert plain.segmented(network, image, [16, 16, 16], plain.Setting()).shape == (13, 21, 9)
