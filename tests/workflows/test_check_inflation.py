"""`condyle inflate check`: figures that say whether a 3D network is the 2D one."""

import numpy as np
import pytest
from PIL import Image

from condyle.app.cli.check_inflation import show
from condyle.app.cli.main import main
from condyle.config.requests import CheckInflationRequest
from condyle.workflows.check_inflation import InflationCheck, check_inflation


def test_the_default_encoder_keeps_its_answers_and_acs_says_that_it_does_not(tmp_path):
    rows = {
        row["inflation"]: row
        for row in check_inflation(
            CheckInflationRequest(encoder="efficientnet_lite0", out=tmp_path / "k.png")
        ).rows
    }
    assert {name for name, row in rows.items() if row["verdict"] == "the same output"} == {
        "center", "average", "scale", "first",
    }  # fmt: skip
    assert float(rows["average"]["relative, float64"]) < 1e-12
    assert float(rows["acs"]["relative, float64"]) > 0.1
    assert "not comparable" in rows["acs"]["verdict"]
    picture = Image.open(tmp_path / "k.png")
    assert picture.width > 500
    assert len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_thick_slices_and_deeper_kernels_are_proved_too_and_the_terminal_says_so(tmp_path, capsys):
    words = ["efficientnet_b0", "--weights", "none", "--depth", "5", "--keep-depth", "2"]
    with pytest.raises(SystemExit) as ended:
        main(["inflate", "check", *words, "--out", str(tmp_path / "k.png")])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")] for line in said.splitlines() if "│" in line]
    assert {row[1]: row[-2] for row in rows} == {
        "center": "the same output", "average": "the same output", "scale": "the same output",
        "first": "the same output",
        "acs": "not comparable: two thirds of its kernels see the depth",
    }  # fmt: skip
    assert f"kernels drawn in {tmp_path / 'k.png'}" in said
    assert (tmp_path / "k.png").stat().st_size > 0


def test_networks_that_are_not_the_same_are_exit_1(capsys):
    rows = [{"inflation": "scale", "verdict": verdict} for verdict in
            ("the same output", "NOT the same output")]  # fmt: skip
    request = CheckInflationRequest(encoder="resnet18")
    assert show(request, InflationCheck(rows)) == 1
    assert show(request, InflationCheck(rows[:1])) == 0
    assert "NOT the same output" in capsys.readouterr().out
