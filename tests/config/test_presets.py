"""Each study's settings are valid, build their network and train."""

import json
import math
import runpy
import tomllib
from pathlib import Path

import numpy as np
import pytest

from condyle import networks
from condyle.app.cli.main import main
from condyle.config import Experiment, presets, read_preset
from condyle.config.requests import TrainRequest
from condyle.config.studies import numbers
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.engines import is_engine
from condyle.errors import ConfigError, UnknownName
from condyle.io import open_dataset, write_nnunet
from condyle.jobs.job import Job
from condyle.prepare.splits import fold_of
from condyle.workflows.training.plan import plan_training
from condyle.workflows.training.support import require_supported
from condyle.workflows.training.train import train

SCHEME = LabelScheme.of({"tibia": 1, "femur": 2})
CASES = [
    (name, variant) for name in presets() for variant in ["", *read_preset(name).study.variants]
]
OF_EACH = [
    ("fcn", ""), ("femur-ends", "unet-mobilenetv3"), ("femur-slices", ""), ("lower-limb", ""),
    ("nnunet-like", ""), ("plain-2d", ""), ("transfer-3d", "scale-triangular"),
]  # fmt: skip
ENGINES = [case for case in CASES if is_engine(read_preset(case[0]).settings["network"]["name"])]
REST = [case for case in CASES if case not in (*OF_EACH, *ENGINES)]
BUILT = {
    str(read_preset(case[0]).settings_of(case[1])["network"]): case
    for case in CASES
    if case not in ENGINES
}


def planned(experiment, dataset, plane=None):
    """The plan of a training on the experiment's fold."""
    fold = fold_of(dataset, experiment.fold, experiment.training.seed)
    return plan_training(experiment, dataset, fold, Job(), plane=plane)


def settings(name, variant="", **sections):
    """A preset's settings without its pretrained weights, which are not in every place."""
    tree = read_preset(name).settings_of(variant)
    for section, values in {"network": {"weights": "none"}, **sections}.items():
        tree[section] = {**tree.get(section, {}), **values}
    return tree


def leg(seed):
    """A bright bar of two bones in noise, on 28 x 24 x 10 voxels."""
    rng = np.random.default_rng(seed)
    grid = Grid.regular((28, 24, 10), (1.0, 1.0, 2.0))
    labels = np.zeros(grid.shape, np.uint8)
    labels[8:18, 8:18, 1:5] = 1
    labels[8:18, 8:18, 5:9] = 2
    image = 100 * labels + 10 * rng.normal(size=grid.shape)
    return Volume(image.astype(np.float32), grid), LabelMap(labels, grid, SCHEME)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pairs = ((f"leg_{n}", (leg(n)[0],), leg(n)[1]) for n in range(4))
    return write_nnunet(tmp_path_factory.mktemp("presets") / "legs", "legs", pairs, SCHEME, ("CT",))


@pytest.fixture
def quick(monkeypatch):
    """A step's time and memory are not measured, and nothing is judged: no preset decides them."""
    monkeypatch.setattr("condyle.workflows.training.plan.seconds_of_step", lambda *_: 0.1)
    monkeypatch.setattr("condyle.workflows.training.plan.memory_of_step", lambda *_: (0, 0))
    monkeypatch.setattr("condyle.workflows.training.train.evaluate_run", lambda *_: [])


def test_there_is_one_for_each_study():
    assert presets() == sorted({case[0] for case in (*OF_EACH, *ENGINES)})


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_all_settings_are_known_and_can_be(name, variant):
    experiment = Experiment.parse({"dataset": "x", **read_preset(name).settings_of(variant)}, name)
    assert Experiment.parse(tomllib.loads(experiment.to_toml())) == experiment
    assert experiment.network.name != "auto"
    study = read_preset(name).study
    assert study.title
    assert study.source
    assert study.differs


@pytest.mark.parametrize(("name", "variant"), ENGINES)
def test_the_settings_of_each_engine_are_such_as_it_takes(name, variant):
    request = TrainRequest(dataset="x", config=name, variant=variant, out="run")
    require_supported(request.experiment(), request.plane, request.named())


