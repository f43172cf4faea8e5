"""Scans and masks find each other as people name them; what is not plain is refused at once."""

import re

import numpy as np
import pytest

from condyle.config.requests import ImportRequest
from condyle.core import KNEE, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import CondyleError, ConfigError, DatasetError, MissingFile
from condyle.io import open_dataset, scans_by_name, write
from condyle.jobs.job import Job
from condyle.workflows.importing.case_names import telling
from condyle.workflows.importing.import_scans import import_scans
from condyle.workflows.importing.pairing import Masks, paired, together

GRID = Grid.regular((5, 6, 7), (1, 2, 2))
CASES = ("Pat01", "Pat02", "Pat10")


def scan(path, seed=0):
    array = np.random.default_rng(seed).integers(-900, 900, GRID.shape).astype(np.int16)
    return write(Volume(array, GRID), path)


def mask(path, where=2, value=1):
    """A mask of one plane, the `where`-th along the first axis."""
    array = np.zeros(GRID.shape, np.uint8)
    array[where] = value
    return write(Volume(array, GRID), path)


def imported(tmp_path, scans="scans", masks="masks", **more):
    given = {"scans": [tmp_path / scans]} | ({"masks": [tmp_path / masks]} if masks else {})
    out = tmp_path / "out"
    said = import_scans(ImportRequest(**(given | more), out=out)).text
    return open_dataset(out), said


def planes(labels):
    """Structure -> the planes that it fills."""
    return {name: sorted(set(np.nonzero(labels.mask(name))[0].tolist()))
            for name in labels.scheme.names}  # fmt: skip


PAIRS = [
    ("{}", "{}"),
    ("{}_0000", "{}"),
    ("{}", "{}_0000"),
    ("{}_CT", "{}_seg"),
    ("{}_MR", "{}_mask"),
    ("{}_T1", "{}_label"),
    ("{}_img", "{}_labels"),
    ("{}_image", "{}_gt"),
    ("{}-scan", "{}-seg"),
    ("{}.CT", "{}.mask"),
    ("{}_ct", "{}_CT_seg"),
    ("{}_T1w", "{}_T1w_dseg"),
    ("CT_{}", "seg_{}"),
    ("image_{}", "label_{}"),
    ("img{}", "lbl{}"),
    ("{}_0000", "{}_seg"),
    ("{}", "{}_segmentation"),
    ("{}_CT", "{}_ground_truth"),
]


def touch(folder, name):
    path = folder / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=lambda name: name.replace("{}", "CASE"))
@pytest.mark.parametrize("folder", ["masks", "scans"])
def test_label_maps_are_found_by_the_names_that_people_give(tmp_path, one, other, folder):
    says_mask = re.search("seg|mask|label|lbl|gt|truth", other)
    folder = folder if says_mask else "masks"  # in one folder a name must say what it is
    cases = [case.removeprefix("Pat") for case in CASES] if one == "img{}" else CASES
    scans = {one.format(case): touch(tmp_path / "scans", one.format(case)) for case in cases}
    maps = {case: touch(tmp_path / folder, other.format(case)) for case in cases}
    if folder == "masks":
        found = paired(list(scans), [tmp_path / "masks"])
    else:
        given, found = together(scans_by_name([tmp_path / "scans"]))
        assert given == scans
    for case in cases:
        name = one.format(case)
        assert found.masks[name] == Masks((maps[case],), True, found.masks[name].names)
        assert found.cases[name] == name.removesuffix("_0000")
    assert not found.lost


