"""The command line's manners: one sentence, the right exit code, nothing written."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from condyle.app.cli.main import main


def run(*arguments, capsys):
    """The exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def nifti(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def dataset(tmp_path):
    """Two cases with a bright cube each."""
    root = tmp_path / "data"
    for name in ("a", "b"):
        image = np.random.default_rng(ord(name)).normal(size=(16, 16, 8)).astype(np.float32)
        labels = np.zeros((16, 16, 8), np.uint8)
        labels[4:10, 4:10, 2:6] = 1
        nifti(root / "imagesTr" / f"{name}.nii.gz", image + 3 * labels)
        nifti(root / "labelsTr" / f"{name}.nii.gz", labels)
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "cube": 1}}))
    return root


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


BAD = {
    "a missing data set": (lambda d: d.rename(d.with_name("elsewhere")), "is not there"),
    "an empty data set": (
        lambda d: [p.unlink() for p in d.rglob("*.nii.gz")],
        "holds no cases",
    ),
    "a text file called .nii.gz": (
        lambda d: (d / "imagesTr" / "a.nii.gz").write_text("not a scan"),
        "a.nii.gz",
    ),
    "a truncated scan": (
        lambda d: (d / "imagesTr" / "a.nii.gz").write_bytes(
            (d / "imagesTr" / "a.nii.gz").read_bytes()[:-2000]
        ),
        "a.nii.gz",
    ),
    "masks on another grid": (
        lambda d: nifti(
            d / "labelsTr" / "a.nii.gz", np.ones((16, 16, 8), np.uint8), np.diag([1, 1, 2, 1.0])
        ),
        "grids differ",
    ),
    "labels that are not whole": (
        lambda d: nifti(d / "labelsTr" / "a.nii.gz", np.full((16, 16, 8), 0.98, np.float32)),
        "whole numbers",
    ),
    "nothing labelled": (
        lambda d: [p.unlink() for p in (d / "labelsTr").iterdir()],
        "no labelled case",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_training_on_bad_data_is_one_sentence_exit_2_and_nothing_written(
    what, dataset, tmp_path, capsys
):
    spoil, words = BAD[what]
    spoil(dataset)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run("train", dataset, "--out", tmp_path / "run", "--epochs", 1, capsys=capsys)
    said = [line for line in err.splitlines() if "%" not in line and "warning: " not in line]
    assert code == 2
    assert len(said) == 1
    assert words in said[0]
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "train"),
        (["train"], "--out"),
        (["train", "{data}", "--out", "{out}", "--network", "unet-resnt34"], "resnet34"),
        (["train", "{data}", "--out", "{out}", "--fold", "9"], "folds 0 to"),
        (["train", "{data}", "--out", "{out}", "--budget", "soon"], "15m"),
        (["train", "{data}", "--out", "{out}", "--budget", "9m", "--epochs", "3"], "either"),
        (["train", "{data}", "--out", "{out}", "--weights", "none.pth"], "none.pth"),
        (["segment", "{data}", "{data}", "--out", "{out}"], "no segmenter"),
        (["evaluate", "{data}/labelsTr", "nowhere", "--out", "{out}"], "nowhere"),
        (["mesh", "nowhere.nii.gz", "--out", "{out}"], "nowhere"),
        (["refine", "nowhere.nii.gz", "--out", "{out}", "--fill-holes"], "nowhere"),
        (["check", "nowhere"], "nowhere"),
        (["import", "nowhere", "--masks", "{data}", "--out", "{out}"], "nowhere"),
    ],
)
def test_wrong_commands_say_what_to_mend_and_write_nothing(
    arguments, words, dataset, tmp_path, capsys
):
    places = {"data": dataset, "out": tmp_path / "out"}
    code, _, err = run(*(a.format(**places) for a in arguments), capsys=capsys)
    assert code == 2
    assert words in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_check_passes_clean_data_and_names_what_is_wrong(dataset, capsys):
    code, out, _ = run("check", dataset, capsys=capsys)
    assert code == 0
    assert "no problems found" in out
    nifti(dataset / "labelsTr" / "b.nii.gz", np.zeros((16, 16, 8), np.uint8))
    code, out, _ = run("check", dataset, capsys=capsys)
    assert code == 2
    (line,) = [line for line in out.splitlines() if "its label map is empty" in line]
    assert [cell.strip() for cell in line.split("│")[1:3]] == ["error", "b"]


def test_a_mistake_of_ours_exits_1_and_debug_shows_it(monkeypatch, dataset, capsys):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("condyle.workflows.check.open_dataset", broken)
    code, _, err = run("check", dataset, capsys=capsys)
    assert code == 1
    assert "ZeroDivisionError" in err
    assert "--debug" in err
    with pytest.raises(ZeroDivisionError):
        main(["check", str(dataset), "--debug"])


def test_networks_and_doctor_answer(capsys):
    code, out, _ = run("networks", capsys=capsys)
    assert code == 0
    assert "unet-efficientnet_lite0" in out
    assert "package" in out
    code, out, _ = run("doctor", capsys=capsys)
    assert code == 0
    assert "torch" in out


def test_a_run_can_be_resumed_only_on_request(dataset, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    code, _, err = run("train", dataset, "--out", tmp_path / "run", capsys=capsys)
    assert code == 2
    assert "--resume" in err
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_importing_masks_follows_the_overlap_policy(tmp_path, capsys):
    scan = nifti(tmp_path / "scans" / "leg.nii.gz", np.zeros((4, 4, 4), np.int16))
    tibia, femur = np.zeros((2, 4, 4, 4), np.uint8)
    tibia[:2], femur[1:] = 255, 1
    nifti(tmp_path / "masks" / "leg" / "R_tibia.nii.gz", tibia)
    nifti(tmp_path / "masks" / "leg" / "R_femur.nii.gz", femur)
    masks = ["--masks", tmp_path / "masks", "--scheme", "lower-limb"]
    code, _, err = run("import", scan.parent, *masks, "--out", tmp_path / "no", capsys=capsys)
    assert code == 2
    assert "16 voxels" in err
    assert not (tmp_path / "no").exists()
    for policy, value in (("background", 0), ("priority", 1)):
        out = tmp_path / policy
        code, said, _ = run(
            "import", scan.parent, *masks, "--overlap", policy, "--out", out, capsys=capsys
        )
        assert code == 0
        assert "16 voxels" in said
        labels = np.asarray(nib.load(out / "labelsTr" / "leg.nii.gz").dataobj)
        assert np.unique(labels[1]).tolist() == [value]
        assert labels[0, 0, 0] == 1
        assert labels[3, 0, 0] == 2


def test_gzip_is_not_trusted_beyond_its_checksum(dataset, tmp_path, capsys):
    path = dataset / "imagesTr" / "a.nii.gz"
    raw = bytearray(gzip.compress(gzip.decompress(path.read_bytes())))
    raw[-8] ^= 1
    path.write_bytes(raw)
    code, out, _ = run("check", dataset, capsys=capsys)
    assert code == 2
    assert "a.nii.gz" in out


def test_check_writes_what_to_do_with_flags(capsys):
    from condyle.app.cli.check import show
    from condyle.audit.structures import structure_findings
    from condyle.config.requests import CheckRequest

    found = structure_findings({"a": {"femur"}, "b": {"femur bone"}, "c": {"femur"}})
    show(CheckRequest(dataset="data"), found)
    assert "--rename" in capsys.readouterr().out