@pytest.mark.parametrize("name", presets())
def test_variants_differ_from_each_other(name):
    preset = read_preset(name)
    made = [str(preset.settings_of(variant)) for variant in preset.study.variants]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(("name", "variant"), BUILT.values())
def test_the_network_of_each_can_be_built(name, variant):
    rules = Experiment.parse({"dataset": "x", **settings(name, variant)}).network
    network, _ = networks.build(rules.name, 1, 5, "none", rules.deep_supervision, rules.inflation)
    assert network.classes == 5


def trained(name, variant, dataset, out):
    preset = read_preset(name)
    small = {"preparation": {"size": 32}} if "preparation" in preset.settings else {}
    short = {"epochs": 1, "steps": 2, "batch": 2}
    tree = settings(name, variant, training=short, **small)
    return train(TrainRequest.of(Experiment.parse({"dataset": str(dataset), **tree}), out))


@pytest.mark.parametrize(("name", "variant"), OF_EACH)
def test_each_study_trains(name, variant, dataset, tmp_path, quick):
    run = trained(name, variant, dataset, tmp_path / "run")
    assert len(run.history.rows) == 1
    assert math.isfinite(run.history.rows[0]["loss"])
    asked = read_preset(name).settings_of(variant)
    done = Experiment.read(run.folder / "config.toml")
    assert done.network.name == asked["network"]["name"]
    assert done.training.loss == asked["training"]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), REST)
def test_each_variant_trains(name, variant, dataset, tmp_path, quick):
    run = trained(name, variant, dataset, tmp_path / "run")
    assert math.isfinite(run.history.rows[0]["loss"])