@pytest.mark.parametrize(
    "name",
    [
        "{case}/{structure}", "{case}/{case}_{structure}", "{case}/{structure}_{case}",
        "{case}_{structure}", "{structure}-{case}", "{case}_CT/{structure}",
        "{case}/{case}_CT_{structure}", "{case}_masks/{structure}", "{case} {structure}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", [None, KNEE])
def test_masks_of_a_structure_are_found_and_the_case_is_no_part_of_their_name(
    tmp_path, name, scheme
):
    scans = [f"{case}_CT" for case in CASES]
    for case in CASES:
        for structure in ("femur", "tibia"):
            touch(tmp_path, name.format(case=case, structure=structure))
    found = paired(scans, [tmp_path], scheme)
    assert list(found.masks) == scans
    for case, given in zip(CASES, found.masks.values(), strict=True):
        assert not given.is_map
        files = [
            f"{name.format(case=case, structure=structure)}.nii.gz" for structure in given.names
        ]
        assert [file.relative_to(tmp_path).as_posix() for file in given.files] == files
        assert sorted(given.names) == ["femur", "tibia"]


def test_a_folder_a_patient_may_hold_scan_and_mask(tmp_path):
    for n, case in enumerate(CASES):
        scan(tmp_path / "all" / case / "scan.nii.gz", n)
        mask(tmp_path / "all" / case / "mask.nii.gz", n)
    for masks in ("all", ""):
        found, _ = imported(tmp_path, "all", masks)
        assert [case.id for case in found] == list(CASES)
        assert [planes(case.labels()) for case in found] == [{"label_1": [n]} for n in range(3)]
        for file in sorted((tmp_path / "out").rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
    for case in CASES:
        (tmp_path / "all" / case / "mask.nii.gz").rename(tmp_path / "all" / case / "femur.nii.gz")
    found, _ = imported(tmp_path, "all", "")
    assert found.scheme.names == ("femur",)


def test_all_scans_without_masks_are_named_at_once_with_the_nearest_mask(tmp_path):
    for n, case in enumerate(("anna", "berta", "clara", "dora")):
        scan(tmp_path / "scans" / f"{case}.nii.gz", n)
    for name in ("anna", "bertha", "klara", "zoe"):
        mask(tmp_path / "masks" / f"{name}.nii.gz")
    with pytest.raises(DatasetError) as caught:
        imported(tmp_path)
    said = str(caught.value)
    assert "no masks for 3 scans: berta (bertha.nii.gz?), clara (klara.nii.gz?), dora" in said
    assert "masks of no scan: bertha.nii.gz, klara.nii.gz, zoe.nii.gz" in said
    assert "`pairs`" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("scans", "masks", "words"),
    [
        (["p1_CT", "p1_MR"], ["p1_seg"], "p1_seg.nii.gz may be of p1_CT or p1_MR"),
        (
            ["p1", "p2"],
            ["p1_seg", "p1_mask", "p2"],
            "p1_mask.nii.gz and p1_seg.nii.gz may be of p1",
        ),
        (["p1_CT", "p1_MR"], ["p1_femur"], "p1_femur.nii.gz may be of p1_CT or p1_MR"),
        (["p1", "p2"], ["p1/femur", "p1", "p2"], "p1 and p1.nii.gz may be of p1"),
    ],
)
def test_what_could_belong_to_several_is_refused(tmp_path, scans, masks, words):
    for n, name in enumerate(scans):
        scan(tmp_path / "scans" / f"{name}.nii.gz", n)
    for name in masks:
        mask(tmp_path / "masks" / f"{name}.nii.gz")
    with pytest.raises(DatasetError, match=re.escape(words)):
        imported(tmp_path)


def test_two_masks_of_one_structure_are_refused(tmp_path):
    scan(tmp_path / "scans" / "a.nii.gz")
    scan(tmp_path / "scans" / "b.nii.gz", 1)
    for name in ("a/femur.nii.gz", "a/a_femur.nii.gz", "b/femur.nii.gz"):
        mask(tmp_path / "masks" / name)
    with pytest.raises(DatasetError, match=r"a_femur.nii.gz .* are two masks of femur"):
        imported(tmp_path)


@pytest.mark.parametrize("layout", ["folders", "maps"])
def test_scans_and_masks_the_other_way_round_are_noticed(tmp_path, layout):
    for n, case in enumerate(CASES):
        scan(tmp_path / "scans" / f"{case}.nii.gz", n)
        name = f"{case}/femur" if layout == "folders" else f"{case}_seg"
        mask(tmp_path / "masks" / f"{name}.nii.gz")
        mask(tmp_path / "masks" / f"{name.replace('femur', 'tibia')}.nii.gz", 4)
    with pytest.raises(CondyleError, match="other way round"):
        imported(tmp_path, "masks", "scans")


def test_scans_called_like_their_label_maps_the_other_way_round_are_noticed(tmp_path):
    for n, case in enumerate(CASES):
        array = np.random.default_rng(n).integers(0, 500, GRID.shape).astype(np.int16)  # MR
        write(Volume(array, GRID), tmp_path / "scans" / f"{case}.nii.gz")
        mask(tmp_path / "masks" / f"{case}.nii.gz")
    for scheme in ("", "knee"):
        with pytest.raises(CondyleError, match="other way round"):
            imported(tmp_path, "masks", "scans", scheme=scheme)
    imported(tmp_path)


def test_a_table_says_which_masks_belong_to_which_scan(tmp_path):
    scan(tmp_path / "x" / "one.nii.gz", 1)
    scan(tmp_path / "y" / "two.nii.gz", 2)
    mask(tmp_path / "m" / "8817.nii.gz", 3)
    mask(tmp_path / "m" / "femur.nii.gz", 4)
    mask(tmp_path / "m" / "tibia.nii.gz", 0, 255)
    table = tmp_path / "pairs.csv"
    head = "scan;mask;case;patient\n"
    table.write_text(
        f"{head}x/one.nii.gz;m/femur.nii.gz;a;Smith\nx/one.nii.gz;m/tibia.nii.gz;a;Smith\n"
        "two.nii.gz;8817.nii.gz;b;Smith\n"
    )
    found, _ = imported(tmp_path, "y", "m", pairs=table, scheme="knee")
    assert {case.id: planes(case.labels()) for case in found} == {
        "a": {"tibia": [0], "femur": [4]}, "b": {"tibia": [3], "femur": []},
    }  # fmt: skip
    assert {case.patient for case in found} == {"patient_001"}
    for rows, error, words in [
        ("x/one.nii.gz;m/lost.nii.gz;;\n", MissingFile, "m/lost.nii.gz"),
        ("x/one.nii.gz;;;\n", DatasetError, "a scan and a mask in each row"),
        ("x/one.nii.gz;m/femur.nii.gz;a;S\nx/one.nii.gz;m/tibia.nii.gz;a;T\n", DatasetError,
         "more than one patient"),
        ("x/one.nii.gz;m/femur.nii.gz;a;\ny/two.nii.gz;m/tibia.nii.gz;a;\n", DatasetError,
         "both the case a"),
    ]:  # fmt: skip
        table.write_text(head + rows)
        with pytest.raises(error, match=words):
            import_scans(ImportRequest(pairs=table, out=tmp_path / "no"))
        assert not (tmp_path / "no").exists()


# ---------------------------------------------------------------- other names


def named(tmp_path, *names):
    """Two scans with a label map of these names each."""
    array = np.zeros(GRID.shape, np.uint8)
    for n in range(len(names)):
        array[n] = n + 1
    scheme = LabelScheme.of({name: n for n, name in enumerate(names, 1)})
    for n, case in enumerate("ab"):
        scan(tmp_path / "scans" / f"{case}.nii.gz", n)
        write(LabelMap(array, GRID, scheme), tmp_path / "masks" / f"{case}.seg.nrrd")


def test_names_are_exchanged_and_the_table_of_names_gives_the_same_again(tmp_path):
    named(tmp_path, "Femur links", "Becken li", "Haut")
    with pytest.raises(DatasetError) as caught:
        imported(tmp_path, scheme="lower-limb", rename=["Femur links=", "Becken li="])
    said = str(caught.value)
    assert "Femur links, Becken li, Haut, none of which is in the scheme (1 tibia, 2 femur" in said
    assert "`rename`" in said
    rename = ["Femur links=femur_left", "Haut="]
    found, said = imported(tmp_path, rename=rename)
    assert found.scheme.names == ("femur_left", "Becken li")
    assert planes(found["a"].labels()) == {"femur_left": [0], "Becken li": [1]}
    assert "Femur links -> femur_left" in said
    table = tmp_path / "out" / "names.csv"
    assert table.read_text().splitlines() == [
        "name,structure", "Becken li,Becken li", "Femur links,femur_left", "Haut,",
    ]  # fmt: skip
    edited = tmp_path / "names.csv"
    edited.write_text(table.read_text().replace("Becken li,Becken li", "Becken li,pelvis"))
    again = tmp_path / "again"
    import_scans(
        ImportRequest(
            scans=[tmp_path / "scans"], masks=[tmp_path / "masks"], out=again, rename=[str(edited)]
        )
    )
    assert planes(open_dataset(again)["b"].labels()) == {"femur_left": [0], "pelvis": [1]}


def test_bare_numbers_masks_and_sides_can_be_renamed(tmp_path):
    for n, case in enumerate("ab"):
        scan(tmp_path / "scans" / f"{case}.nii.gz", n)
        mask(tmp_path / "masks" / f"{case}.nii.gz", 2, 7)
        mask(tmp_path / "drawn" / case / "one.nii.gz", 1)
        mask(tmp_path / "drawn" / case / "two.nii.gz", 2)
    found, _ = imported(tmp_path, rename=["7=femur"])
    assert planes(found["a"].labels()) == {"femur": [2]}
    out = tmp_path / "o2"
    asked = {"scans": [tmp_path / "scans"], "masks": [tmp_path / "drawn"], "scheme": "knee"}
    import_scans(ImportRequest(**asked, out=out, rename=["one=femur", "two=femur"]))
    assert planes(open_dataset(out)["b"].labels()) == {"tibia": [], "femur": [1, 2]}
    with pytest.raises(
        ConfigError, match="no mask is called three; those given are called one, two"
    ):
        import_scans(
            ImportRequest(**asked, out=tmp_path / "no", rename=["one=femur", "three=tibia"])
        )
    with pytest.raises(ConfigError, match="unknown structure 'femr': did you mean 'femur'"):
        import_scans(ImportRequest(**asked, out=tmp_path / "no", rename=["one=femr"]))
    with pytest.raises(DatasetError, match=r"none of its masks .*: a \(one, two\), b \(one, two\)"):
        import_scans(ImportRequest(**asked, out=tmp_path / "no"))
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["Femur links", "femur_li", "Fémur gauche", "FemurL", "femur sin"])
def test_sides_are_known_in_several_languages(tmp_path, name):
    scheme = tmp_path / "legs.json"
    scheme.write_text('{"femur_left": 1, "femur_right": 2}')
    named(tmp_path, name)
    found, said = imported(tmp_path, scheme=str(scheme))
    assert planes(found["a"].labels()) == {"femur_left": [0], "femur_right": []}
    assert f"{name} -> femur_left" in said
    assert "no case holds femur_right" in said


