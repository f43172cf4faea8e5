"""Names and colours of bare label maps are those of `scheme`, from import to the surface."""

import json
import math

import numpy as np
import pytest

from condyle.config.requests import (
    EvaluateRequest,
    FeaturesRequest,
    ImportRequest,
    MeshRequest,
    RefineRequest,
)
from condyle.core import KNEE, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, LabelError
from condyle.io import open_dataset, read_labels, write
from condyle.io.label_names import scheme_named
from condyle.workflows.evaluate import evaluate
from condyle.workflows.features import features_of_scans
from condyle.workflows.importing.import_scans import import_scans
from condyle.workflows.mesh import mesh
from condyle.workflows.refine import refine

GRID = Grid.regular((20, 18, 16), (2, 2, 2))
GREEN, RED = (0, 255, 0), (255, 0, 0)


@pytest.fixture
def coloured(tmp_path):
    """The scheme of the knee study as a file: tibia green, femur red."""
    file = tmp_path / "knee.json"
    rows = {
        "tibia": {"number": 1, "colour": "#00ff00"},
        "femur": {"number": 2, "colour": "#FF0000"},
    }
    file.write_text(json.dumps(rows))
    return file


def knee(path, scheme=None):
    array = np.zeros(GRID.shape, np.uint8)
    array[3:9, 3:14, 3:14], array[11:17, 3:14, 3:14] = 1, 2
    return write(LabelMap.of(array, GRID, scheme), path)


def colours(labels):
    return {label.name: label.colour for label in labels.scheme.labels}


def test_scheme_file_has_numbers_and_colours(coloured):
    scheme = scheme_named(str(coloured))
    assert scheme.to_dict() == {"tibia": 1, "femur": 2}
    assert [label.colour for label in scheme.labels] == [GREEN, RED]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"number": 1, "colour": "green"}, "'green' of tibia"),
        ({"number": 1, "color": "#00ff00"}, "color"),
        ({"colour": "#00ff00"}, "number"),
    ],
)
def test_wrong_scheme_file_is_explained(tmp_path, row, said):
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps({"tibia": row}))
    with pytest.raises(ConfigError, match=said):
        scheme_named(str(file))


def test_features_of_a_bare_label_map_have_the_names(tmp_path):
    array = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    scan, labels = write(Volume(array, GRID), tmp_path / "s.nii.gz"), knee(tmp_path / "l.nii.gz")
    out = tmp_path / "out.csv"
    features_of_scans(
        FeaturesRequest(
            scan=scan,
            labelmap=labels,
            out=out,
            scheme="knee",
            encoder="efficientnet_lite0",
            weights="none",
            permutations=0,
            spacing=0,
            device="cpu",
            runtime="torch",
        )
    )
    pairs = [line.split(",")[0] for line in out.read_text().splitlines()[1:]]
    assert pairs == ["tibia-femur", "tibia-background", "femur-background"]


def test_mesh_has_the_scheme_s_names_and_colours(tmp_path, coloured):
    knee(tmp_path / "maps" / "leg.nii.gz")
    done = mesh(
        MeshRequest(labelmaps=[tmp_path / "maps"], out=tmp_path / "m", scheme=str(coloured),
                    format="obj")
    )  # fmt: skip
    assert {path.stem for path in done.written} == {"leg_all", "leg_femur", "leg_tibia"}
    lines = (tmp_path / "m" / "leg_tibia.mtl").read_text().splitlines()
    said = next(line for line in lines if line.startswith("Kd"))
    assert all(map(math.isclose, map(float, said.split()[1:]), (0.0, 1.0, 0.0)))


def test_refine_writes_the_names_and_colours(tmp_path, coloured):
    file = knee(tmp_path / "leg.nii.gz")
    refine(
        RefineRequest(labelmaps=[file], out=tmp_path / "r", keep_largest=1, scheme=str(coloured))
    )
    assert colours(read_labels(tmp_path / "r" / "leg.nii.gz")) == {"tibia": GREEN, "femur": RED}


def test_scheme_that_contradicts_the_file_s_names_is_refused(tmp_path):
    file = knee(tmp_path / "leg.nii.gz", LabelScheme.of({"femur": 1, "tibia": 2}))
    with pytest.raises(LabelError, match="calls label 1 femur, and the scheme calls it tibia"):
        refine(RefineRequest(labelmaps=[file], out=tmp_path / "r", keep_largest=1, scheme="knee"))


def test_evaluate_names_bare_numbers(tmp_path):
    truth, found = knee(tmp_path / "t" / "leg.nii.gz"), knee(tmp_path / "p" / "leg.nii.gz")
    done = evaluate(
        EvaluateRequest(predictions=found, labels=truth, out=tmp_path / "e", scheme="knee")
    )
    assert {row["structure"] for row in done.summary} >= {"tibia", "femur"}


def test_colours_stay_from_import_to_segmentations(tmp_path, coloured):
    array = np.random.default_rng(0).integers(0, 900, GRID.shape).astype(np.int16)
    write(Volume(array, GRID), tmp_path / "scans" / "leg.nii.gz")
    knee(tmp_path / "masks" / "leg.nii.gz")
    import_scans(
        ImportRequest(scans=[tmp_path / "scans"], masks=[tmp_path / "masks"],
                      out=tmp_path / "data", scheme=str(coloured))
    )  # fmt: skip
    dataset = open_dataset(tmp_path / "data")
    assert [label.colour for label in dataset.scheme.labels] == [GREEN, RED]
    labels = next(iter(dataset)).labels()
    assert colours(labels) == {"tibia": GREEN, "femur": RED}
    for ending in ("seg.nrrd", "nii.gz"):
        again = read_labels(write(labels, tmp_path / f"leg.{ending}"))
        assert colours(again) == {"tibia": GREEN, "femur": RED}


def test_usual_colours_are_not_written(tmp_path):
    write(Volume(np.zeros(GRID.shape, np.int16), GRID), tmp_path / "scans" / "leg.nii.gz")
    knee(tmp_path / "masks" / "leg.nii.gz")
    import_scans(
        ImportRequest(scans=[tmp_path / "scans"], masks=[tmp_path / "masks"],
                      out=tmp_path / "data", scheme="knee")
    )  # fmt: skip
    assert "colours" not in json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert open_dataset(tmp_path / "data").scheme == KNEE
