import csv
import json

import numpy as np
import pytest

from condyle.config.requests import EvaluateRequest
from condyle.core import KNEE, Grid, LabelMap
from condyle.errors import ConfigError
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
