"""Cleaning by flags, by a file, and by what validation cases say."""

import csv
import json

import numpy as np
import pytest

from condyle.app.cli.main import main
from condyle.config.requests import RefineRequest
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, UnknownName
from condyle.io import read_labels, write
from condyle.io.datasets.layouts import write_nnunet
from condyle.networks import build
from condyle.predict import Prediction, Predictor, RecipePreprocessing, Segmenter, TrainingRecord
from condyle.refine import refined
from condyle.workflows.refine import choose

SCHEME = LabelScheme.of({"tibia": 1, "femur": 2})
GRID = Grid.regular((24, 24, 16), (1, 1, 2))
VALIDATION = ["v0", "v1", "v2", "v3"]


def truth():
    array = np.zeros(GRID.shape, np.uint8)
    array[3:11, 3:11, 2:14] = 1
    array[13:21, 13:21, 2:14] = 2
    return array


def as_found(name):
    """The truth; specks about the tibia; where it is no validation case, specks of femur."""
    array = truth()
    array[3:7, 18:22, 6] = 1
    if name not in VALIDATION:
        array[18:22, 3:7, 2:14] = 2
    return array


@pytest.fixture
def seen(monkeypatch):
    """The cases that were segmented: a stand-in for a network knows each by its brightness."""
    cases = []

    def predict(self, channels):
        cases.append(NAMES[int(channels[0].array[0, 0, 0])])
        return Prediction(LabelMap(as_found(cases[-1]), channels[0].grid, SCHEME))

    monkeypatch.setattr(Predictor, "predict", predict)
    return cases


NAMES = ["train", *VALIDATION, "test"]


@pytest.fixture
def dataset(tmp_path):
    pairs = (
        (name, (Volume(np.full(GRID.shape, n, np.int16), GRID),), LabelMap(truth(), GRID, SCHEME))
        for n, name in enumerate(NAMES)
    )
    return write_nnunet(tmp_path / "data", "legs", pairs, SCHEME, ("CT",))


def a_run(folder, validation):
    network, _ = build("unet-plain", 1, 3, "none")
    record = TrainingRecord(train=("train",), validation=tuple(validation), test=("test",))
    made = Segmenter("unet-plain", network, RecipePreprocessing(), SCHEME, training=record)
    made.save(folder / "segmenter")
    return folder


@pytest.fixture
def run(tmp_path):
    return a_run(tmp_path / "run", VALIDATION)


