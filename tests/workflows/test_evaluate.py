import csv
import json

import numpy as np
import pytest

from condyle.app.cli.main import main
from condyle.config.requests import EvaluateRequest
from condyle.core import KNEE, Grid, LabelMap, LabelScheme
from condyle.errors import ConfigError, DatasetError, UnknownName
from condyle.io import write
from condyle.workflows.evaluate import evaluate

GRID = Grid.regular((9, 8, 7), (1, 1, 2))


def knee(seed, empty=False):
    array = np.random.default_rng(seed).integers(0, 3, GRID.shape).astype(np.uint8)
    return LabelMap(array * (not empty), GRID, KNEE)


@pytest.fixture
def folders(tmp_path):
    """Three true cases; one is predicted well, one not at all, one as nothing."""
    for number in range(3):
        write(knee(number), tmp_path / "true" / f"case_{number}.nii.gz")
    write(knee(0), tmp_path / "found" / "case_0.nii.gz")
    write(knee(2, empty=True), tmp_path / "found" / "case_2.nii.gz")
    return tmp_path / "found", tmp_path / "true"


def test_cases_come_worst_first_and_lost_ones_count(folders, tmp_path, caplog):
    summary = evaluate(
        EvaluateRequest(predictions=folders[0], labels=folders[1], out=tmp_path / "out")
    ).summary
    with (tmp_path / "out" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows[-2:]] == ["case_0"] * 2
    assert {row["note"] for row in rows} == {"", "failed", "missed"}
    assert "case_1 counts as failed" in caplog.text
    assert summary[-1]["dice_mean"] == pytest.approx(1 / 3)
    with (tmp_path / "out" / "slices.csv").open() as stream:
        slices = list(csv.DictReader(stream))
    assert {row["dice"] for row in slices if row["case"] == "case_1"} == {"0.0"}
    assert r"\toprule" in (tmp_path / "out" / "summary.tex").read_text()


def test_summary_json_is_nnunets(folders, tmp_path):
    evaluate(EvaluateRequest(predictions=folders[0], labels=folders[1], out=tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert set(found) == {"foreground_mean", "mean", "metric_per_case"}
    assert set(found["mean"]) == {"1", "2"}
    one = {case["reference_file"]: case for case in found["metric_per_case"]}
    truth = knee(0).mask("tibia")
    assert one["case_0"]["metrics"]["1"] == {
        "Dice": 1, "IoU": 1, "TP": truth.sum(), "FP": 0, "FN": 0, "TN": (~truth).sum(),
        "n_pred": truth.sum(), "n_ref": truth.sum(),
    }  # fmt: skip
    assert one["case_1"]["prediction_file"] is None
    assert found["foreground_mean"]["Dice"] == pytest.approx(1 / 3)


def test_a_tolerance_of_nothing_is_refused(folders, tmp_path):
    with pytest.raises(ConfigError, match="greater than 0"):
        evaluate(
            EvaluateRequest(
                predictions=folders[0], labels=folders[1], out=tmp_path / "out", tolerance_mm=0
            )
        )


def command(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code


def test_a_case_that_cannot_be_compared_has_no_scores_and_is_named(folders, tmp_path, capsys):
    """One lies between the voxels, one is cut short: neither is a Dice of 0."""
    found, truth = folders
    moved = LabelMap(knee(1).array, Grid.regular(GRID.shape, (1, 1, 2), (0.5, 0, 0)), KNEE)
    write(moved, found / "case_1.nii.gz")
    whole = (found / "case_2.nii.gz").read_bytes()
    (found / "case_2.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert command("evaluate", found, truth, "--out", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert "1 case, mean" in said.out
    assert "held-out" not in said.out
    assert "1 is best" in said.out
    assert "case_1 was not compared" in said.err
    with (tmp_path / "out" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    notes = {row["case"]: (row["dice"], row["note"]) for row in rows}
    assert notes["case_0"] == ("1.0", "")
    for case in ("case_1", "case_2"):
        assert notes[case][0] == ""
        assert notes[case][1].startswith("not compared: ")
    assert "Not compared: case_1: " in (tmp_path / "out" / "summary.md").read_text()


def test_missing_predictions_are_said_once_and_end_with_2(folders, tmp_path, capsys):
    found, truth = folders
    write(knee(7), truth / "case_7.nii.gz")
    assert command("evaluate", found, truth, "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.count("case_1, case_7 count as failed") == 1


def test_truth_may_be_a_folder_of_masks_a_case(folders, tmp_path):
    found, _ = folders
    (found / "case_2.nii.gz").unlink()
    write(knee(1), found / "case_1_0000.nii.gz")
    for number in range(2):
        labels = knee(number)
        for name in labels.scheme.names:
            mask = LabelMap.of(labels.mask(name).astype(np.uint8) * 255, GRID)
            write(mask, tmp_path / "masks" / f"case_{number}" / f"{name}.nii.gz")
    request = EvaluateRequest(predictions=found, labels=tmp_path / "masks", out=tmp_path / "out")
    done = evaluate(request)
    assert [row["structure"] for row in done.summary] == ["femur", "tibia", "mean"]
    assert done.summary[-1]["dice_mean"] == 1
    assert done.missing == ()


def test_structures_can_be_chosen_where_a_prediction_has_more(folders, tmp_path):
    found, truth = folders
    more = LabelScheme.of({"femur": 1, "tibia": 2, "aorta": 3})
    array = np.choose(knee(0).array, [3, 2, 1]).astype(np.uint8)
    write(LabelMap(array, GRID, more), found / "case_0.nii.gz")
    given = {"predictions": found / "case_0.nii.gz", "labels": truth / "case_0.nii.gz"}
    all_of_it = evaluate(EvaluateRequest(**given, out=tmp_path / "all"))
    assert all_of_it.summary[-1]["dice_mean"] == pytest.approx(2 / 3)
    chosen = EvaluateRequest(**given, out=tmp_path / "some", structures=("Femur", "tibia"))
    assert evaluate(chosen).summary[-1]["dice_mean"] == 1
    with pytest.raises(UnknownName, match="patela"):
        evaluate(EvaluateRequest(**given, out=tmp_path / "none", structures=("patela",)))


def test_masks_and_bare_numbers_are_not_taken_for_each_other(folders, tmp_path):
    write(LabelMap.of(knee(0).array, GRID), tmp_path / "bare" / "case_0.nii.gz")
    mask = LabelMap.of(knee(0).mask("femur").astype(np.uint8), GRID)
    write(mask, tmp_path / "masks" / "case_0" / "femur.nii.gz")
    request = EvaluateRequest(
        predictions=tmp_path / "bare", labels=tmp_path / "masks", out=tmp_path / "out"
    )
    with pytest.raises(DatasetError, match="masks, which have names"):
        evaluate(request)
