"""No verb writes over what it was given: refused before anything is computed, exit 2."""

import json
import os

import numpy as np
import pytest
import torch

from condyle.app.cli.main import main
from condyle.config import Preparation
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.io import write
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter

GRID = Grid.regular((12, 12, 8))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A run folder, a data set, scans and label maps; commands stand in the scans' folder."""
    torch.manual_seed(0)
    scheme = LabelScheme.of({"tibia": 1})
    network = build("unet-plain", 1, 2, "none")[0].eval()
    preparation = RecipePreprocessing(settings=Preparation())
    Segmenter("unet-plain", network, preparation, scheme).save(tmp_path / "run" / "segmenter")
    (tmp_path / "run" / "config.toml").write_text('dataset = "data"\n')
    array = np.zeros(GRID.shape, np.uint8)
    array[3:9, 3:9, 2:6] = 1
    for name in ("a", "b"):
        for folder in ("scans", "data/imagesTr"):
            write(Volume(array * np.int16(900), GRID), tmp_path / folder / f"{name}.nii.gz")
        for folder in ("labels", "data/labelsTr"):
            write(LabelMap(array, GRID, scheme), tmp_path / folder / f"{name}.nii.gz")
    table = {"labels": {"background": 0, "tibia": 1}, "numTraining": 2, "file_ending": ".nii.gz"}
    table["channel_names"] = {"0": "CT"}
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(table))
    (tmp_path / "plan.toml").write_text('dataset = "../data"\n[network]\nname = "unet-plain"\n')
    compare = 'dataset = "../data"\n[models.one]\nnetwork.name = "unet-plain"\n'
    (tmp_path / "compare.toml").write_text(compare + compare.splitlines()[1].replace("one", "two"))
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    (tmp_path / "links").symlink_to("scans", target_is_directory=True)
    (tmp_path / "hard").mkdir()
    os.link(tmp_path / "scans" / "a.nii.gz", tmp_path / "hard" / "table.csv")
    for name in ("metrics.csv", "summary.tex", "surfaces.csv", "a_tibia.ply", "quality.csv"):
        os.link(tmp_path / "labels" / "a.nii.gz", tmp_path / "hard" / name)
    monkeypatch.chdir(tmp_path / "scans")
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)
    return tmp_path


REFUSED = {
    "segment, the folder itself": "segment ../run . --out .",
    "segment, a link to it": "segment ../run ../scans --out ../links",
    "segment, a link to the scan": "segment ../run ../links/a.nii.gz --out ../scans",
    "segment, over the data set's labels": "segment ../run ../data --out ../data/labelsTr",
    "segment, over the data set's scans": "segment ../run ../data --out ../data/imagesTr",
    "refine": "refine ../labels --fill-holes --out ../labels",
    "refine, one file": "refine ../labels/a.nii.gz --fill-holes --out ../data/../labels",
    "mesh, a surface": "mesh ../labels --out ../hard",
    "evaluate, a table": "evaluate ../labels ../labels --out ../hard",
    "features, a hard link": "features . ../labels --out ../hard/table.csv",
    "plan, its settings": "plan --config ../plan.toml --out ../plan.toml",
    "plan, by another path": "plan ../data --config ../plan.toml --out ../links/../plan.toml",
    "runs, a run's file": "runs ../run --out ../run/segmenter.csv",
    "import-weights": "import-weights ../weights.safetensors --out ../weights.safetensors",
    "import": "import . --masks ../labels --out .",
    "import, the masks": "import . --masks ../labels --out ../labels",
    "check, its page": "check ../data --out ../data",
    "check, its copy": "check ../data --fix ../data/labelsTr",
    "train": "train ../data --network unet-plain --epochs 1 --out ../data",
    "train, an earlier run": "train ../data --network unet-plain --epochs 1 --out ../run",
    "export": "export ../run --to openvino --out ../run/segmenter",
    "compare": "compare ../compare.toml --out ..",
}


@pytest.mark.parametrize("what", REFUSED)
def test_no_verb_writes_over_what_it_was_given(what, place, capsys, monkeypatch):
    words = REFUSED[what].split()
    if words[0] == "runs":
        os.link(place / "run" / "config.toml", place / "run" / "segmenter.csv")
    if words[0] == "export":
        os.link(place / "run/segmenter/model.safetensors", place / "run/segmenter/model.bin")

    def computed(*args, **more):
        raise AssertionError("something was computed before the output was refused")

    monkeypatch.setattr("condyle.predict.inference.Predictor.predict", computed)
    monkeypatch.setattr("condyle.workflows.mesh.surfaces", computed)
    monkeypatch.setattr("condyle.workflows.refine.cleaned", computed)
    monkeypatch.setattr("condyle.workflows.evaluate.score_case", computed)
    monkeypatch.setattr("condyle.workflows.features.compare", computed)
    monkeypatch.setattr("condyle.workflows.check.find", computed)
    monkeypatch.setattr("condyle.workflows.training.plan.fingerprint", computed)
    monkeypatch.setattr("condyle.workflows.import_weights._state", computed)
    before = {p: p.read_bytes() for p in place.rglob("*") if p.is_file()}
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2, capsys.readouterr().err
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert any(x in said for x in ("is one of the inputs", "not empty", "inside", "other files"))
    assert {p: p.read_bytes() for p in place.rglob("*") if p.is_file()} == before
