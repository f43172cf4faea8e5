"""Every setting of a training on every kind of network: it is used, or refused by its name.

What is used stands in the experiment that the run keeps (its config.toml), as it was given; of what
is refused, the sentence holds the name. That each of these settings is read where the work is done
is seen in the sources.
"""

import ast
from pathlib import Path

import pytest

import condyle
from balls import balls
from condyle.config import Experiment, flattened
from condyle.config.requests import ImportWeightsRequest, PlanRequest, TrainRequest
from condyle.errors import ConfigError
from condyle.jobs.job import Job
from condyle.runs.folder import RunFolder
from condyle.workflows.import_weights import import_weights
from condyle.workflows.training.plan import plan
from condyle.workflows.training.support import KINDS, kind_of, require_supported
from condyle.workflows.training.train import train
from toy_nnunet import model

NETWORKS = {
    "auto": "auto",
    "2d": "unet-plain",
    "3d": "3d:unet-plain",
    "inflated": "3d:unet-mobilenetv3",
    "nnunet": "nnunet:2d",
    "totalsegmentator": "totalsegmentator",
    "totalsegmentator:finetune": "totalsegmentator:finetune",
}
OURS = ("auto", "2d", "3d", "inflated")

# Setting -> a value that is not its own, and the settings without which it has no meaning.
SETTINGS = {
    "dataset": ("elsewhere", {}),
    "fold": (1, {}),
    "device": ("cpu", {}),
    "log": (("tensorboard",), {}),
    "network.name": (None, {}),
    "network.weights": ("none", {}),
    "network.freeze": ("encoder", {}),
    "network.unfreeze_after": (2, {"network.freeze": "encoder"}),
    "network.encoder_rate": (0.5, {}),
    "network.inflation.strategy": ("center", {}),
    "network.inflation.alphas": ("gaussian", {"network.inflation.strategy": "scale"}),
    "network.inflation.depth": (5, {}),
    "network.inflation.keep_depth": (1, {}),
    "network.inflation.axis": (2, {"preparation.plane": "sagittal"}),
    "network.deep_supervision": (True, {}),
    "network.last_layer": ("new", {}),
    "preparation.spacing": ((1.0, 1.0, 1.0), {}),
    "preparation.size": (32, {}),
    "preparation.plane": ("sagittal", {}),
    "preparation.intensity": ("minmax", {}),
    "preparation.percentiles": ((1.0, 99.0), {}),
    "preparation.window": ((0.0, 100.0), {"preparation.intensity": "window"}),
    "preparation.mean": (10.0, {"preparation.intensity": "ct"}),
    "preparation.std": (10.0, {"preparation.intensity": "ct"}),
    "preparation.interpolation": ("spline", {}),
    "preparation.crop": ("nonzero", {}),
    "training.loss": ("dice", {}),
    "training.class_weights.ball": (2.0, {}),
    "training.optimizer": ("adam", {}),
    "training.rate": (1e-3, {}),
    "training.weight_decay": (1e-3, {}),
    "training.schedule": ("linear", {}),
    "training.final_rate": (0.1, {}),
    "training.rate_per_epoch": (1e-5, {"training.schedule": "linear"}),
    "training.warmup": (0.1, {}),
    "training.epochs": (3, {}),
    "training.steps": (7, {}),
    "training.budget": (600.0, {}),
    "training.batch": (3, {}),
    "training.patch": ((16, 16, 16), {}),
    "training.foreground": (0.5, {}),
    "training.hard_slices": (2, {}),
    "training.ema": (0.9, {}),
    "training.best_by": ("iou", {}),
    "training.patience": (3, {}),
    "training.seed": (5, {}),
    "augmentation.p": (0.3, {}),
    "augmentation.copies": (2, {}),
    "augmentation.rotation": (5.0, {}),
    "augmentation.scaling": (0.1, {}),
    "augmentation.elastic": (1.0, {}),
    "augmentation.flip": ("all", {}),
    "augmentation.blur": (1.0, {}),
    "augmentation.low_resolution": (2.0, {}),
    "augmentation.brightness": (0.1, {}),
    "augmentation.contrast": (0.1, {}),
    "augmentation.gamma": (0.1, {}),
    "augmentation.noise": (0.2, {}),
}
ALWAYS = {"dataset", "fold", "device", "log", "network.name"}
TRAINER = {
    "training.epochs", "training.budget", "training.seed", "training.steps", "training.batch",
    "training.loss", "training.optimizer", "training.rate", "training.weight_decay",
    "training.schedule", "training.final_rate", "training.warmup", "training.foreground",
    "network.deep_supervision", "augmentation.flip",
}  # fmt: skip
"""What nnU-Net's trainer takes of us."""
INFLATION = {name for name in SETTINGS if name.startswith("network.inflation.")}
REFUSED = {
    "auto": INFLATION | {"network.last_layer"},
    "2d": INFLATION | {"network.last_layer"},
    "3d": INFLATION | {"network.last_layer", "preparation.plane", "training.hard_slices"},
    "inflated": {"network.last_layer", "training.hard_slices"},
    "nnunet": SETTINGS.keys() - ALWAYS - TRAINER,
    "totalsegmentator": SETTINGS.keys() - ALWAYS,
    "totalsegmentator:finetune": SETTINGS.keys() - ALWAYS - TRAINER - {"network.last_layer"},
}
"""Kind of network -> the settings that it cannot use."""

