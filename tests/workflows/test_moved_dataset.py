"""A run whose data set has moved: it is found again, asked for, and proved to be the same."""

import shutil

import pytest

from balls import balls
from condyle.config.requests import TrainRequest
from condyle.errors import DatasetError
from condyle.io import open_dataset, read_labels, write
from condyle.runs.dataset import folders_of, require_same
from condyle.runs.folder import RunFolder
from condyle.workflows.training.train import train

SETTINGS = {
    "network": {"name": "3d:unet-plain"},
    "training": {"epochs": 1, "steps": 2, "batch": 2},
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with a run that was given its data set by a relative path, seen from elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    balls(tmp_path)
    monkeypatch.chdir(tmp_path)
    train(TrainRequest(dataset="balls", fold="all", settings=SETTINGS, out="run"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def test_a_data_set_is_found_from_anywhere_asked_for_where_it_moved_and_known_again(home):
    run = RunFolder(home / "run")
    assert run.experiment().dataset == "balls"
    assert folders_of(run) == [home / "balls"]
    moved = (home / "balls").rename(home / "moved")
    assert folders_of(run) == []
    with pytest.raises(DatasetError, match=r"train NEW --out .*run --resume"):
        train(TrainRequest(out=run.path, resume=True))
    weights = (run.segmenter / "model.safetensors").read_bytes()
    train(TrainRequest(dataset=moved, out=run.path, resume=True))
    assert folders_of(run) == [moved]
    assert (run.segmenter / "model.safetensors").read_bytes() == weights

    other = shutil.copytree(moved, home / "other")
    labels = read_labels(other / "labelsTr" / "ball_3.nii.gz")
    array = labels.array.copy()
    array[0, 0, 0] = 1
    write(labels.with_array(array), other / "labelsTr" / "ball_3.nii.gz")
    with pytest.raises(DatasetError, match=r"ball_3 has other files"):
        train(TrainRequest(dataset=other, out=run.path, resume=True))
    cases = open_dataset(moved).cases
    with pytest.raises(DatasetError, match="ball_0 is missing"):
        require_same(run, moved, cases[1:])
