"""What a training says of its split; and the fold in which every labelled scan trains."""

import json
import time
from types import SimpleNamespace

import pytest

from balls import balls
from condyle.app.cli.main import main
from condyle.config import Experiment
from condyle.core import Fold
from condyle.errors import ConfigError
from condyle.io import open_dataset
from condyle.prepare.splits import described, fold_of
from condyle.workflows.training.train import _Work

SMALL = """
[network]
name = "3d:unet-plain"
[training]
epochs = 1
steps = 2
batch = 2
"""


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


def said_by(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err


@pytest.mark.parametrize(
    ("sizes", "said", "few"),
    [
        ((3, 1, 3), "7 labelled scans: 3 train, 1 chooses, 3 judge", False),
        ((3, 1, 2), "6 labelled scans: 3 train, 1 chooses, 2 judge", True),
        ((1, 0, 1), "2 labelled scans: 1 trains, none chooses, 1 judges", True),
        ((1, 0, 0), "1 labelled scan: 1 trains, none chooses, none judges", False),
    ],
)
def test_a_split_says_who_trains_chooses_and_judges(sizes, said, few):
    parts = [tuple(f"{part}{n}" for n in range(count)) for part, count in enumerate(sizes)]
    found = described(Fold(*parts))
    assert found.startswith(said)
    assert ("tell little" in found) == few


def test_every_labelled_scan_trains_in_the_fold_all(tmp_path):
    dataset = open_dataset(balls(tmp_path))
    fold = fold_of(dataset, "all")
    assert len(fold.train) == 5
    assert (fold.validation, fold.test) == ((), ())


def test_train_says_the_split_and_prints_no_scores_where_none_judges(tmp_path, capsys):
    (tmp_path / "small.toml").write_text(SMALL)
    out = tmp_path / "run"
    code, said = said_by(
        capsys, "train", balls(tmp_path), "--config", tmp_path / "small.toml", "--fold", "all",
        "--out", out,
    )  # fmt: skip
    assert code == 0, said
    split = "5 labelled scans: 5 train, none chooses, none judges"
    assert split in said
    assert "must come from folds" in said
    assert "no scan judged" in said
    assert "nan" not in said.lower()
    assert split in (out / "report.html").read_text(encoding="utf-8")
    trained = json.loads((out / "segmenter" / "segmenter.json").read_text())["training"]
    assert trained["train"] == [f"ball_{n}" for n in range(5)]
    assert trained["modality"] == "MR"
    assert trained["spacing"] == [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    code, said = said_by(
        capsys, "train", tmp_path / "balls", "--fold", "some", "--out", tmp_path / "other"
    )
    assert code == 2
    assert "fold" in said


def test_a_budget_that_cannot_be_enough_is_refused_before_any_case_is_read(tmp_path, capsys):
    data = balls(tmp_path)
    for scan in (data / "imagesTr").iterdir():
        scan.write_bytes(b"no scan")
    code, said = said_by(capsys, "train", data, "--budget", "0.5s", "--out", tmp_path / "run")
    assert code == 2
    assert "a budget of 0.5 s is too short for" in said
    assert not (tmp_path / "run").exists()


def test_a_budget_is_refused_while_cases_are_prepared_if_their_pace_leaves_no_time(tmp_path):
    fold = Fold(tuple(f"c{n}" for n in range(100)), (), ("t",))
    work = SimpleNamespace(
        experiment=Experiment.parse({"dataset": "x", "training": {"budget": 60}}),
        first=True, fold=fold, held_out=fold.test,
    )  # fmt: skip
    now = time.monotonic()
    _Work.require_time(work, now - 2, 5, now - 2)  # 0.4 s a case: 38 s more, or half of that
    with pytest.raises(ConfigError, match="too short for 100 cases"):
        _Work.require_time(work, now - 8, 5, now - 8)