FLAGS = {
    "dataset": "elsewhere", "network": None, "budget": "10m", "epochs": 50, "fold": 0, "seed": 0,
    "batch": 4, "rate": 2e-3, "size": 32, "weights": "imagenet", "plane": "axial",
    "inflation": "average", "device": "auto", "log": ("tensorboard",),
}  # fmt: skip
"""Fields that stand for a setting, and most at what they are by themselves: still asked for."""
OTHERS = {"config", "variant", "settings", "out", "resume", "folds"}


def tree_of(settings):
    tree = {}
    for name, value in settings.items():
        here = tree
        *sections, last = name.split(".")
        for section in sections:
            here = here.setdefault(section, {})
        here[last] = value
    return tree


def asked(kind, name, dataset="balls"):
    value, needs = SETTINGS[name]
    given = {"dataset": dataset, "network.name": NETWORKS[kind], **needs}
    return given | ({name: value} if value is not None else {})


def test_every_setting_and_every_kind_has_its_place_here():
    every = Experiment.parse(
        {"dataset": "balls", "preparation": {}, "training": {"class_weights": {"ball": 2.0}}}
    )
    assert SETTINGS.keys() == flattened(every.model_dump()).keys()
    assert FLAGS.keys() | OTHERS == TrainRequest.model_fields.keys()
    assert PlanRequest.model_fields.keys() == TrainRequest.model_fields.keys() - {"resume", "folds"}
    assert NETWORKS.keys() == set(KINDS) == REFUSED.keys()
    assert all(kind_of(name) == kind for kind, name in NETWORKS.items())


@pytest.mark.parametrize("kind", KINDS)
def test_each_setting_is_supported_or_refused_by_its_name(kind):
    for name in SETTINGS:
        experiment = TrainRequest(settings=tree_of(asked(kind, name)), out="run").experiment()
        if name in REFUSED[kind]:
            with pytest.raises(ConfigError, match=f"`{name}`"):
                require_supported(experiment)
        else:
            require_supported(experiment)


@pytest.mark.parametrize("kind", KINDS)
def test_each_flag_is_used_or_refused_even_at_what_it_is_by_itself(kind):
    for name, value in FLAGS.items():
        given = {"network": NETWORKS[kind], "dataset": "balls"}
        given |= {name: value} if value is not None else {}
        request = TrainRequest(out="run", **given)
        setting = TrainRequest.SHORT.get(name, "preparation.plane")
        setting = "network.inflation.strategy" if name == "inflation" else setting
        experiment = request.experiment()
        idle = name == "weights" and kind in ("2d", "3d")  # unet-plain is pretrained on nothing
        if setting in REFUSED[kind] or idle:
            with pytest.raises(ConfigError, match=f"`{setting}`"):
                require_supported(experiment, request.plane, request.named())
        else:
            require_supported(experiment, request.plane, request.named())


IDLE = {
    "network.unfreeze_after": {"network.unfreeze_after": 2},
    "network.inflation.alphas": {
        "network.name": "3d:unet-mobilenetv3", "network.inflation.alphas": "gaussian",
    },
    "network.inflation.axis": {"network.name": "3d:unet-mobilenetv3", "network.inflation.axis": 3},
    "training.final_rate": {"training.schedule": "constant", "training.final_rate": 0.5},
    "training.rate_per_epoch": {"training.rate_per_epoch": 1e-6},
    "training.steps": {"network.name": "nnunet:2d", "training.steps": "all"},
    "preparation.window": {"preparation.window": (0.0, 1.0)},
    "preparation.percentiles": {
        "preparation.intensity": "max", "preparation.percentiles": (1.0, 99.0),
    },
    "preparation.mean": {"preparation.intensity": "window", "preparation.mean": 1.0},
    "preparation.size": {"preparation.size": 64, "preparation.spacing": (1.0, 1.0, 1.0)},
    "augmentation.rotation": {"augmentation.p": 0.0, "augmentation.rotation": 30.0},
}  # fmt: skip


@pytest.mark.parametrize("name", IDLE)
def test_a_setting_that_another_makes_meaningless_is_refused(name):
    settings = tree_of({"dataset": "balls", "network.name": "unet-plain", **IDLE[name]})
    with pytest.raises(ConfigError, match=f"`{name}`"):
        require_supported(Experiment.parse(settings))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return balls(tmp_path_factory.mktemp("data"))