@pytest.mark.parametrize(("plane", "through"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_the_plane_can_be_chosen_for_a_preset(plane, through, dataset, quick):
    experiment = Experiment.parse({"dataset": str(dataset), **settings("plain-2d")})
    made = planned(experiment, open_dataset(dataset), plane=plane).experiment
    assert made.preparation.plane == plane
    assert made.preparation.size == 256
    assert made.training.patch[through] == 1
    assert min(side for axis, side in enumerate(made.training.patch) if axis != through) > 1
    other = "axial" if plane != "axial" else "coronal"
    with pytest.raises(ConfigError, match=f"not 1 voxel thick across {other} slices"):
        planned(made, open_dataset(dataset), plane=other)


def test_the_lower_limbs_rate_falls_by_a_millionth_an_epoch_whatever_their_number(
    dataset, tmp_path, quick
):
    tree = settings(
        "lower-limb", network={"name": "unet-plain", "freeze": "none"},
        training={"epochs": 3, "steps": 1, "batch": 2}, preparation={"size": 32},
    )  # fmt: skip
    experiment = Experiment.parse({"dataset": str(dataset), **tree})
    run = train(TrainRequest.of(experiment, tmp_path / "run"))
    rates = [row["rate"] for row in run.history.rows]
    assert rates == pytest.approx([1e-4 - 1e-6 * n for n in range(3)], rel=1e-9)


@pytest.mark.parametrize("name", presets())
def test_every_difference_to_a_study_is_declared_and_every_one_that_is_declared_is_real(name):
    told = numbers(name)
    assert {one.setting for one in told if not one.is_same} == set(read_preset(name).study.differs)
    assert all(bool(one.why) != one.is_same for one in told)
    assert all(one.variant in ("", *read_preset(name).study.variants) for one in told)


def test_the_studies_own_numbers_are_told_as_they_are():
    """Read off the studies' texts, whatever the table says."""
    limb = {(n.variant, n.setting): n.here for n in numbers("lower-limb")}
    assert (limb["", "training.epochs"], limb["", "training.batch"]) == (20, 12)
    assert limb["unet-resnet50", "training.epochs"] == 40
    assert limb["unet-resnet50", "training.batch"] == 24
    assert limb["", "network.freeze"] == "encoder"
    femur = read_preset("femur-slices").settings
    assert femur["preparation"]["plane"] == "all"
    assert "best_by" not in femur["training"]
    assert "training loss" in read_preset("femur-slices").study.differs["training.best_by"]


def test_the_page_of_numbers_is_what_its_script_writes():
    docs = Path(__file__).parents[2] / "docs"
    made = runpy.run_path(str(docs / "preset_numbers.py"))["page"]()
    assert (docs / "preset_numbers.md").read_text(encoding="utf-8") == made, (
        "run python docs/preset_numbers.py"
    )


def test_presets_shows_the_numbers_of_one(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    code, out, _ = command("presets", "lower-limb", "--json", capsys=capsys)
    assert code == 0
    rows = json.loads(out)
    [epochs] = [r for r in rows if (r["variant"], r["setting"]) == ("all", "training.epochs")]
    assert (epochs["study"], epochs["here"], epochs["why"]) == ("20", 20, "")
    [patience] = [r for r in rows if r["setting"] == "training.patience"]
    assert patience["study"] != patience["here"]
    assert "validation loss" in patience["why"]


def test_hard_slices_are_for_networks_that_see_slices(dataset, quick):
    volumes = settings("nnunet-like", training={"hard_slices": 3})
    with pytest.raises(
        ConfigError, match="3d:unet-nnunet sees volumes: take `network` unet-nnunet"
    ):
        planned(Experiment.parse({"dataset": str(dataset), **volumes}), open_dataset(dataset))
    either = {"dataset": str(dataset), "training": {"hard_slices": 3}}
    made = planned(Experiment.parse(either), open_dataset(dataset)).experiment
    assert not made.network.name.startswith("3d:")


def command(*arguments, capsys):
    """The exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code, *capsys.readouterr()


@pytest.fixture
def no_restart(monkeypatch):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


def test_presets_are_listed_with_their_variants(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    code, out, _ = command("presets", capsys=capsys)
    assert code == 0
    for name in presets():
        assert name in out
    assert "scale-gaussian" in out


@pytest.mark.parametrize("verb", [["plan", "data"], ["train", "data", "--out", "run"]])
def test_a_name_or_variant_that_is_none_is_told_with_those_there_are(verb, capsys, no_restart):
    code, _, err = command(*verb, "--config", "lowerlimb", capsys=capsys)
    assert code == 2
    assert "'lowerlimb': did you mean 'lower-limb'? Known: fcn, femur-ends" in err
    code, _, err = command(*verb, "--config", "fcn", "--variant", "fcn8s", capsys=capsys)
    assert code == 2
    assert "unknown variant 'fcn8s': did you mean 'fcn8s-vgg16'?" in err
    code, _, err = command(*verb, "--variant", "fcn8s", capsys=capsys)
    assert code == 2
    assert "--config" in err
    assert not Path("run").exists()


def test_plan_takes_a_preset_and_flags_win(dataset, capsys, tmp_path, quick, no_restart):
    code, _, _ = command(
        "plan", dataset, "--config", "femur-slices", "--variant", "unet-mobilenetv3",
        "--weights", "none", "--batch", 4, "--plane", "coronal", "--budget", "5m",
        "--out", tmp_path / "plan.toml", capsys=capsys,
    )  # fmt: skip
    assert code == 0
    made = Experiment.read(tmp_path / "plan.toml")
    assert (made.network.name, made.network.weights) == ("unet-mobilenetv3", "none")
    assert (made.training.batch, made.training.loss) == (4, "ce")
    assert (made.training.budget, made.training.epochs) == (300, None)
    assert made.preparation.plane == "coronal"
    assert made.training.patch == (256, 1, 192)


def test_a_file_wins_over_a_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("plain-2d").write_text("[network]\nname = 'unet-resnet18'\n")
    assert read_preset("plain-2d").settings == {"network": {"name": "unet-resnet18"}}
    with pytest.raises(UnknownName, match="variant"):
        read_preset("plain-2d").settings_of("any")
    Path("plain-2d").write_text("[study]\ntitel = 'x'\n")
    with pytest.raises(ConfigError, match="plain-2d: "):
        read_preset("plain-2d")
