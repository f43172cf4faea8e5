"""What a training says of its split; and the fold in which every labelled scan trains."""

import json

import pytest

from balls import balls
from condyle.app.cli.main import main
from condyle.core import Fold
from condyle.io import open_dataset
from condyle.prepare.splits import described, fold_of

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
