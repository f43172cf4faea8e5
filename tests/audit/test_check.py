"""What is wrong with a data set is found, named and comes with a remedy."""

from dataclasses import replace

import numpy as np
import pytest

from condyle.audit.check import check
from condyle.core import KNEE, Fold, Grid, LabelMap, LabelScheme
from condyle.errors import LabelError, UnreadableFile
from condyle.io import open_dataset

SHAPE = (10, 11, 12)


def scan(seed=0):
    """A body of water with bone, in air, as CT; and its two bones."""
    array = np.random.default_rng(seed).normal(0, 15, SHAPE)
    array[:3] = -1000
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:7, 3:6, 2:9], labels[5:7, 7:9, 2:9] = 1, 2
    array[labels > 0] += 400
    return np.rint(array).astype(np.int16), labels


@pytest.fixture
def cases(make_case):
    return [make_case(f"knee_{n}", *scan(n)) for n in range(5)]


def only(findings, severity, *words):
    """The one finding there is, which must hold these words."""
    assert len(findings) == 1, findings
    (finding,) = findings
    assert finding.severity == severity
    for word in words:
        assert word in finding.what
    assert finding.remedy
    assert "\n" not in finding.what
    return finding


def test_a_sound_data_set_has_no_findings(cases, make_dataset):
    folds = [Fold(("knee_0", "knee_1", "knee_2", "knee_3"), ("knee_4",))]
    told = []
    assert check(make_dataset(cases, folds), lambda n, total: told.append((n, total))) == []
    assert told == [(n, 5) for n in range(1, 6)]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (Grid.regular(SHAPE, origin=(0.4, 0, 0)), ("0.4 mm apart",)),
        (Grid.regular(SHAPE, (1.01, 1, 1)), ("spacings", "1.01")),
        (Grid.regular(SHAPE, origin=(5, 0, 0)), ("voxels lie outside the scan",)),
    ],
)
def test_masks_on_another_grid(cases, make_case, make_dataset, grid, words):
    cases[2] = make_case("knee_2", *scan(2), label_grid=grid)
    finding = only(check(make_dataset(cases)), "error", *words)
    assert finding.case == "knee_2"
    assert "export" in finding.remedy


def test_masks_in_other_axes_are_put_in_place_and_said(cases, make_case, make_dataset):
    array, labels = scan(2)
    turned = LabelMap(labels, Grid.regular(SHAPE), KNEE).cropped((4, 2, 1), SHAPE)
    turned = turned.reoriented("LPS")
    cases[2] = make_case("knee_2", array, turned.array, label_grid=turned.grid)
    finding = only(check(make_dataset(cases)), "warning", "voxel on voxel", "LPS, not RAS")
    assert (finding.case, finding.kind) == ("knee_2", "lattice")


def test_noise_in_the_affine_is_no_finding(cases, make_case, make_dataset):
    affine = np.eye(4) + 1e-8
    affine[3] = (0, 0, 0, 1)
    cases[2] = make_case("knee_2", *scan(2), label_grid=Grid(SHAPE, affine))
    assert check(make_dataset(cases)) == []


def test_labels_that_are_no_whole_numbers_or_unknown(cases, make_case, make_dataset):
    array, labels = scan(1)
    cases[1] = make_case("knee_1", array, LabelError("labels must be whole numbers, found 1.5"))
    only(check(make_dataset(cases)), "error", "whole numbers")
    cases[1] = make_case("knee_1", array, labels * 3)
    only(check(make_dataset(cases)), "error", "[3, 6]")


def test_empty_and_absent_masks(cases, make_case, make_dataset):
    array, labels = scan(1)
    cases[1] = make_case("knee_1", array, np.zeros_like(labels))
    only(check(make_dataset(cases)), "error", "empty")
    cases[1] = make_case("knee_1", array)
    only(check(make_dataset(cases)), "warning", "no labels")


