import csv
import shutil

import numpy as np
import pytest
import tomli_w

from condyle.app.cli.main import main
from condyle.config import Comparison
from condyle.config.requests import CompareRequest
from condyle.core import Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import (
    ConfigError,
    OutputError,
    SplitError,
    TrainingFailed,
    UnknownName,
    WeightsError,
)
from condyle.io import open_dataset, write_nnunet
from condyle.io.datasets.nnunet import write_splits
from condyle.jobs.job import Job
from condyle.workflows import compare as workflow
from condyle.workflows.compare import compare, trials

SCHEME = LabelScheme.of({"cube": 1})

TOML = """
dataset = "cubes"
folds = [0, 1]
[settings.preparation]
size = 32
[settings.training]
epochs = 4
steps = 10
batch = 4
rate = 0.003
ema = 0.0
[models.learns]
network = {name = "unet-plain", weights = "none"}
[models.hardly]
network = {name = "unet-plain", weights = "none"}
training = {epochs = 1, steps = 1}
[models.nowhere]
network.name = "unet-resnet50"
"""


def cube(seed):
    rng = np.random.default_rng(seed)
    grid = Grid.regular((16, 16, 4))
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:12, 4:12, 1:3] = 1
    image = (100 * labels + 10 * rng.normal(size=grid.shape)).astype(np.float32)
    return Volume(image, grid), LabelMap(labels, grid, SCHEME)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Six cubes, each held out in one of two folds, and three models to compare."""
    home = tmp_path_factory.mktemp("compare")
    names = [f"cube_{n}" for n in range(6)]
    pairs = ((name, (cube(n)[0],), cube(n)[1]) for n, name in enumerate(names))
    data = write_nnunet(home / "cubes", "cubes", pairs, SCHEME, ("MRI",))
    folds = [
        Fold(tuple(names[3:]), tuple(names[:3])),
        Fold(tuple(names[:3]), tuple(names[3:])),
    ]
    write_splits(data / "splits_final.json", folds)
    path = home / "models.toml"
    path.write_text(TOML)
    return path


@pytest.fixture(scope="module")
def compared(asked):
    """A comparison that was interrupted in its third training, and gone on with."""
    out, trained, real = asked.parent / "out", [], workflow.train

    def stop_in_the_third(progress):
        if len(trained) == 3 and progress.stage.endswith(": training"):
            raise KeyboardInterrupt

    def train(request, job):
        if "resnet50" in request.experiment().network.name:
            raise WeightsError("the ImageNet weights of resnet50 are not on this machine")
        trained.append(request.out.name)
        return real(request, job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflow, "train", train)
        with pytest.raises(KeyboardInterrupt):
            compare(CompareRequest(config=str(asked), out=out), Job(on_progress=stop_in_the_third))
        before = list(trained)
        table = compare(CompareRequest(config=str(asked), out=out)).rows
    return out, table, before, trained[len(before) :]


def rows(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_what_was_finished_is_not_trained_again(compared):
    _, _, before, after = compared
    assert len(before) == 3
    assert after[0] == before[2]  # it was cut short
    assert not set(after) & set(before[:2])
    assert len(after) == 2


def test_the_table_ranks_the_models_and_names_the_one_that_is_not_here(compared):
    out, table, _, _ = compared
    assert [row["Model"] for row in table] == ["learns", "hardly", "nowhere"]
    assert table[0]["Rank"].startswith("1 ")
    assert table[2]["Dice"] == "not here"
    [pair] = [
        row for row in rows(out / "pairs.csv")
        if (row["view"], row["metric"], row["structure"]) == ("3d", "dice", "all")
    ]  # fmt: skip
    assert float(pair["p"]) == pytest.approx(2 / 2**6)  # six of six patients, either way
    page = (out / "report.html").read_text()
    assert "resnet50 are not on this machine" in page
    assert "http" not in page.replace("http-equiv", "")


def test_every_patient_is_judged_once_and_all_tables_are_there(compared):
    out, _, _, _ = compared
    scores = rows(out / "scores.csv")
    for model in ("learns", "hardly"):
        cases = [row["case"] for row in scores if row["model"] == model]
        assert sorted(cases) == [f"cube_{n}" for n in range(6)]
    for view in ("3d", "2d", "3d_ends", "2d_ends"):
        for ending in ("csv", "md", "tex"):
            assert "learns" in (out / f"table_{view}.{ending}").read_text()


def test_a_training_that_fails_counts_as_the_worst_for_its_patients(
    compared, asked, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    shutil.copytree(compared[0], out)
    planned = trials(Comparison.read(asked), open_dataset(asked.parent / "cubes"), out)
    gone = next(trial for trial in planned if trial.model == "learns")
    shutil.rmtree(gone.folder)

    def fail(request, job):
        missing = "resnet50" in request.experiment().network.name
        kind = WeightsError if missing else TrainingFailed
        raise kind("the loss became nan")

    monkeypatch.setattr(workflow, "train", fail)
    before = compared[1]
    table = compare(CompareRequest(config=str(asked), out=out)).rows
    mine = {row["Model"]: row for row in table}
    assert mine["learns"]["Failed"] == 3
    assert float(mine["learns"]["Dice"].split()[0]) < float(before[0]["Dice"].split()[0])
    assert "is scored with the worst values" in (out / "report.html").read_text()


def test_the_same_settings_are_the_same_run_whatever_the_model_is_called(asked):
    dataset, out = open_dataset(asked.parent / "cubes"), asked.parent / "elsewhere"
    planned = Comparison.read(asked)
    renamed = planned.changed(models={"other name": planned.models["learns"]})
    folders = {trial.folder.name for trial in trials(planned, dataset, out)}
    assert {trial.folder.name for trial in trials(renamed, dataset, out)} < folders
    longer = {"training": {"epochs": 3}, **planned.models["learns"]}
    other = trials(planned.changed(models={"learns": longer}), dataset, out)
    assert not {trial.folder.name for trial in other} & folders


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"folds": (7,)}, SplitError, "folds 0 to 1, not 7"),
        ({"models": {"a": {"training": {"epoch": 3}}}}, ConfigError, "model 'a'.*training.epoch"),
        ({"models": {"a": {"config": "no-such-study"}}}, UnknownName, "no-such-study"),
        ({"models": {"a": {"network": {"name": "unet-nothing"}}}}, UnknownName, "nothing"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(asked, tmp_path, change, error, said):
    changed = Comparison.read(asked).changed(**change)
    file = tmp_path / "models.toml"
    file.write_text(tomli_w.dumps(changed.model_dump(mode="json")))
    with pytest.raises(error, match=said):
        compare(CompareRequest(config=str(file), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(asked, tmp_path):
    (tmp_path / "thesis.tex").write_text("all my work")
    with pytest.raises(OutputError, match="other files"):
        compare(CompareRequest(config=str(asked), out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_verb_prints_the_models_from_the_best_to_the_worst(
    compared, asked, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)
    shutil.copytree(compared[0], tmp_path / "out")

    def train(request, job):  # all others are trained already
        raise WeightsError("the ImageNet weights of resnet50 are not on this machine")

    monkeypatch.setattr(workflow, "train", train)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(asked), "--out", str(tmp_path / "out")])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")] for line in said.splitlines() if "│" in line]
    assert [row[1] for row in rows] == ["learns", "hardly", "nowhere"]
    assert float(rows[0][2].split()[0]) > float(rows[1][2].split()[0])
    assert rows[2][2] == "not here"
    assert f"more in {tmp_path / 'out' / 'report.html'}" in said
