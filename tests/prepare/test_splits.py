"""No patient on two sides, every case held out once, the same folds every time."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condyle.core import Case, Fold
from condyle.errors import SplitError
from condyle.prepare.splits import (
    by_counts,
    default_folds,
    k_fold,
    leave_one_out,
    split,
    with_validation_cases,
)


def cases(patients):
    """One case for each entry: the patient's number."""
    return [
        Case(f"case_{n:02}", (), None, f"patient_{p:02}", lambda paths: (), lambda path: None)
        for n, p in enumerate(patients)
    ]


patients = st.lists(st.integers(0, 12), min_size=1, max_size=30)
seeds = st.integers(0, 5)


def sides_share_no_patient(fold, all_cases):
    of = {case.id: case.patient for case in all_cases}
    sides = [{of[i] for i in side} for side in (fold.train, fold.validation, fold.test)]
    return not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@settings(max_examples=100, deadline=None)
@given(patients=patients, k=st.integers(2, 6), seed=seeds, data=st.data())
def test_k_folds_hold_out_every_case_once_and_part_no_patient(patients, k, seed, data):
    given_cases = cases(patients)
    if len(set(patients)) < k:
        with pytest.raises(SplitError, match="cannot be split"):
            k_fold(given_cases, k, seed)
        return
    folds = k_fold(given_cases, k, seed)
    held_out = Counter(i for fold in folds for i in fold.validation)
    assert held_out == Counter(case.id for case in given_cases)
    for fold in folds:
        assert sides_share_no_patient(fold, given_cases)
        assert sorted(fold.all) == sorted(case.id for case in given_cases)
    assert k_fold(data.draw(st.permutations(given_cases)), k, seed) == folds


@settings(max_examples=60, deadline=None)
@given(strata=st.lists(st.sampled_from("abc"), min_size=5, max_size=25), seed=seeds)
def test_each_group_is_spread_over_all_folds(strata, seed):
    given_cases = cases(range(len(strata)))
    groups = {case.patient: group for case, group in zip(given_cases, strata, strict=True)}
    of = {case.id: groups[case.patient] for case in given_cases}
    folds = k_fold(given_cases, 5, seed, groups)
    for group in set(strata):
        counts = [sum(of[i] == group for i in fold.validation) for fold in folds]
        assert max(counts) - min(counts) <= 1
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


def test_seeds_make_other_folds():
    given_cases = cases(range(20))
    assert len({k_fold(given_cases, 5, seed) for seed in range(5)}) == 5


@settings(max_examples=50, deadline=None)
@given(patients=patients)
def test_leaving_one_patient_out(patients):
    given_cases = cases(patients)
    if len(set(patients)) < 2:
        with pytest.raises(SplitError, match="at least two"):
            leave_one_out(given_cases)
        return
    folds = leave_one_out(given_cases)
    assert len(folds) == len(set(patients))
    assert Counter(i for f in folds for i in f.validation) == Counter(c.id for c in given_cases)
    assert all(sides_share_no_patient(fold, given_cases) for fold in folds)


def test_the_femur_studys_counts():
    fold = by_counts(cases(range(40)), 24, 8, 8, seed=1)
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [24, 8, 8]
    assert len(set(fold.all)) == 40
    assert fold == by_counts(cases(range(40))[::-1], 24, 8, 8, seed=1)
    for wrong in ((24, 8, 9), (0, 8, 8), (10, -1, 5)):
        with pytest.raises(SplitError, match="40 patients cannot be split"):
            by_counts(cases(range(40)), *wrong)


@pytest.mark.parametrize(
    ("n", "choosing"), [(2, 0), (3, 0), (4, 1), (14, 1), (16, 2), (80, 8), (200, 8)]
)
def test_a_tenth_of_the_training_patients_chooses(n, choosing):
    given_cases = cases([*np.repeat(np.arange(n), 2).tolist(), 999])
    fold = Fold(tuple(c.id for c in given_cases[:-1]), (given_cases[-1].id,))
    carved = with_validation_cases(given_cases, fold, seed=0)
    assert carved.test == fold.validation
    assert len(carved.validation) == 2 * choosing
    assert sorted(carved.train + carved.validation) == sorted(fold.train)
    assert sides_share_no_patient(carved, given_cases)
    assert carved == with_validation_cases(given_cases[::-1], fold, seed=0)


def test_a_fold_with_a_test_part_stays():
    fold = Fold(("case_00",), ("case_01",), ("case_02",))
    assert with_validation_cases(cases(range(3)), fold) is fold


def test_a_fold_may_not_name_a_case_without_labels():
    with pytest.raises(SplitError, match="case_09"):
        with_validation_cases(cases(range(5)), Fold(("case_00", "case_09"), ("case_01",)))


def test_default_folds():
    assert default_folds(cases([3])) == (Fold(("case_00",), ()),)
    assert default_folds(cases([3, 3])) == (Fold(("case_00", "case_01"), ()),)
    assert default_folds(cases(range(5))) == leave_one_out(cases(range(5)))
    assert default_folds(cases(range(6)), seed=2) == k_fold(cases(range(6)), 5, 2)
    assert with_validation_cases(cases([3]), default_folds(cases([3]))[0]) == Fold(
        ("case_00",), (), ()
    )


def test_groups_must_name_every_patient():
    with pytest.raises(SplitError, match="patient_04 is in no group"):
        k_fold(cases(range(5)), 2, strata={f"patient_{n:02}": "a" for n in range(4)})


def test_a_few_words_ask_for_folds():
    given_cases = cases(range(40))
    assert split(given_cases, "24/8/8", 3) == (by_counts(given_cases, 24, 8, 8, 3),)
    assert split(given_cases, "5-fold", 3) == k_fold(given_cases, 5, 3)
    groups = {case.patient: str(n % 2) for n, case in enumerate(given_cases)}
    assert split(given_cases, "5-fold", 3, groups) == k_fold(given_cases, 5, 3, groups)
    assert split(given_cases, "leave-one-out") == leave_one_out(given_cases)


@pytest.mark.parametrize(
    "how", ["", "fold", "5 fold", "24/8", "-1/2/3", "24/8/8/1", "loo", "5-folds"]
)
def test_other_words_are_told_what_there_is(how):
    with pytest.raises(SplitError, match="write 24/8/8, 5-fold or leave-one-out"):
        split(cases(range(40)), how)


@pytest.mark.parametrize("how", ["1-fold", "0-fold", "41-fold", "0/8/8", "40/1/0"])
def test_splits_that_cannot_be_are_told(how):
    with pytest.raises(SplitError, match="cannot be split"):
        split(cases(range(40)), how)
