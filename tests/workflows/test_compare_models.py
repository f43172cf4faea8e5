"""Models that start from others' runs, that fail or are not here, and slices of all of them."""

import csv
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from condyle.app.cli.main import main
from condyle.config.requests import CompareRequest
from condyle.core import Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, UnknownName
from condyle.io import open_dataset, write_nnunet
from condyle.io.datasets.nnunet import write_splits
from condyle.report.comparison_slices import side_by_side
from condyle.workflows.compare import compare, trials

SCHEME = LabelScheme.of({"cube": 1})

TOML = """
planes = "all"
ends = 1
[settings.preparation]
size = 16
[settings.training]
epochs = 2
steps = 10
batch = 4
rate = 0.003
ema = 0.0
[settings.network]
name = "unet-plain"
weights = "none"
[models.again]
network.weights = "model:first"
training = {epochs = 1, steps = 1, rate = 1e-12}
[models.first]
[models.ends]
training = {hard_slices = 1, epochs = 1, steps = 2}
[models.broken]
training = {optimizer = "sgd", rate = 1e30, epochs = 1, steps = 8}
[models."child of broken"]
network.weights = "model:broken"
[models.nowhere]
network.weights = "no/such/file.safetensors"
[models."child of nowhere"]
network.weights = "model:nowhere"
"""


def cube(seed):
    rng = np.random.default_rng(seed)
    grid = Grid.regular((16, 16, 5))
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:12, 4:12, 1:4] = 1
    image = (100 * labels + 10 * rng.normal(size=grid.shape)).astype(np.float32)
    return Volume(image, grid), LabelMap(labels, grid, SCHEME)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    names = [f"cube_{n}" for n in range(4)]
    pairs = ((name, (cube(n)[0],), cube(n)[1]) for n, name in enumerate(names))
    data = write_nnunet(folder / "cubes", "cubes", pairs, SCHEME, ("MRI",))
    write_splits(data / "splits_final.json", [Fold(tuple(names[:2]), tuple(names[2:]))])
    (folder / "models.toml").write_text(TOML)
    return folder


def asked(home, out, **more):
    return CompareRequest(
        config=str(home / "models.toml"), dataset=home / "cubes", out=home / out, **more
    )


@pytest.fixture(scope="module")
def done(home):
    return compare(asked(home, "out", show=("cube_3:axial:2",)))


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_child_goes_on_from_its_parents_weights(done, home):
    """It learns next to nothing itself in its one step, and is nearly as good as its parent."""
    mine = {row["Model"]: row for row in rows(home / "out" / "table_3d.csv")}
    parent, child = (float(mine[name]["Dice"].split()[0]) for name in ("first", "again"))
    assert parent > 0.7
    assert child > parent - 0.2


def test_a_failed_parent_fails_its_children_alone_and_they_say_so(done, home):
    assert set(done.failed) == {"broken, fold 0", "child of broken, fold 0"}
    said = done.failed["child of broken, fold 0"]
    assert said.startswith("child of broken starts from broken, which failed: the loss became")
    mine = {row["Model"]: row for row in done.rows}
    assert mine["child of broken"]["Failed"] == mine["broken"]["Failed"] == 2
    assert mine["first"]["Failed"] == 0
    assert mine["child of nowhere"]["Dice"] == mine["nowhere"]["Dice"] == "not here"


def test_a_model_of_the_ends_is_compared_there_alone(done, home):
    models = {
        view: [row["Model"] for row in rows(home / "out" / f"table_{view}.csv")]
        for view in ("3d", "2d", "3d_ends", "2d_ends")
    }
    for view, names in models.items():
        assert ("ends" in names) == view.endswith("_ends")
        assert {"first", "again", "broken"} < set(names)
    assert "ends" in {row["model"] for row in rows(home / "out" / "scores.csv")}


def test_tables_of_slices_have_the_time_and_the_spread_over_slices_of_three_planes(done, home):
    planned = trials(asked(home, "out").comparison(), open_dataset(home / "cubes"), home / "out")
    run = next(one.folder for one in planned if one.model == "first")
    slices = rows(run / "slices.csv")
    assert {row["plane"] for row in slices} == {"axial", "coronal", "sagittal"}
    values = np.array([float(row["dice"]) for row in slices])
    [mine] = [row for row in rows(home / "out" / "table_2d.csv") if row["Model"] == "first"]
    assert mine["Dice, over slices"] == f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"
    assert mine["Training"]
    ends = [row for row in slices if row["plane"] == "axial" and row["slice"] in ("1", "3")]
    values = np.array([float(row["iou"]) for row in ends])
    [mine] = [row for row in rows(home / "out" / "table_2d_ends.csv") if row["Model"] == "first"]
    assert mine["IoU, over slices"] == f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"


def test_best_and_worst_slices_and_the_chosen_one_are_drawn(done, home):
    drawn = {file.name for file in (home / "out" / "slices").iterdir()}
    names = ("first", "again", "ends")
    assert drawn == {
        *(f"{name}-{word}.png" for name in names for word in ("best", "worst")),
        "cube_3-axial-2.png",
    }
    page = (home / "out" / "report.html").read_text(encoding="utf-8")
    assert "cube_3, axial 2, as all models predicted it" in page
    assert "worst slice of first: cube_" in page


def test_a_slice_has_scan_truth_and_prediction_beside_each_other():
    scan, truth = cube(0)
    nothing = truth.emptied()
    both = side_by_side((scan,), {"truth": truth, "prediction": truth}, "axial", 2)
    one = side_by_side((scan,), {"truth": truth, "prediction": nothing}, "axial", 2)
    full, half = (np.asarray(Image.open(BytesIO(png)).convert("RGB"), int) for png in (both, one))
    assert full.shape == half.shape
    third = full.shape[1] // 3
    same = (full == half).all(axis=(0, 2))
    assert same[: 2 * third].all()
    assert not same[2 * third :].all()


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("cube_2:axial", ConfigError, "write CASE:PLANE:INDEX, such as cube_2:axial:40"),
        ("cube_2:oblique:4", ConfigError, "the plane is sagittal, coronal, axial"),
        ("cube_2:axial:5", ConfigError, "cube_2 has axial slices 0 to 4"),
        ("cube_0:axial:1", UnknownName, "test case 'cube_0'"),
    ],
)
def test_slices_that_are_none_are_refused_before_anything_is_trained(home, text, kind, said):
    with pytest.raises(kind, match=said):
        compare(asked(home, "nothing", show=(text,)))
    assert not (home / "nothing").exists()


def test_the_command_draws_another_slice_without_training_again_and_exits_with_2_for_a_failure(
    done, home, capsys, monkeypatch
):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)
    kept = list((home / "out" / "runs").rglob("model.safetensors"))
    before = [file.stat().st_mtime_ns for file in kept]
    given = ["--config", home / "models.toml", "--dataset", home / "cubes", "--out", home / "out"]
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, given), "--show", "cube_2:sagittal:5"])
    assert ended.value.code == 2
    assert [file.stat().st_mtime_ns for file in kept] == before
    assert len(kept) == 3
    assert (home / "out" / "slices" / "cube_2-sagittal-5.png").is_file()
    said = capsys.readouterr()
    assert "first" in said.out
    assert "child of broken, fold 0 failed: child of broken starts from broken" in said.err


def test_other_settings_need_another_folder_and_no_flag_is_named_that_is_none(done, home):
    with pytest.raises(ConfigError, match=r"\(epochs\): choose another folder$"):
        compare(asked(home, "out", epochs=2))