def test_joined_sides_are_said(tmp_path):
    for n, case in enumerate("ab"):
        scan(tmp_path / "scans" / f"{case}.nii.gz", n)
        mask(tmp_path / "masks" / case / "femur_left.nii.gz", 1)
        mask(tmp_path / "masks" / case / "femur_right.nii.gz", 2)
    found, said = imported(tmp_path, scheme="lower-limb")
    assert "femur_left, femur_right -> femur" in said
    assert said.startswith("2 scans with femur (no case holds tibia, fibula, pelvis) written")
    assert planes(found["a"].labels())["femur"] == [1, 2]


# ---------------------------------------------------------------- what nobody drew


def undrawn(tmp_path):
    """Three cases: b has no mask of the tibia, and that of c is empty."""
    for n, case in enumerate("abcde"):
        scan(tmp_path / "scans" / f"{case}.nii.gz", n)
        mask(tmp_path / "masks" / case / "femur.nii.gz", 1)
        mask(tmp_path / "masks" / case / "tibia.nii.gz", 2, 0 if case == "c" else 1)
    (tmp_path / "masks" / "b" / "tibia.nii.gz").unlink()


def test_a_missing_mask_may_be_ignored_instead_of_background(tmp_path):
    undrawn(tmp_path)
    job = Job()
    asked = {"scans": [tmp_path / "scans"], "masks": [tmp_path / "masks"]}
    import_scans(ImportRequest(**asked, out=tmp_path / "one"), job)
    said = [warned.sentence for warned in job.warnings]
    assert any(s.startswith("b has no mask of tibia, which 3 of the 4 others have") for s in said)
    assert any(s.startswith("the mask of tibia is empty in c, and not in 3 of") for s in said)
    assert any("`not_drawn`" in s for s in said)
    found = open_dataset(tmp_path / "one")
    assert found.scheme.ignore is None
    import_scans(ImportRequest(**asked, out=tmp_path / "two", not_drawn="ignore"))
    found = open_dataset(tmp_path / "two")
    assert found.scheme.to_dict() == {"femur": 1, "tibia": 2, "ignore": 3}
    values = {case.id: set(np.unique(case.labels().array).tolist()) for case in found}
    assert values == {"a": {0, 1, 2}, "b": {1, 3}, "c": {0, 1}, "d": {0, 1, 2}, "e": {0, 1, 2}}