def test_steps_that_raise_dice_on_validation_cases_are_stored(run, dataset, seen):
    rows = choose(RefineRequest(choose=run, labelmaps=(dataset,))).rows
    assert seen == VALIDATION  # once each, and no other case
    [kept] = [row for row in rows if row["kept"] == "yes"]
    assert kept["structure"] == "tibia"
    assert kept["dice_before"] < kept["dice_after"] == 1.0
    assert (kept["cases"], kept["better"], kept["worse"]) == (4, 4, 0)
    with (run / "refinement.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == [row["step"] for row in rows]
    stored = Segmenter.load(run).refinement
    assert list(stored["structures"]) == ["tibia"]
    cleaned = refined(LabelMap(as_found("v0"), GRID, SCHEME), stored)
    np.testing.assert_array_equal(cleaned.array, truth())


def test_steps_chosen_before_are_forgotten_when_none_helps(run, dataset, seen, monkeypatch):
    choose(RefineRequest(choose=run, labelmaps=(dataset,)))
    perfect = LabelMap(truth(), GRID, SCHEME)
    monkeypatch.setattr(Predictor, "predict", lambda *rest: Prediction(perfect))
    rows = choose(RefineRequest(choose=run, labelmaps=(dataset,))).rows
    assert {row["kept"] for row in rows} == {"no"}
    assert Segmenter.load(run).refinement == {}


def test_a_rise_in_one_case_that_costs_the_others_is_not_taken(run, dataset, monkeypatch):
    """In one case the largest part alone is right; in three, a second part belongs to the bone."""
    array = truth()
    array[3:11, 3:11, 7] = 0
    array[16, 8, 7] = 1
    found = LabelMap(array, GRID, SCHEME)
    monkeypatch.setattr(Predictor, "predict", lambda *rest: Prediction(found))
    rows = choose(RefineRequest(choose=run, labelmaps=(dataset,))).rows
    [largest] = [r for r in rows if (r["structure"], r["step"]) == ("tibia", "keep_largest 1")]
    assert largest["dice_after"] < largest["dice_before"]
    assert (largest["kept"], largest["worse"]) == ("no", 4)


def test_a_structure_that_is_nowhere_is_left_out(run, dataset, monkeypatch, caplog):
    array = np.where(truth() == 2, 0, truth()).astype(np.uint8)
    for file in (dataset / "labelsTr").glob("*.nii.gz"):
        write(LabelMap(array, GRID, SCHEME), file)
    found = Prediction(LabelMap(array, GRID, SCHEME))
    monkeypatch.setattr(Predictor, "predict", lambda *rest: found)
    assert {
        row["structure"] for row in choose(RefineRequest(choose=run, labelmaps=(dataset,))).rows
    } == {"tibia"}
    assert "femur is in 0 validation cases" in caplog.text


@pytest.mark.parametrize(("names", "words"), [([], "0 validation"), (["v0", "v1"], "3 or more")])
def test_too_few_validation_cases_are_refused(names, words, tmp_path, dataset, seen):
    run = a_run(tmp_path / "few", names)
    with pytest.raises(ConfigError, match=words):
        choose(RefineRequest(choose=run, labelmaps=(dataset,)))
    assert not seen
    assert not (run / "refinement.csv").exists()


def test_unlabelled_validation_cases_do_not_count(run, dataset, seen):
    for name in ("v0", "v1"):
        (dataset / "labelsTr" / f"{name}.nii.gz").unlink()
    with pytest.raises(ConfigError, match="2 of them labelled"):
        choose(RefineRequest(choose=run, labelmaps=(dataset,)))


def said(*arguments, capsys):
    """Exit code, stdout and stderr of `condyle refine`."""
    with pytest.raises(SystemExit) as ended:
        main(["refine", *map(str, arguments)])
    return ended.value.code, *capsys.readouterr()


def test_the_verb_chooses_and_shows(run, dataset, seen, capsys):
    code, out, _ = said("--choose", run, dataset, capsys=capsys)
    assert code == 0
    assert "will be cleaned by tibia" in out
    assert "refinement.csv" in out
    assert json.loads((run / "segmenter" / "segmenter.json").read_text())["refinement"]


@pytest.fixture
def labelmap(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(SCHEME.to_dict()))
    return write(LabelMap(as_found("test"), GRID, SCHEME), tmp_path / "leg.nii.gz")


def test_a_file_gives_a_structure_its_own_steps(labelmap, tmp_path, capsys):
    steps = tmp_path / "steps.toml"
    steps.write_text("keep_largest = 1\n\n[structures.femur]\nfill_holes = true\n")
    out = tmp_path / "clean"
    assert said(labelmap, "--steps", steps, "--out", out, capsys=capsys)[0] == 0
    cleaned = read_labels(out / "leg.nii.gz").array
    np.testing.assert_array_equal(cleaned == 1, truth() == 1)
    np.testing.assert_array_equal(cleaned == 2, as_found("test") == 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{leg}", "--keep-largest", "1"], "give --out"),
        (["{leg}", "--out", "{out}"], "--keep-largest, --min-mm3, --fill-holes, --slice-ratio"),
        (["{leg}", "--out", "{out}", "--keep-largest", "0"], "no step"),
        (["{leg}", "--out", "{out}", "--steps", "{steps}", "--fill-holes"], "not both"),
        (["--choose", "run", "{leg}", "--out", "{out}"], "--choose RUN DATASET"),
        (["--choose", "run", "{leg}", "{leg}"], "--choose RUN DATASET"),
        (["--choose", "nowhere", "{leg}"], "nowhere is not there"),
        (["{leg}", "--out", "{out}", "--steps", "{steps}"], "did you mean 'femur'"),
        (["{leg}", "--out", "{out}", "--steps", "nowhere.toml"], "not there"),
    ],
)
def test_wrong_flags_are_one_sentence_and_nothing_written(
    arguments, words, labelmap, tmp_path, capsys
):
    steps = tmp_path / "steps.toml"
    steps.write_text("[structures.femurs]\nkeep_largest = 1\n")
    places = {"leg": labelmap, "out": tmp_path / "out", "steps": steps}
    code, _, err = said(*(a.format(**places) for a in arguments), capsys=capsys)
    assert code == 2
    assert words in err
    assert not list(tmp_path.glob("out/*.nii.gz"))


def test_steps_for_an_unknown_structure_name_the_known():
    labels = LabelMap(truth(), GRID, SCHEME)
    with pytest.raises(UnknownName, match="tibia, femur"):
        refined(labels, {"structures": {"pelvis": {"keep_largest": 1}}})
