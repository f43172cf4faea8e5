"""Label maps to surfaces, as a user asks for them: files, table, and what is refused."""

import csv
import gzip
import json

import nibabel as nib
import numpy as np
import pytest
import trimesh

from condyle.app.cli.main import main
from condyle.config.requests import MeshRequest
from condyle.errors import ConfigError, LabelError
from condyle.workflows.mesh import mesh


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


def run(*arguments, capsys):
    """The exit code, stdout and stderr of `condyle mesh`."""
    with pytest.raises(SystemExit) as ended:
        main(["mesh", *map(str, arguments)])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.array([[-0.8, 0, 0, 55], [0, 0.8, 0, -20], [0, 0, 2, 900], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def knee(tmp_path):
    """A label map with a tibia and a femur that touch."""
    array = np.zeros((30, 30, 24), np.uint8)
    array[5:25, 8:22, 2:12], array[5:25, 8:22, 12:22] = 1, 2
    path = save(tmp_path / "labels" / "knee.nii.gz", array)
    (path.parent / "labels.json").write_text(json.dumps({"tibia": 1, "femur": 2, "patella": 3}))
    return path


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("format", ["ply", "stl", "obj", "glb"])
def test_a_file_a_structure_one_of_all_and_a_table(knee, tmp_path, capsys, format):
    out = tmp_path / "out"
    code, said, _ = run(knee, "--out", out, "--format", format, capsys=capsys)
    assert code == 0
    assert "3 surfaces" in said
    names = {f"knee_{piece}.{format}" for piece in ("tibia", "femur", "all")}
    beside = {f"knee_{piece}.mtl" for piece in ("tibia", "femur", "all")}
    wanted = names | {"surfaces.csv", "manifest.jsonl"} | (beside if format == "obj" else set())
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == wanted
    for name in names:
        assert trimesh.load_mesh(out / name).is_watertight
    tibia, femur = rows_of(out / "surfaces.csv")
    assert (tibia["case"], tibia["structure"], femur["structure"]) == ("knee", "tibia", "femur")
    assert float(tibia["voxels_cm3"]) == pytest.approx(20 * 14 * 10 * 1.28 / 1000, abs=1e-3)
    assert abs(float(tibia["volume_change_percent"])) < 0.5
    assert float(femur["area_cm2"]) == pytest.approx(
        2 * (1.6 * 1.12 + 2.72 * 2), rel=0.1
    )  # its edges are round
    for axis, size in zip("ras", (16, 11.2, 20), strict=True):
        assert float(femur[f"extent_{axis}_mm"]) == pytest.approx(size, abs=0.8)
    centre = [float(femur[f"centre_{axis}_mm"]) for axis in "ras"]
    np.testing.assert_allclose(
        centre, (55 - 0.8 * 14.5, -20 + 0.8 * 14.5, 900 + 2 * 16.5), atol=0.1
    )
    assert float(femur["axis1_mm"]) == pytest.approx(20, abs=0.8)
    assert float(femur["axis1_s"]) == pytest.approx(1, abs=0.01)
    assert int(femur["triangles"]) > 100


def test_lps_turns_the_files_and_not_the_table(knee, tmp_path):
    [ras, *_] = mesh(MeshRequest(labelmaps=[knee], out=tmp_path / "ras")).written
    [lps, *_] = mesh(MeshRequest(labelmaps=[knee], out=tmp_path / "lps", space="lps")).written
    np.testing.assert_allclose(
        trimesh.load_mesh(lps).vertices, trimesh.load_mesh(ras).vertices * [-1, -1, 1], atol=1e-3
    )
    tables = [(tmp_path / space / "surfaces.csv").read_text() for space in ("ras", "lps")]
    assert tables[0] == tables[1]


def test_no_error_keeps_all_triangles(knee, tmp_path, capsys):
    counts = []
    for error in ("0", "0.1", "1"):
        assert run(knee, "--out", tmp_path / error, "--error-mm", error, capsys=capsys)[0] == 0
        counts.append(int(rows_of(tmp_path / error / "surfaces.csv")[0]["triangles"]))
    assert counts[0] > 3 * counts[1] > 3 * counts[2]


def test_a_label_map_without_structures_is_passed_over_among_others(knee, tmp_path, caplog):
    save(knee.with_name("empty.nii.gz"), np.zeros((8, 8, 8), np.uint8))
    written = mesh(MeshRequest(labelmaps=[knee.parent], out=tmp_path / "out")).written
    assert len(written) == 3
    assert "empty.nii.gz holds no structure" in caplog.text


def test_a_thin_structure_that_changes_its_volume_is_said(tmp_path, caplog):
    array = np.zeros((20, 20, 20), np.uint8)
    array[10, 10, 4:16] = 1
    mesh(MeshRequest(labelmaps=[save(tmp_path / "thread.nii.gz", array)], out=tmp_path / "out"))
    change = float(rows_of(tmp_path / "out" / "surfaces.csv")[0]["volume_change_percent"])
    assert ("label_1 encloses" in caplog.text) == (abs(change) > 2)


def spoil(path):
    path.write_bytes(gzip.compress(b"no scan"))


REFUSED = {
    "nothing labelled": (
        lambda path: save(path, np.zeros((8, 8, 8), np.uint8)), [], "there is no structure in",
    ),
    "no label map": (spoil, [], "knee.nii.gz"),
    "labels that are not whole": (
        lambda path: save(path, np.full((8, 8, 8), 0.5, np.float32)), [], "whole numbers",
    ),
    "a negative error": (None, ["--error-mm", "-1"], "0 to 10 mm"),
    "an error that is no number": (None, ["--error-mm", "nan"], "0 to 10 mm"),
    "an error larger than a bone": (None, ["--error-mm", "1000"], "0 to 10 mm"),
    "an error in words": (None, ["--error-mm", "little"], "little"),
    "an unknown format": (None, ["--format", "step"], "step"),
    "an unknown space": (None, ["--space", "mni"], "mni"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_a_sentence_exit_2_and_nothing_written(knee, tmp_path, capsys, what):
    change, flags, words = REFUSED[what]
    if change:
        change(knee)
    code, _, err = run(knee, "--out", tmp_path / "out", *flags, capsys=capsys)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(knee, tmp_path, capsys):
    (tmp_path / "out").write_text("in the way")
    code, _, err = run(knee, "--out", tmp_path / "out", capsys=capsys)
    assert code == 2
    assert "cannot be written" in err
    assert (tmp_path / "out").read_text() == "in the way"


def test_unknown_words_are_refused_in_python_too(knee, tmp_path):
    with pytest.raises(ConfigError, match="`format` = 'step'"):
        mesh(MeshRequest(labelmaps=[knee], out=tmp_path / "out", format="step"))
    with pytest.raises(ConfigError, match="`space` = 'mni'"):
        mesh(MeshRequest(labelmaps=[knee], out=tmp_path / "out", space="mni"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [{"tibia": 1, "all": 2}, {"a/b": 1, "a b": 2}])
def test_structures_whose_files_would_be_one_are_refused(knee, tmp_path, names):
    (knee.parent / "labels.json").write_text(json.dumps(names))
    with pytest.raises(LabelError, match="two surfaces"):
        mesh(MeshRequest(labelmaps=[knee], out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_broken_label_map_is_named_with_exit_2_and_the_others_are_written(knee, tmp_path, capsys):
    whole = knee.read_bytes()
    knee.with_name("broken.nii.gz").write_bytes(whole[: len(whole) // 2])
    code, said, err = run(knee.parent, "--out", tmp_path / "out", capsys=capsys)
    assert code == 2
    assert f"3 surfaces written into {tmp_path / 'out'}" in said
    assert "broken failed: " in err
    assert {row["case"] for row in rows_of(tmp_path / "out" / "surfaces.csv")} == {"knee"}
