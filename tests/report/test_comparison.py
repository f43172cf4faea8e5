"""Of too few patients a comparison gives no interval and no p, and says so everywhere."""

import csv

import numpy as np
import pytest

from condyle.core import KNEE, Grid, LabelMap
from condyle.measure.evaluate import score_case
from condyle.measure.slices import score_slices
from condyle.report.comparison_page import write_comparison
from condyle.report.comparison_tables import Model, Place

PLACE = Place("knees", {}, 2, {}, (), {})


def model(name, patients, error):
    """A model that is wrong by about so many voxels on each patient."""
    rows, slices = [], []
    for n in range(patients):
        truth = np.zeros((10, 10, 6), np.uint8)
        truth[2:8, 2:8, 1:5] = 1
        found = truth.copy()
        found[2 : 2 + error + n % 2, 2:8, 1:5] = 0
        maps = [LabelMap(one, Grid.regular(one.shape), KNEE) for one in (truth, found)]
        key = {"patient": f"p{n}", "case": f"p{n}", "fold": 0, "seed": 0}
        rows += [key | row for row in score_case(*maps, 1.0)]
        slices += [key | row for row in score_slices(*maps, planes="all")]
    return Model(name, rows=rows, slices=slices, runs=[{"fold": 0, "seed": 0, "failed": ""}])


def written(patients, out):
    models = [model("good", patients, 1), model("bad", patients, 3)]
    return write_comparison(models, PLACE, out)


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("patients", [1, 2, 5])
def test_of_few_patients_there_is_no_interval_and_no_p_anywhere(patients, tmp_path):
    found = written(patients, tmp_path)
    for row in rows(tmp_path / "table_3d.csv"):
        assert (row["95 % CI"], row["p to the best"]) == ("", "")
        assert row["Rank"] in ("1", "2")
    for row in rows(tmp_path / "pairs.csv"):
        assert {row[key] for key in ("low", "high", "p", "holm", "significant")} == {""}
    for row in rows(tmp_path / "standings.csv"):
        assert {row[key] for key in ("low", "high", "rank_low", "rank_high")} == {""}
        assert float(row["mean"]) >= 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "too few for a confidence interval or a test: at least 6 are needed" in page
    assert " (0." not in page[page.index('id="result"') :][:300]
    assert found.too_few


def test_of_six_patients_there_are_both(tmp_path):
    found = written(6, tmp_path)
    first, second = rows(tmp_path / "table_3d.csv")
    assert first["Model"] == "good"
    assert "–" in first["95 % CI"]
    assert second["p to the best"] == "0.031"  # 2 / 2**6
    assert first["Rank"] == "1 (1–1)"
    assert not found.too_few
    assert "too few" not in (tmp_path / "report.html").read_text(encoding="utf-8")