ALONE = {
    "network.deep_supervision", "training.hard_slices", "preparation.mean", "preparation.std",
    "preparation.window", "preparation.size", "training.epochs", "training.patch", "training.batch",
    "network.inflation.axis", "preparation.plane", "log", "network.freeze",
    "network.unfreeze_after", "network.inflation.alphas", "training.rate_per_epoch",
}  # fmt: skip
"""Settings that do not go together with others in one experiment, or only with some."""


@pytest.mark.parametrize("kind", ["2d", "3d", "inflated"])
def test_what_is_given_stands_in_the_plan_as_it_was_given(dataset, kind):
    together = {"dataset": str(dataset), "network.name": NETWORKS[kind], "training.batch": 2}
    for name in SETTINGS.keys() - ALONE - REFUSED[kind] - {"dataset", "network.name"}:
        together |= asked(kind, name, str(dataset))
    together |= {"training.patch": (16, 16, 16) if kind != "2d" else (16, 16, 1)}
    together |= {"network.freeze": "encoder", "network.unfreeze_after": 2}
    together["preparation.intensity"] = "zscore"
    made = plan(PlanRequest(settings=tree_of(together))).experiment
    found = flattened(made.model_dump())
    assert {name: found[name] for name in together} == together


def test_each_setting_is_read_by_what_does_the_work():
    """A field that no line outside of `config` reads is a setting that is dropped."""
    home = Path(condyle.__file__).parent
    read = set()
    for file in home.rglob("*.py"):
        if file.parent.name != "config":
            tree = ast.parse(file.read_text(encoding="utf-8"))
            read |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            read |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    leaves = {name.removesuffix(".ball").rpartition(".")[2] for name in SETTINGS}
    assert not leaves - read


def test_an_engine_does_not_plan_by_our_rules(dataset):
    for kind in set(KINDS) - set(OURS):
        with pytest.raises(ConfigError, match="plans in its own way"):
            plan(PlanRequest(dataset=dataset, network=NETWORKS[kind]))


@pytest.fixture(scope="module")
def begun(dataset, tmp_path_factory):
    """A training that was interrupted after its first epoch."""
    out = tmp_path_factory.mktemp("begun") / "run"
    given = {"dataset": dataset, "network": "3d:unet-plain", "epochs": 3, "batch": 2, "seed": 1,
             "settings": {"training": {"steps": 2}}}  # fmt: skip
    request = TrainRequest(out=out, device="cpu", **given)
    job = Job()

    def on_progress(progress):
        if progress.stage == "training" and progress.done > 0.3:
            job.cancel()

    job.on_progress = on_progress
    try:
        train(request, job)
    except Exception:
        assert RunFolder(out).checkpoints.exists()
    return request


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("network", "unet-plain", "network.name"), ("epochs", 4, "training.epochs"),
        ("budget", "10m", "training.budget"), ("batch", 3, "training.batch"),
        ("rate", 0.5, "training.rate"), ("seed", 2, "training.seed"), ("fold", 1, "fold"),
        ("weights", "none", "network.weights"), ("plane", "sagittal", "preparation.plane"),
        ("inflation", "center", "network.inflation.strategy"),
        ("settings", {"augmentation": {"blur": 1}}, "augmentation.blur"),
        ("config", "plain-2d", "network.name"),
    ],
)  # fmt: skip
def test_going_on_with_another_setting_is_refused_by_its_name(begun, field, value, name):
    given = {"out": begun.out, "resume": True, "device": "cpu", field: value}
    with pytest.raises(ConfigError, match=f"other settings.*`{name}`"):
        train(TrainRequest(**given))


def test_going_on_with_the_same_settings_and_with_none_goes_on(begun):
    first = train(begun.changed(resume=True))
    assert [row["epoch"] for row in first.history.rows] == [0, 1, 2]
    again = train(TrainRequest(out=begun.out, resume=True, device="cpu"))
    assert again.summary[0]["dice_mean"] == first.summary[0]["dice_mean"]


@pytest.mark.parametrize("given", [{"network": "unet-plain"}, {"unsafe_pickle": True}])
def test_what_is_for_checkpoints_is_refused_for_an_nnu_net(tmp_path, given):
    home = model(tmp_path / "model")
    request = ImportWeightsRequest(files=[home], out=tmp_path / "run", **given)
    with pytest.raises(ConfigError, match=f"`{next(iter(given))}`"):
        import_weights(request)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [{"model": "nnUNetTrainer__nnUNetPlans__2d"}, {"fold": "0"}])
def test_what_is_for_an_nnu_net_is_refused_for_a_checkpoint(tmp_path, given):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"never read")
    request = ImportWeightsRequest(files=[file], out=tmp_path / "out.safetensors", **given)
    with pytest.raises(ConfigError, match=f"`{next(iter(given))}`"):
        import_weights(request)


def test_import_weights_has_no_other_settings():
    own = {"network", "unsafe_pickle", "model", "fold"}
    assert ImportWeightsRequest.model_fields.keys() == own | {"files", "out"}
