"""TotalSegmentator: its names and ours, its weights, and its package with a small real model."""

import csv
import functools
import http.server
import json
import shutil
import threading
import zipfile

import pytest

from condyle.config import Experiment
from condyle.config.requests import SegmentRequest, TrainRequest
from condyle.engines.names import EngineName
from condyle.engines.totalsegmentator import Part, fetch, mapping, owners
from condyle.errors import ConfigError, UnknownName, WeightsError
from condyle.io import open_dataset, read_labels
from condyle.jobs.job import Job
from condyle.workflows.segment import segment
from condyle.workflows.training.train import train

CLASSES = dict(
    enumerate(("hip_left", "hip_right", "femur_left", "femur_right", "sacrum", "skull"), 1)
)


def named(toy, tmp_path, names, given=None):
    """The toy data set with other names of its structures."""
    folder = tmp_path / "data"
    shutil.copytree(toy, folder)
    facts = json.loads((folder / "dataset.json").read_text())
    numbers = {"background": 0} | dict(zip(names, (3, 7), strict=False))
    (folder / "dataset.json").write_text(json.dumps({**facts, "labels": numbers}))
    if given is not None:
        (folder / "totalsegmentator.json").write_text(json.dumps(given))
    return open_dataset(folder)


@pytest.mark.parametrize(
    ("names", "joined"),
    [
        (["femur", "skull"], {3: [3, 4], 7: [6]}),
        (["L_femur", "Right Femur"], {3: [3], 7: [4]}),
        (["pelvis", "tibia"], {3: [1, 2, 5]}),
    ],
)
def test_sides_are_joined_or_kept_as_our_names_have_it(toy, tmp_path, names, joined):
    assert mapping(named(toy, tmp_path, names), CLASSES) == joined


def test_a_file_of_the_data_set_says_what_names_do_not(toy, tmp_path):
    given = {"ball": "skull", "box": ["hip_left", "hip_right"]}
    data = named(toy, tmp_path, ["ball", "box"], given)
    assert mapping(data, CLASSES) == {3: [6], 7: [1, 2]}


@pytest.mark.parametrize(
    ("names", "given", "counts"),
    [
        (["pelvis", "sacrum"], None, {1: 3, 2: 3, 5: 7}),  # the sacrum is told from the hips
        (["ball", "box"], {"ball": "skull", "box": "skull"}, {6: 3}),  # nothing tells these apart
    ],
)
def test_a_class_counts_for_the_structure_that_it_fits_best(toy, tmp_path, names, given, counts):
    assert owners(mapping(named(toy, tmp_path, names, given), CLASSES)) == counts


def test_names_that_are_unknown_there_are_said(toy, tmp_path):
    with pytest.raises(
        ConfigError, match=r"has no classes called ball, box.*totalsegmentator\.json"
    ):
        mapping(open_dataset(toy), CLASSES)
    with pytest.raises(UnknownName, match=r"unknown class in .*'skul': did you mean 'skull'"):
        mapping(named(toy, tmp_path, ["ball", "box"], {"ball": "skul"}), CLASSES)


def test_names_of_engines():
    assert EngineName.parse("totalsegmentator") == EngineName("totalsegmentator", "total")
    assert EngineName.parse("totalsegmentator:finetune:body").what == "body"
    assert str(EngineName.parse("totalsegmentator:finetune")) == "totalsegmentator:finetune:total"
    fast = EngineName.parse("totalsegmentator:finetune:fast")
    assert (fast.what, fast.finetuned, fast.fast) == ("total", True, True)
    for name in ("totalsegmentator:body:fast", "totalsegmentator:total:fast"):
        assert str(EngineName.parse(name)) == name
    with pytest.raises(UnknownName, match="totalsegmentator:fast:body"):
        EngineName.parse("totalsegmentator:fast:body")


