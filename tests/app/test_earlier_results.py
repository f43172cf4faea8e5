"""Results of an earlier command: said to be replaced, or, with --resume, to be there already."""

import nibabel as nib
import numpy as np
import pytest

from condyle.app.cli.main import main


@pytest.fixture
def say(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = np.zeros((8, 8, 8), np.uint8)
    array[2:6, 2:6, 2:6] = 1
    (tmp_path / "labels").mkdir()
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "labels" / "leg.nii.gz")

    def run(words):
        with pytest.raises(SystemExit) as ended:
            main(words.split())
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_refining_without_a_step_is_refused_and_leaves_earlier_results(say, tmp_path):
    assert say("refine labels --fill-holes --out clean")[0] == 0
    before = (tmp_path / "clean" / "leg.nii.gz").read_bytes()
    code, _, err = say("refine labels --out clean")
    assert code == 2
    assert "no step is given: give --keep-largest, --min-mm3, --fill-holes" in err
    assert (tmp_path / "clean" / "leg.nii.gz").read_bytes() == before


def test_what_replaces_earlier_results_says_so(say):
    code, out, err = say("refine labels --fill-holes --out clean")
    assert (code, out) == (0, "1 label map refined into clean\n")
    assert "replaced" not in err
    assert "1 earlier result in clean will be replaced" in say(
        "refine labels --fill-holes --out clean"
    )[2]  # fmt: skip
    said = say("refine labels --keep-largest 1 --out clean")[2]
    assert "1 earlier result in clean, made with other settings (fill_holes, keep_larg" in said


@pytest.mark.parametrize("verb", ["refine labels --fill-holes", "mesh labels"])
def test_resuming_what_is_done_says_that_nothing_is_left(say, verb):
    assert "nothing left" not in say(f"{verb} --resume --out done")[2]
    code, out, err = say(f"{verb} --resume --out done")
    assert code == 0
    assert "nothing left to do" in err
    assert "replaced" not in err
    assert " in done\n" in out


def test_one_thing_is_not_many(say):
    code, out, _ = say("mesh labels --out surfaces")
    assert code == 0
    assert "2 surfaces written into surfaces" in out
    assert say("check labels")[0] == 2
