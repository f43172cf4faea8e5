"""Past runs are found, told of as they are, and set side by side."""

import csv
import json
import shutil

import pytest

from balls import balls
from condyle.app.cli.main import main
from condyle.config import Experiment
from condyle.config.requests import TrainRequest
from condyle.errors import ConfigError, MissingFile
from condyle.jobs.job import Job
from condyle.workflows.runs import differences, list_runs
from condyle.workflows.training.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two finished runs, and one that was interrupted in its third epoch."""
    top = tmp_path_factory.mktemp("runs")
    dataset = balls(top / "data")

    def interrupted(progress):
        if progress.stage == "training" and progress.done > 0.55:
            raise KeyboardInterrupt

    for name, loss, epochs in (("b", "dice", 1), ("deep/a", "ce", 2), ("c", "dice", 4)):
        settings = {"loss": loss, "epochs": epochs, "steps": 2, "batch": 2}
        asked = Experiment.parse(
            {"dataset": str(dataset), "network": {"name": "3d:unet-plain"}, "training": settings}
        )
        if name == "c":
            with pytest.raises(KeyboardInterrupt):
                train(TrainRequest.of(asked, top / name), Job(on_progress=interrupted))
        else:
            train(TrainRequest.of(asked, top / name))
    return top


def test_runs_are_listed_with_what_they_were_made_from_and_reached(folder):
    rows = {row["run"]: row for row in list_runs([folder])}
    assert list(rows) == [str(folder / name) for name in ("b", "c", "deep/a")]
    done = rows[str(folder / "b")]
    assert done["state"] == "finished"
    assert (done["dataset"], done["network"], done["loss"]) == ("balls", "3d:unet-plain", "dice")
    assert (done["epochs"], done["batch"], done["fold"], done["seed"]) == (1, 2, 0, 0)
    assert done["train"] + done["validation"] + done["test"] == done["patients"] == 5
    assert done["parameters"] > 1e6
    assert done["seconds"] > 0
    assert done["dice"] == pytest.approx(done["dice_ball"])
    assert done["augmentation"].startswith("p 0.5: rotation 15")
    assert done["torch"]


def test_an_unfinished_run_says_how_far_it_is_and_has_no_scores(folder):
    [row] = (row for row in list_runs([folder]) if row["run"].endswith("c"))
    assert (row["state"], row["epochs"], row["dice"]) == ("unfinished", 2, None)
    assert row["train"] + row["validation"] + row["test"] == 5


def test_runs_are_sorted_by_dice_and_by_time_with_what_has_none_last(folder):
    by_dice = [row["dice"] for row in list_runs([folder], sort="dice")]
    assert by_dice[-1] is None
    assert by_dice[0] >= by_dice[1]
    by_time = [row["seconds"] for row in list_runs([folder], sort="time")]
    assert by_time == sorted(by_time)


def test_differences_are_the_settings_that_differ_and_all_scores(folder):
    one, other = folder / "b", folder / "deep" / "a"
    rows = {row.pop("what"): row for row in differences([one, other])}
    assert rows["training.loss"] == {str(one): "dice", str(other): "ce"}
    assert "training.batch" not in rows
    assert rows["dice, ball"][str(one)] == pytest.approx(list_runs([one])[0]["dice_ball"])
    assert {"seconds", "dice, mean", "hd95_mm, mean"} <= set(rows)
    with pytest.raises(ConfigError, match="two runs or more"):
        differences([one])


def test_what_is_no_run_or_is_damaged_is_said_and_passed_over(folder, tmp_path, caplog):
    for name in ("cut", "hurt", "ours"):
        shutil.copytree(folder / "b", tmp_path / name)
    (tmp_path / "cut" / "config.toml").write_text("fold = [")
    (tmp_path / "hurt" / "summary.csv").write_bytes(b"\xff\x00\xff")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "config.toml").write_text("[package]\nname = 'other'\n")
    (tmp_path / "begun").mkdir()
    shutil.copy(folder / "b" / "config.toml", tmp_path / "begun")
    (tmp_path / "begun" / "checkpoints").mkdir()
    (tmp_path / "begun" / "checkpoints" / "last.safetensors").write_bytes(b"not tensors at all")
    assert [row["run"] for row in list_runs([tmp_path])] == [str(tmp_path / "ours")]
    for name in ("begun", "cut", "hurt", "strange"):
        assert f"{tmp_path / name} is left out" in caplog.text
    assert len(caplog.records) == 4


def test_a_run_whose_record_was_changed_is_not_finished(folder, tmp_path):
    shutil.copytree(folder / "b", tmp_path / "b")
    (tmp_path / "b" / "run.json").write_text("{}")
    assert list_runs([tmp_path])[0]["state"] == "unfinished"


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(MissingFile, match="no run in"):
        list_runs([tmp_path])
    with pytest.raises(MissingFile, match="not there"):
        list_runs([tmp_path / "nowhere"])


def spoken(*words):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def test_the_command_line_lists_compares_and_writes(folder, tmp_path, capsys):
    assert spoken("runs", folder, "--sort", "dice") == 0
    listed = capsys.readouterr().out
    assert "3 runs" in listed
    assert "dataset balls" in listed  # said once, as it is the same in all
    assert spoken("runs", folder / "b", folder / "deep", "--differences") == 0
    assert "training.loss" in capsys.readouterr().out
    for name in ("runs.csv", "runs.json", "runs.md"):
        assert spoken("runs", folder, "--out", tmp_path / name) == 0
    rows = list_runs([folder])
    with (tmp_path / "runs.csv").open() as stream:
        assert [row["run"] for row in csv.DictReader(stream)] == [row["run"] for row in rows]
    assert json.loads((tmp_path / "runs.json").read_text()) == rows
    assert (tmp_path / "runs.md").read_text().count("\n") == 2 + len(rows)
    assert spoken("runs", folder, "--out", tmp_path / "runs.xls") == 2
    assert ".csv, .md or .json" in capsys.readouterr().err