@pytest.fixture
def server(tmp_path):
    """A server of files in a folder; gives the folder and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def part(home, url):
    return Part(home / "Dataset343_toy", f"{url}/Dataset343_toy.zip", False, "t", "3d_fullres", {})


def test_weights_are_downloaded_whole(server, tmp_path):
    folder, url = server
    with zipfile.ZipFile(folder / "Dataset343_toy.zip", "w") as archive:
        archive.writestr("Dataset343_toy/model/plans.json", "{}")
    fetch([part(tmp_path / "home", url)], Job())
    assert (tmp_path / "home" / "Dataset343_toy" / "model" / "plans.json").read_text() == "{}"
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["Dataset343_toy"]


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 cut short"])
def test_weights_that_cannot_be_had_are_named_with_their_place(server, tmp_path, content):
    folder, url = server
    if content:
        (folder / "Dataset343_toy.zip").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        fetch([part(tmp_path / "home", url)], Job())
    for word in (f"{url}/Dataset343_toy.zip", str(tmp_path / "home" / "Dataset343_toy"), "unpack"):
        assert word in str(caught.value)
    assert not list((tmp_path / "home").iterdir())


@pytest.fixture(scope="module")
def installed(total_segmentator, toy, tmp_path_factory):
    """TotalSegmentator's home with a model of ours, trained on the toy, as one of its tasks."""
    out = tmp_path_factory.mktemp("runs") / "base"
    settings = {"epochs": 5, "steps": 15}
    train(
        TrainRequest.of(
            Experiment.parse(
                {
                    "dataset": str(toy),
                    "device": "cpu",
                    "training": settings,
                    "network": {"name": "nnunet:3d_fullres"},
                }
            ),
            out,
        )
    )
    home = tmp_path_factory.mktemp("home")
    (model,) = (out / "engine" / "results").glob("*/*")
    results = home / "nnunet" / "results"
    shutil.copytree(model, results / "Dataset343_mediastinum_1786subj" / model.name)
    shutil.copytree(model, results / FAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOTALSEG_HOME_DIR", str(home))
        yield out


FAST = (
    "Dataset297_TotalSegmentator_total_3mm_1559subj/"
    "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
)
"""Where TotalSegmentator keeps the 3 mm model of its task `total`."""


def with_names(toy, tmp_path, ball="abdominal_cavity", box="thoracic_cavity"):
    data = tmp_path / "data"
    shutil.copytree(toy, data)
    given = {"ball": ball, "box": box}
    (data / "totalsegmentator.json").write_text(json.dumps(given))
    return data


def experiment(data, name, **training):
    network = {"name": f"totalsegmentator:{name}"}
    return Experiment.parse(
        {"dataset": str(data), "device": "cpu", "network": network, "training": training}
    )


@pytest.mark.slow
def test_zero_shot(installed, toy, tmp_path):
    out = tmp_path / "run"
    train(TrainRequest.of(experiment(with_names(toy, tmp_path), "trunk_cavities"), out))
    for case in open_dataset(toy).select(["toy_7", "toy_8"]):
        truth = case.labels()
        found = read_labels(out / "predictions" / f"{case.id}.nii.gz", truth.scheme)
        assert found.grid.same_as(truth.grid)
        both = (found.array == 3) & (truth.array == 3)
        assert 2 * both.sum() / ((found.array == 3).sum() + (truth.array == 3).sum()) > 0.5
    report = (out / "report.html").read_text()
    assert "abdominal_cavity" in report
    assert json.loads((out / "run.json").read_text())["parameters"] is None
    (case,) = open_dataset(toy).select(["toy_7"])
    again = tmp_path / "again"
    done = segment(SegmentRequest(run=out, scans=case.images, out=again, device="cpu"))
    found = read_labels(next(iter(done.written.values())))
    kept = read_labels(out / "predictions" / "toy_7.nii.gz", found.scheme)
    assert (found.array == kept.array).all()


@pytest.mark.slow
def test_fine_tuning(installed, toy, tmp_path):
    out = tmp_path / "run"
    data = with_names(toy, tmp_path)
    train(TrainRequest.of(experiment(data, "finetune:trunk_cavities", epochs=2, steps=10), out))
    job = json.loads((out / "engine" / "train.json").read_text())
    assert job["start"]["mirror"]  # a ball and a box have no sides
    rows = list(csv.DictReader((out / "tensors.csv").read_text().splitlines()))
    tensors = {row["outcome"] for row in rows}
    assert tensors == {"kept", "adapted"}
    assert all(("seg_layers" in row["tensor"]) == (row["outcome"] == "adapted") for row in rows)
    report = (out / "report.html").read_text()
    assert "adapted" in report
    assert "validation Dice before fine-tuning" in report
    assert sorted(path.name for path in (out / "predictions").glob("*.nii.gz")) == [
        "toy_7.nii.gz", "toy_8.nii.gz"
    ]  # fmt: skip
    rows = list(csv.DictReader((out / "summary.csv").read_text().splitlines()))
    assert float(rows[-1]["dice_mean"]) > 0.5


@pytest.mark.slow
def test_without_weights_or_licence_nothing_is_written(
    total_segmentator, toy, tmp_path, monkeypatch
):
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    data = with_names(toy, tmp_path)
    with pytest.raises(WeightsError, match="needs a licence"):
        train(TrainRequest.of(experiment(data, "appendicular_bones"), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_coarser_model_is_used_where_it_is_asked_for(installed, toy, tmp_path):
    out = tmp_path / "run"
    data = with_names(toy, tmp_path, "spleen", "kidney_right")  # the first classes of `total`
    train(TrainRequest.of(experiment(data, "fast"), out))
    known = Experiment.read(out / "config.toml")
    assert known.engine["task"] == "total"
    assert known.engine["spacing"] == 3.0
    assert known.engine["weights"] == "TotalSegmentator, total fast"
    assert len(list((out / "predictions").glob("*.nii.gz"))) == 2
    assert json.loads((out / "engine.json").read_text())["fast"]
    with pytest.raises(ConfigError, match=r"trunk_cavities has no `fast` model.*total, "):
        train(TrainRequest.of(experiment(data, "trunk_cavities:fast"), tmp_path / "other"))
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_fine_tuning_as_the_femur_study_did_in_all_folds(installed, toy, tmp_path):
    data, out = with_names(toy, tmp_path, "spleen", "kidney_right"), tmp_path / "run"
    names = [f"toy_{n}" for n in range(9)]
    folds = [{"train": names[4:], "val": names[:4]}, {"train": names[:4], "val": names[4:]}]
    (data / "splits_final.json").write_text(json.dumps(folds))
    request = TrainRequest(
        dataset=data, config="femur-totalsegmentator", variant="fast", folds=2, epochs=1,
        settings={"training": {"steps": 4}}, device="cpu", out=out,
    )  # fmt: skip
    done = train(request)
    assert done.summary[0]["n"] == 9
    for fold in ("fold_0", "fold_1"):
        known = Experiment.read(out / fold / "config.toml")
        assert (known.training.optimizer, known.training.rate) == ("adam", 3e-4)
        assert (known.training.loss, known.network.last_layer) == ("bce+dice", "new")
        rows = list(csv.DictReader((out / fold / "history.csv").read_text().splitlines()))
        assert float(rows[0]["rate"]) == 3e-4
        rows = list(csv.DictReader((out / fold / "tensors.csv").read_text().splitlines()))
        assert {row["outcome"] for row in rows if "seg_layers" in row["tensor"]} == {"new"}
        assert {row["outcome"] for row in rows if "seg_layers" not in row["tensor"]} == {"kept"}
