"""`condyle demo`: every step on phantoms, as a newcomer runs it."""

import csv

import pytest

from condyle.app.cli.main import main
from condyle.config.requests import DemoRequest
from condyle.core import LOWER_LIMB
from condyle.errors import ConfigError, OutputError
from condyle.workflows.demo import demo


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


def test_a_wrong_budget_is_refused_before_phantoms_are_made(tmp_path):
    with pytest.raises(ConfigError, match="'soon' is not a duration"):
        demo(DemoRequest(out=tmp_path / "demo", budget="soon"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", ["run", "phantoms"])
def test_an_earlier_demo_is_left_alone(tmp_path, left):
    (tmp_path / left).mkdir()
    with pytest.raises(OutputError, match="holds an earlier demo: delete it, or choose another"):
        demo(DemoRequest(out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [left]
    assert not list((tmp_path / left).iterdir())


@pytest.mark.slow
def test_the_demo_trains_scores_and_makes_surfaces(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--out", str(tmp_path / "demo"), "--budget", "2m"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "held-out cases, mean ± standard deviation" in said
    assert f"more in {tmp_path / 'demo' / 'run' / 'report.html'}" in said
    assert (tmp_path / "demo" / "run" / "report.html").is_file()
    with (tmp_path / "demo" / "run" / "metrics.csv").open(newline="") as stream:
        scores = list(csv.DictReader(stream))
    assert {row["case"] for row in scores} == {"leg_009", "leg_010", "leg_011"}
    with (tmp_path / "demo" / "surfaces" / "surfaces.csv").open(newline="") as stream:
        surfaces = list(csv.DictReader(stream))
    assert surfaces
    assert {row["case"] for row in surfaces} <= {row["case"] for row in scores}
    assert {row["structure"] for row in surfaces} <= set(LOWER_LIMB.names)
    assert len(list((tmp_path / "demo" / "surfaces").glob("leg_*_all.*"))) > 0