# ---------------------------------------------------------------- what must not travel


@pytest.mark.parametrize(
    ("name", "is_told"),
    [
        ("2023-04-11 Surname", True), ("Smith_John", True), ("MUELLER^HANS", True),
        ("19610203", True), ("11.04.2023_knee", True), ("Pat02_pelvis", False), ("CT_5", False),
        ("knee_left", False), ("sub-01_T1w", False), ("Case_0012345678", False),
        ("Left_Femur", False), ("Müller, Jan", True),
    ],
)  # fmt: skip
def test_a_date_or_a_persons_name_is_told_from_others(name, is_told):
    assert telling([name]) == [name] * is_told


def test_names_that_tell_of_patients_are_warned_of_and_can_be_left_behind(tmp_path):
    name = "2023-04-11 Surname"
    scan(tmp_path / "scans" / f"{name}.nii.gz")
    scan(tmp_path / "scans" / "a.nii.gz", 1)
    mask(tmp_path / "masks" / name / "femur.nii.gz", 1)
    mask(tmp_path / "masks" / "a" / "femur.nii.gz", 2)
    asked = {"scans": [tmp_path / "scans"], "masks": [tmp_path / "masks"]}
    asked |= {"patients": "(.).*", "split": "leave-one-out"}
    job = Job()
    import_scans(ImportRequest(**asked, out=tmp_path / "one"), job)
    assert len([w for w in job.warnings if "`anonymous_names`" in w.sentence]) == 1
    job = Job()
    out = tmp_path / "two"
    import_scans(ImportRequest(**asked, out=out, anonymous_names=True), job)
    assert not job.warnings
    found = open_dataset(out)
    assert [case.id for case in found] == ["case_001", "case_002"]
    assert {case.patient for case in found} == {"patient_001", "patient_002"}
    texts = [p.name + (p.read_text() if p.suffix in (".json", ".csv") else "")
             for p in out.rglob("*")]  # fmt: skip
    assert not any(word in text for text in texts for word in ("2023", "Surname"))
    again = tmp_path / "three"
    import_scans(ImportRequest(scans=[tmp_path / "one"], out=again, anonymous_names=True))
    found = open_dataset(again)
    assert [case.id for case in found] == ["case_001", "case_002"]
    assert {case for fold in found.folds for case in fold.all} == {"case_001", "case_002"}
