"""An exported network gives the segmenter's answers to whoever follows its card."""

import functools
import json
import sys

import numpy as np
import pytest
import torch

from condyle.config import Preparation
from condyle.config.requests import ExportRequest
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, MissingExtra, MissingFile
from condyle.io import write
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.predict.runtimes.openvino import Graph, OpenVinoRuntime
from condyle.predict.runtimes.torch import TorchRuntime
from condyle.workflows import export as workflow
from condyle.workflows.export import export

SCHEME = LabelScheme.of({"femur": 1, "tibia": 2})
MINMAX = Preparation(intensity="minmax")


@functools.cache
def network(name):
    torch.manual_seed(0)
    made, _ = build(name, 1, 3, "none")
    return made.eval()


@pytest.fixture
def run(tmp_path):
    def made(name):
        deep = name.startswith("3d:")
        preprocessor = RecipePreprocessing(
            settings=MINMAX, spatial=3 if deep else 2, window=(16, 16, 16) if deep else None
        )
        Segmenter(name, network(name), preprocessor, SCHEME).save(tmp_path / "segmenter")
        return tmp_path

    return made


def answers(network):
    sides = (64, 64) if network.spatial == 2 else (16, 32, 16)
    x = torch.rand(3, 1, *sides, generator=torch.Generator().manual_seed(0))
    return x, TorchRuntime.of(network, "cpu", "fp32").probabilities(x)


def test_the_card_says_what_goes_in_and_what_comes_out(run):
    folder = export(ExportRequest(run=run("unet-plain"), to="openvino")).folder
    assert folder == run("unet-plain") / "segmenter" / "runtime" / "openvino-fp32"
    card = json.loads((folder / "card.json").read_text())
    assert [label["name"] for label in card["labels"]] == ["femur", "tibia"]
    assert card["preparation"]["intensity"] == "minmax"
    assert card["network"] == "unet-plain"
    segmenter = json.loads((run("unet-plain") / "segmenter" / "segmenter.json").read_text())
    assert card["weights"] == segmenter["sha256"]
    x, expected = answers(network("unet-plain"))
    found = OpenVinoRuntime(Graph.read(folder, card["weights"])).probabilities(x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["unet-plain", "3d:unet-plain"])
def test_onnx_answers_as_the_segmenter_does_in_batches_of_any_size(run, tmp_path, name):
    pytest.importorskip("onnx")
    folder = export(ExportRequest(run=run(name), to="onnx", out=tmp_path / "onnx")).folder
    card = json.loads((folder / "card.json").read_text())
    assert list(card["files"]) == ["model.onnx"]
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime runs what was written")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    x, expected = answers(network(name))
    for batch in (1, 3):
        (found,) = session.run(None, {"scan": x[:batch].numpy()})
        np.testing.assert_allclose(found, expected[:batch].numpy(), atol=1e-3)


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    for n in range(2):
        labels = np.zeros((32, 32, 20), np.uint8)
        labels[8:24, 8:24, 4:16] = 1 + n
        grid = Grid.regular(labels.shape)
        image = labels * 100 + rng.normal(0, 10, labels.shape).astype(np.float32)
        write(Volume(image, grid), tmp_path / "data" / "imagesTr" / f"case{n}.nii.gz")
        path = tmp_path / "data" / "labelsTr" / f"case{n}.nii.gz"
        write(LabelMap(labels, grid, SCHEME), path)
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["unet-plain", "3d:unet-plain"])
def test_int8_is_fitted_to_scans_and_answers_nearly_the_same(run, dataset, name, monkeypatch):
    pytest.importorskip("nncf")
    monkeypatch.setattr(workflow, "SAMPLES", {2: 4, 3: 2})
    folder = export(
        ExportRequest(run=run(name), to="openvino", precision="int8", calibrate=dataset)
    ).folder
    card = json.loads((folder / "card.json").read_text())
    assert card["precision"] == "int8"
    assert card["calibrated on"]["cases"] == ["case0", "case1"]
    assert "FakeQuantize" in (folder / "model.xml").read_text()
    x, expected = answers(network(name))
    found = OpenVinoRuntime(Graph.read(folder), "int8").probabilities(x)
    assert 0 < (found - expected).abs().max() < 0.2


def test_without_a_data_set_it_asks_for_one(run):
    pytest.importorskip("nncf")
    with pytest.raises(MissingFile, match="`calibrate`"):
        export(ExportRequest(run=run("unet-plain"), to="openvino", precision="int8"))


def test_int8_is_for_openvino(run):
    with pytest.raises(ConfigError, match="`to` = openvino"):
        export(ExportRequest(run=run("unet-plain"), to="onnx", precision="int8"))


@pytest.mark.parametrize(
    ("missing", "asked"),
    [
        ("onnx", {"to": "onnx"}),
        ("openvino", {"to": "openvino"}),
        ("nncf", {"to": "openvino", "precision": "int8"}),
    ],
)
def test_what_is_not_installed_is_named(run, missing, asked, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=r"pip install"):
        export(ExportRequest(run=run("unet-plain"), **asked))