def test_a_scan_that_cannot_be_read_does_not_stop_the_others(cases, make_case, make_dataset):
    cases[0] = make_case("knee_0", UnreadableFile("knee_0.nii.gz is cut short"), scan()[1])
    cases[3] = make_case("knee_3", scan(3)[0], UnreadableFile("knee_3.nii.gz is damaged"))
    found = check(make_dataset(cases))
    assert [(f.case, f.what) for f in found] == [
        ("knee_0", "knee_0.nii.gz is cut short"), ("knee_3", "knee_3.nii.gz is damaged"),
    ]  # fmt: skip


def test_a_mask_in_air(cases, make_case, make_dataset):
    array, labels = scan(1)
    cases[1] = make_case("knee_1", array, np.where(labels == 2, 2, np.roll(labels, -5, axis=0) % 2))
    finding = only(check(make_dataset(cases)), "error", "tibia", "-1000 HU")
    assert finding.case == "knee_1"


@pytest.mark.parametrize("air", [0, 30])
def test_a_mask_in_the_air_of_an_mr_scan(make_case, make_dataset, air):
    mr = []
    for n in range(3):
        array, labels = scan(n)
        array = np.where(array == -1000, air, array + 500)
        mr.append(make_case(f"knee_{n}", array, labels))
    assert check(make_dataset(mr)) == []
    mr[1] = make_case("knee_1", mr[1].image().array, np.roll(mr[1].labels().array, -5, axis=0))
    found = check(make_dataset(mr))
    assert {(f.case, f.severity) for f in found} == {("knee_1", "warning")}
    assert any("tibia" in f.what for f in found)


def test_spacing_far_from_the_others(cases, make_case, make_dataset):
    cases[4] = make_case("knee_4", *scan(4), grid=Grid.regular(SHAPE, (1, 1, 3.1)))
    assert only(check(make_dataset(cases)), "warning", "1x1x3.1").case == "knee_4"
    cases[4] = make_case("knee_4", *scan(4), grid=Grid.regular(SHAPE, (1, 1, 2.9)))
    assert check(make_dataset(cases)) == []


def test_one_scan_under_two_names_however_it_is_stored(cases, make_case, make_dataset):
    array, labels = scan(1)
    turned = Grid.regular(SHAPE).turn_to("PIL")
    cases[4] = make_case(
        "knee_4", turned.apply(array).astype(np.float32), turned.apply(labels),
        grid=Grid.regular(SHAPE).turned(turned),
    )  # fmt: skip
    assert only(check(make_dataset(cases)), "error", "knee_1").case == "knee_4"


def test_folds_that_leak_or_name_what_is_not_there(cases, make_case, make_dataset):
    cases[4] = make_case("knee_4", *scan(4), patient="knee_0")
    folds = [
        Fold(("knee_0", "knee_1"), ("knee_2",)),
        Fold(("knee_0", "knee_1"), ("knee_4",)),
        Fold(("knee_0", "knee_9"), ("knee_2",)),
    ]
    found = check(make_dataset(cases, folds))
    assert [f.case for f in found] == ["fold 1", "fold 2"]
    assert "two sides" in found[0].what
    assert "knee_9" in found[1].what


def test_a_structure_that_no_case_holds(cases, make_case, make_dataset):
    without = [make_case(c.id, c.image().array, c.labels().array % 2) for c in cases]
    only(check(make_dataset(without)), "warning", "femur")
    unlabelled = [make_case(c.id, c.image().array) for c in cases]
    only(
        check(make_dataset(unlabelled)),
        "warning",
        "5 have no labels and are not trained on: knee_0",
    )


def test_real_data_sets_are_sound(shared):
    dataset = open_dataset(shared / "msd_task04_hippocampus")
    some = type(dataset)("few", dataset.root, dataset.cases[:25], dataset.scheme)
    assert [f for f in check(some) if f.severity == "error"] == []


def knees(make_case, change=lambda n, array, labels: (array, labels)):
    """Nine knees; one may be changed by what is given."""
    made = []
    for n in range(9):
        array, labels = change(n, *scan(n))
        made.append(make_case(f"knee_{n}", array, labels))
    return made


def test_air_that_is_meant_is_no_finding(make_case, make_dataset):
    def airway(n, array, labels):
        return np.where(labels == 2, -1000, array), labels

    assert check(make_dataset(knees(make_case, airway))) == []
    alone = make_case("knee_0", *airway(0, *scan(0)))
    assert [f.kind for f in check(make_dataset([alone]))] == []


