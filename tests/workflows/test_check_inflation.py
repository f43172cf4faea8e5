"""`condyle inflate check`: figures that say whether a 3D network is the 2D one."""

import numpy as np
from PIL import Image

from condyle.config.requests import CheckInflationRequest
from condyle.workflows.check_inflation import check_inflation


def test_the_default_encoder_keeps_its_answers_and_acs_says_that_it_does_not(tmp_path):
    rows = {
        row["inflation"]: row
        for row in check_inflation(
            CheckInflationRequest(encoder="efficientnet_lite0", out=tmp_path / "k.png")
        ).rows
    }
    assert {name for name, row in rows.items() if row["verdict"] == "the same output"} == {
        "center", "average", "scale",
    }  # fmt: skip
    assert float(rows["average"]["relative, float64"]) < 1e-12
    assert float(rows["acs"]["relative, float64"]) > 0.1
    assert "not comparable" in rows["acs"]["verdict"]
    picture = Image.open(tmp_path / "k.png")
    assert picture.width > 500
    assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_thick_slices_and_deeper_kernels_are_proved_too():
    rows = check_inflation(
        CheckInflationRequest(encoder="efficientnet_b0", weights="none", depth=5, keep_depth=2)
    ).rows
    assert [row["verdict"] for row in rows[:3]] == ["the same output"] * 3
