"""`condyle features` at the command line: what users get wrong is one sentence and exit 2."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from condyle.app.cli.main import main

HERE = [
    "--encoder",
    "efficientnet_lite0",
    "--runtime",
    "torch",
    "--spacing",
    "0",
    "--permutations",
    "0",
]


def saved(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.fixture
def case(tmp_path):
    """A scan and its label map, and what rewrites the latter."""
    image = np.random.default_rng(0).normal(100, 20, (32, 32, 32)).astype(np.float32)
    labels = np.zeros(image.shape, np.uint8)
    labels[4:12, 4:12, 4:12], labels[20:28, 20:28, 20:28] = 1, 2
    saved(tmp_path / "scan.nii.gz", image + 50 * labels, np.eye(4))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "labels.json").write_text(json.dumps({"tibia": 1, "femur": 2}))

    def write(change=lambda array: array, affine=None):
        mask = tmp_path / "masks" / "scan.nii.gz"
        saved(mask, change(labels.copy()), np.eye(4) if affine is None else affine)
        return [str(tmp_path / "scan.nii.gz"), str(mask)]

    return write


def run(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["features", *words])
    return ended.value.code, *capsys.readouterr()


def without(number):
    return lambda array: np.where(array == number, 0, array).astype(np.uint8)


def one_voxel(array):
    array[array == 2] = 0
    array[25, 25, 25] = 2
    return array


BAD = {
    "no femur in the mask": (without(2), None, "there is no femur in"),
    "a region of one voxel": (one_voxel, None, "features need 64"),
    "a mask on another grid": (lambda array: array, np.diag([1, 1, 2, 1]), "the grids differ"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mask_that_will_not_do_is_one_sentence_and_exit_2(name, case, tmp_path, capsys):
    change, affine, words = BAD[name]
    out = tmp_path / "out" / "similarity.csv"
    code, said, complaint = run([*case(change, affine), "--out", str(out), *HERE], capsys)
    told = [line for line in complaint.splitlines() if not line.startswith("condyle: comparing")]
    assert code == 2
    assert len(told) == 1
    assert words in told[0]
    assert not said
    assert not out.parent.exists()


def test_tables_on_the_terminal_and_in_the_file(case, tmp_path, capsys):
    out = tmp_path / "out" / "similarity.csv"
    words = [
        *case(),
        "--out",
        str(out),
        *HERE,
        "--regions",
        "femur",
        "tibia",
        "--window",
        "-10",
        "300",
    ]
    code, said, _ = run(words, capsys)
    assert code == 0
    assert "tibia-femur" in said
    assert len(out.read_text().splitlines()) == 2
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["images"]["scan"]["intensities"] == {"rule": "window", "air": -10, "one": 300}
    assert {path.suffix for path in out.parent.iterdir()} >= {".csv", ".json", ".npz", ".png"}


def test_a_cohort_is_counted_and_the_scan_that_fails_is_named_with_exit_2(case, tmp_path, capsys):
    scan, mask = map(Path, case())
    folders = [str(tmp_path / "scans"), str(mask.parent)]
    for name in ("a", "b"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        shutil.copy(scan, tmp_path / "scans" / f"{name}.nii.gz")
        shutil.copy(mask, mask.with_name(f"{name}.nii.gz"))
    mask.unlink()
    out = tmp_path / "out" / "similarity.csv"
    code, said, _ = run([*folders, "--out", str(out), *HERE], capsys)
    assert code == 0
    assert f"2 scans compared; all is in {out.with_suffix('.html')} and {out}" in said
    assert "tibia-femur" not in said
    case(without(2))
    shutil.move(mask, mask.with_name("b.nii.gz"))
    code, said, complaint = run([*folders, "--out", str(out), *HERE], capsys)
    assert code == 2
    assert "condyle: b: there is no femur in b" in complaint
    assert "tibia-femur" in said
    assert "1 scan compared" in said