def test_air_in_one_case_alone_is_a_finding(make_case, make_dataset):
    def hollow(n, array, labels):
        return (np.where(labels == 2, -1000, array) if n == 4 else array), labels

    found = check(make_dataset(knees(make_case, hollow)))
    assert ("knee_4", "air", "error") in {(f.case, f.kind, f.severity) for f in found}


def test_a_structure_cut_by_the_border(make_case, make_dataset):
    def cut(n, array, labels):
        return (array[:, :, 4:], labels[:, :, 4:]) if n == 2 else (array, labels)

    found = [f for f in check(make_dataset(knees(make_case, cut))) if f.kind == "cut"]
    assert [(f.case, f.severity) for f in found] == [("knee_2", "warning")] * 2
    assert "towards the feet" in found[0].what
    assert check(make_dataset(knees(make_case, lambda n, a, m: (a[:, :, 4:], m[:, :, 4:])))) == []


def test_a_volume_far_from_the_others(make_case, make_dataset):
    def shrunk(n, array, labels):
        labels = np.where(labels == 2, 0, labels) if n == 5 else labels
        labels[6, 7, 5] = 2
        return array, labels

    found = [f for f in check(make_dataset(knees(make_case, shrunk))) if f.kind == "volume"]
    assert [f.case for f in found] == ["knee_5"]
    assert "femur has 0.001 cm³" in found[0].what


def test_intensities_far_from_the_others(make_case, make_dataset):
    def unscaled(n, array, labels):
        return (array + 1024 if n == 6 else array), labels

    cases = knees(make_case, unscaled)
    ct = replace(make_dataset(cases), channel_names=("CT",))
    assert "Hounsfield" in only(check(ct), "warning", "24").what

    def mr(n, array, labels):
        array = array + 1000.0
        return (1500 - array if n == 6 else array), labels

    found = [f for f in check(make_dataset(knees(make_case, mr))) if f.kind == "intensity"]
    assert only(found, "warning", "distributed differently").case == "knee_6"

    def two_scanners(n, array, labels):
        return (array + 1000.0) * (50 if n % 2 else 1), labels

    assert check(make_dataset(knees(make_case, two_scanners))) == []


def test_a_near_duplicate_and_its_sides(cases, make_case, make_dataset):
    array, labels = scan(1)
    wide = np.pad(array, ((0, 0), (0, 0), (0, 1)), mode="edge") * 2.0
    cases[4] = make_case("knee_4", wide, np.pad(labels, ((0, 0), (0, 0), (0, 1))))
    folds = [Fold(("knee_1", "knee_0"), ("knee_4",)), Fold(("knee_1", "knee_4"), ("knee_0",))]
    found = [f for f in check(make_dataset(cases, folds)) if f.kind in ("duplicate", "folds")]
    assert [(f.case, f.severity) for f in found] == [("knee_4", "error"), ("fold 0", "error")]
    assert "knee_1, saved otherwise and cropped" in found[0].what
    assert "one scan is on two sides" in found[1].what


def test_two_sides_of_one_patient(make_case, make_dataset):
    both = [make_case(f"knee_7_{side}", *scan(n)) for n, side in enumerate("LR")]
    assert only(check(make_dataset(both)), "warning", "knee_7_L and knee_7_R", "one patient")


def test_what_nobody_labelled_is_no_structure(make_case, make_dataset):
    scheme = LabelScheme.of({**KNEE.to_dict(), "ignore": 9})

    def partly(n):
        image, labels = scan(n)
        return image, np.where(np.arange(SHAPE[0])[:, None, None] < 4, 9, labels).astype(np.uint8)

    cases = [make_case(f"knee_{n}", *partly(n), scheme=scheme) for n in range(5)]
    assert check(make_dataset(cases, scheme=scheme)) == []
    none = np.full(SHAPE, 9, np.uint8)
    cases[2] = make_case("knee_2", scan(2)[0], none, scheme=scheme)
    only(check(make_dataset(cases, scheme=scheme)), "error", "empty")
