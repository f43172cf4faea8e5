"""Files of the working directory are never run; an output never takes an input's place."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from balls import balls
from condyle.app.cli.main import main
from condyle.config import Preparation
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.engines.process import versions
from condyle.io import write
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter

SCHEME = LabelScheme.of({"tibia": 1, "femur": 2})
GRID = Grid.regular((20, 18, 16), (1.0, 1.0, 2.0))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set, a run folder, a scan and a label map."""
    home = tmp_path_factory.mktemp("made")
    balls(home)
    torch.manual_seed(0)
    network = build("unet-plain", 1, 3, "none")[0].eval()
    preprocessing = RecipePreprocessing(settings=Preparation())
    Segmenter("unet-plain", network, preprocessing, SCHEME).save(home / "run" / "segmenter")
    scan = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[3:9, 3:9, 3:9], labels[11:18, 3:9, 3:9] = 1, 2
    write(Volume(scan, GRID, "MR"), home / "scans" / "leg.nii.gz")
    write(LabelMap(labels, GRID, SCHEME), home / "labels" / "leg.nii.gz")
    return home


TRAPS = ("isal", "condyle", "numpy", "torch", "random", "encodings", "sitecustomize", "nnunetv2")


@pytest.fixture
def trapped(tmp_path):
    """A working directory whose files would leave a mark if they were run."""
    for name in TRAPS:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'trapped')!r}, 'a').write('{name} ')\n"
        )
    return tmp_path


VERBS = {
    "segment": ["segment", "{run}", "{scans}", "--out", "out", "--device", "cpu", "--on", "local:2",
                "--runtime", "torch"],
    "train": ["train", "{balls}", "--out", "out", "--network", "unet-plain", "--epochs", "1",
              "--batch", "2", "--device", "cpu"],
    "plan": ["plan", "{balls}", "--network", "unet-plain", "--device", "cpu"],
    "mesh": ["mesh", "{labels}", "--out", "out", "--on", "local:2"],
    "demo": ["demo", "--out", "{run}"],
    "doctor": ["doctor"],
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_runs_what_lies_in_the_working_directory(made, trapped, verb):
    (made / "run" / "run").mkdir(exist_ok=True)  # so that the demo, which takes minutes, refuses
    words = [word.format(**{k: made / k for k in ("run", "scans", "labels", "balls")})
             for word in VERBS[verb]]  # fmt: skip
    script = shutil.which("condyle", path=str(Path(sys.executable).parent)) or "condyle"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = [script] if verb == "plan" else [sys.executable, "-P", "-m", "condyle"]
    done = subprocess.run(
        [*start, *words], cwd=trapped, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == (2 if verb == "demo" else 0), done.stderr
    assert not (trapped / "trapped").exists()


def test_no_child_for_an_engine_runs_what_lies_in_the_working_directory(trapped, monkeypatch):
    monkeypatch.chdir(trapped)
    versions.cache_clear()
    versions(sys.executable)
    assert not (trapped / "trapped").exists()


def refused(words, capsys):
    """What a command says that refuses: with exit code 2."""
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    assert end.value.code == 2
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(autouse=True)
def not_started_again(monkeypatch):
    """`main` would become another process."""
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "0")


@pytest.fixture
def own(made, tmp_path):
    """Copies of the scan and of the label map, in folders of their own."""
    for name in ("scans", "labels"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def unchanged(folder):
    return {p: (p.stat().st_ino, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def linked(own, kind):
    """A folder in which the output's name is the input: hard, or by a link."""
    out = own / "out"
    out.mkdir()
    source = own / "scans" / "leg.nii.gz"
    if kind == "folder":
        out.rmdir()
        out.symlink_to(own / "scans")
    elif kind == "hard link":
        os.link(source, out / "leg.nii.gz")
    else:
        (out / "leg.nii.gz").symlink_to(source)
    return out


@pytest.mark.parametrize("verb", ["segment", "refine"])
@pytest.mark.parametrize("how", ["itself", ".nii", "folder", "hard link", "symbolic link"])
def test_results_never_take_the_place_of_inputs(made, own, capsys, verb, how):
    out = own / "scans"
    if how == ".nii":
        (own / "scans" / "leg.nii.gz").unlink()
        write(Volume(np.ones(GRID.shape, np.uint8), GRID, "MR"), own / "scans" / "leg.nii")
    elif how != "itself":
        if verb == "refine":
            shutil.rmtree(own / "scans")
            shutil.copytree(own / "labels", own / "scans")
        out = linked(own, how)
    before = unchanged(own)
    run = [made / "run"] if verb == "segment" else ["--fill-holes"]
    said = refused([verb, *run, own / "scans", "--out", out], capsys)
    assert "is one of the inputs" in said
    assert unchanged(own) == before


@pytest.mark.parametrize("target", ["null", "pipe", "folder"])
@pytest.mark.parametrize("verb", ["plan", "runs", "inflate"])
def test_results_never_take_the_place_of_a_device(made, own, capsys, monkeypatch, verb, target):
    out = own / "out.csv"
    if target == "null":
        out = Path("/dev/null")
    elif target == "pipe":
        os.mkfifo(out)
    else:
        out.mkdir()
    words = {
        "plan": ["plan", made / "balls", "--network", "unet-plain"],
        "runs": ["runs", made],
        "inflate": ["inflate", "check", "mobilenetv3", "--weights", "none"],
    }
    said = refused([*words[verb], "--out", out], capsys)
    assert "a device or pipe" in said or "a folder" in said
    assert out.exists()
    assert not out.is_file()


@pytest.mark.parametrize("verb", ["evaluate", "mesh", "features"])
def test_tables_never_take_the_place_of_inputs(own, capsys, verb):
    """A label map that bears a table's name by a hard link; the folder stays as it was."""
    out = own / "out"
    out.mkdir()
    names = {"evaluate": "metrics.csv", "mesh": "leg_label_1.ply", "features": "table.csv"}
    os.link(own / "labels" / "leg.nii.gz", out / names[verb])
    before = unchanged(own)
    words = {
        "evaluate": ["evaluate", own / "labels", own / "labels", "--out", out],
        "mesh": ["mesh", own / "labels", "--out", out],
        "features": ["features", own / "scans", own / "labels", "--out", out / "table.csv",
                     "--encoder", "mobilenetv3", "--weights", "none", "--permutations", "0"],
    }  # fmt: skip
    assert "is one of the inputs" in refused(words[verb], capsys)
    after = unchanged(own)
    assert {path: after[path] for path in before} == before
