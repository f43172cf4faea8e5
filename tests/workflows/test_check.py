"""A spoiled copy of a data set is told from a clean one, drawn on a page, and repaired."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from condyle.app.cli.main import main
from condyle.audit.repair import repaired_numbers
from condyle.config.requests import CheckRequest
from condyle.core import LabelScheme
from condyle.errors import LabelError, OutputError
from condyle.io import open_dataset, read, write_nnunet
from condyle.phantom import cohort
from condyle.workflows.check import check

SPOILS = {
    "flip": lambda a, axis: a[::-1],
    "shift": lambda a, axis: np.roll(a, 1, axis),
    "labels": lambda a, axis: (a * 0.98).astype(np.float32),
    "empty": lambda a, axis: 0 * a,
}


def write_facts(root, cases, patients):
    """Four folds, and a patient a case but for those given."""
    folds = [
        {"train": [c for n, c in enumerate(cases) if n % 4 != fold],
         "val": [c for n, c in enumerate(cases) if n % 4 == fold]}
        for fold in range(4)
    ]  # fmt: skip
    (root / "splits_final.json").write_text(json.dumps(folds))
    rows = [f"{case},{patients.get(case, 'patient of ' + case)}" for case in cases]
    (root / "patients.csv").write_text("\n".join(["case,patient", *rows]))


def spoil(root, cases, seed):
    """Spoil random cases in six ways; gives back kind -> case."""
    rng = np.random.default_rng(seed)
    *chosen, duplicate, partner, other = [cases[i] for i in rng.permutation(len(cases))[:7]]
    spoilt = dict(zip(SPOILS, chosen, strict=True))
    for kind, case in spoilt.items():
        path = root / "labelsTr" / f"{case}.nii.gz"
        image = nib.load(path)
        array = SPOILS[kind](np.asarray(image.dataobj), int(rng.integers(3)))
        nib.save(nib.Nifti1Image(array, image.affine), path)
    image = nib.load(root / "imagesTr" / f"{duplicate}_0000.nii.gz")
    again = nib.Nifti1Image(np.asarray(image.dataobj).astype(np.float64), image.affine)
    nib.save(again, root / "imagesTr" / "zz_again_0000.nii.gz")
    shutil.copy(root / "labelsTr" / f"{duplicate}.nii.gz", root / "labelsTr" / "zz_again.nii.gz")
    apart = next(c for c in cases if cases.index(c) % 4 != cases.index(partner) % 4 and c != other)
    write_facts(root, cases, {partner: "one", apart: "one"})
    return spoilt | {"duplicate": "zz_again"}


def hippocampi(root, shared, seed):
    """Twenty real cases, chosen at random."""
    source = shared / "msd_task04_hippocampus"
    ids = sorted(case.id for case in open_dataset(source).labelled())
    cases = sorted(np.random.default_rng(seed).choice(ids, 20, replace=False).tolist())
    for folder, ending in (("imagesTr", "_0000"), ("labelsTr", "")):
        (root / folder).mkdir(parents=True)
        for case in cases:
            (found,) = (source / folder).glob(f"{case}*")
            shutil.copy(found, root / folder / f"{case}{ending}.nii.gz")
    shutil.copy(source / "dataset.json", root / "dataset.json")
    write_facts(root, cases, {})
    return cases


def require_all_found(found, spoilt):
    """Each spoil is told of its case, and nothing is told of any other."""
    assert {(f.kind, f.case) for f in found if f.kind != "folds"} == set(spoilt.items())
    severe = {f.kind for f in found if f.severity == "error"}
    assert severe >= {"flip", "labels", "empty", "duplicate", "folds"}
    assert "left-right" in next(f.what for f in found if f.kind == "flip")
    assert "1 voxel" in next(f.what for f in found if f.kind == "shift")
    assert any("patient one on two sides" in f.what for f in found)


def test_six_spoils_of_a_real_data_set_are_found_and_the_clean_copy_passes(shared, tmp_path):
    """Of these spoils the shift by a voxel alone is not always found: 82 in 100 times."""
    cases = hippocampi(tmp_path / "data", shared, seed=0)
    assert check(CheckRequest(dataset=tmp_path / "data")) == []
    spoilt = spoil(tmp_path / "data", cases, seed=1)
    require_all_found(check(CheckRequest(dataset=tmp_path / "data")), spoilt)


@pytest.fixture(scope="module")
def legs(tmp_path_factory):
    """Ten coarse phantoms as a data set."""
    root = tmp_path_factory.mktemp("legs") / "data"
    made = list(cohort(10, 3, spacing=(4, 4, 6)))
    pairs = ((name, (volume,), truth) for name, volume, truth in made)
    write_nnunet(root, "legs", pairs, made[0][2].scheme, ("CT",))
    write_facts(root, [name for name, _, _ in made], {})
    return root


def test_six_spoils_of_phantoms_are_found_drawn_and_mended(legs, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(legs, root)
    cases = [case.id for case in open_dataset(root)]
    assert check(CheckRequest(dataset=root)) == []
    spoilt = spoil(root, cases, seed=1)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found = check(CheckRequest(dataset=root, out=tmp_path / "page", fix=tmp_path / "fixed"))
    require_all_found(found, spoilt)
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    outcomes = {f.kind: f.outcome for f in found}
    assert outcomes == {
        "flip": "left out", "shift": "left out", "empty": "left out", "duplicate": "left out",
        "labels": "repaired", "folds": "repaired",
    }  # fmt: skip
    assert check(CheckRequest(dataset=tmp_path / "fixed")) == []
    fixed = open_dataset(tmp_path / "fixed")
    gone = {case for kind, case in spoilt.items() if kind != "labels"}
    assert {case.id for case in fixed} == {*cases, "zz_again"} - gone
    assert len(fixed.folds) == 4
    assert fixed["zz_again" if "zz_again" not in gone else cases[-1]].patient
    truth = open_dataset(legs)[spoilt["labels"]].labels()
    assert np.array_equal(fixed[spoilt["labels"]].labels().array, truth.array)

    page = (tmp_path / "page" / "check.html").read_text()
    assert page.count("data:image/jpeg;base64,") == len(cases) + 1
    assert "flipped left-right" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.index(f"<h3>{spoilt['flip']}") < page.index(f"<h3>{min(set(cases) - gone)}")


def test_a_rounded_header_is_mended_and_a_wrong_one_is_not(legs, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(legs, root)
    for case, off in (("leg_001", 0.2), ("leg_002", 2.0)):
        path = root / "labelsTr" / f"{case}.nii.gz"
        image = nib.load(path)
        affine = image.affine.copy()
        affine[:3, 3] += off / np.sqrt(3)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    found = check(CheckRequest(dataset=root, fix=tmp_path / "fixed"))
    assert {f.case: f.outcome for f in found} == {"leg_001": "repaired", "leg_002": "left out"}
    fixed = open_dataset(tmp_path / "fixed")
    assert read(fixed["leg_001"].label).grid.same_as(fixed["leg_001"].image().grid)
    assert all("leg_002" not in fold.all for fold in fixed.folds)


def test_a_copy_goes_neither_into_the_data_set_nor_over_anything(legs, tmp_path):
    for kind in ("out", "fix"):
        with pytest.raises(OutputError, match="inside the data set"):
            check(CheckRequest(dataset=legs, **{kind: legs / "here"}))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        check(CheckRequest(dataset=legs, fix=tmp_path))


def test_a_clean_data_set_is_not_copied_and_scans_to_segment_are_one_line(legs, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(legs, root)
    (root / "imagesTs").mkdir()
    for n in (1, 2, 3):
        name = f"leg_00{n}_0000.nii.gz"
        image = nib.load(root / "imagesTr" / name)
        array = np.asarray(image.dataobj)[: 20 + n, ::-1] + np.int16(n)
        nib.save(nib.Nifti1Image(array, image.affine), root / "imagesTs" / f"x{name}")
    (found,) = check(CheckRequest(dataset=root, fix=tmp_path / "fixed"))
    assert (found.severity, found.case) == ("note", "imagesTs")
    assert found.what == "3 scans without labels, for segmenting"
    assert not (tmp_path / "fixed").exists()
    with pytest.raises(SystemExit) as ended:
        main(
            ["check", str(root), "--fix", str(tmp_path / "fixed"), "--out", str(tmp_path / "page")]
        )
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "0 errors, 0 warnings" in said
    assert "no copy was written" in said
    assert f"page: {tmp_path / 'page' / 'check.html'}" in " ".join(said.split())


SCHEME = LabelScheme.of({"a": 1, "b": 2, "c": 3})


@pytest.mark.parametrize(
    ("values", "whole"),
    [
        ([0, 0.98, 1.96], [0, 1, 2]),
        ([0, 0.98, 1.96, 2.94], [0, 1, 2, 3]),
        ([-0.0, 1.02, 1.99, np.nan], [0, 1, 2, 0]),
        ([0, 0.01, 2.94], [0, 0, 3]),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_numbers_that_a_slope_bent(values, whole):
    assert repaired_numbers(np.array(values), SCHEME).tolist() == whole


@pytest.mark.parametrize(
    "values", [[0, 0.5, 1], [0, 0.98, 1.5], [0, 1, 4], [-1.0, 1], [0, 0.004, 0.008], [0, np.inf]]
)
def test_numbers_that_may_have_been_anything(values):
    with pytest.raises(LabelError):
        repaired_numbers(np.array(values), SCHEME)
