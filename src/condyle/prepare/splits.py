"""Training, validation and test cases: always split by patient."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from condyle.core import Case, Dataset, Fold
from condyle.errors import DatasetError, SplitError
from condyle.jobs.job import count_of

__all__ = [
    "by_counts",
    "count_of_folds",
    "default_folds",
    "described",
    "fold_of",
    "k_fold",
    "leave_one_out",
    "split",
    "held_out",
    "with_validation_cases",
]


FEW_JUDGES = 3
"""Test cases below which their scores say little of other scans."""


def _by_patient(cases: Iterable[Case]) -> dict[str, tuple[str, ...]]:
    """Patient -> case ids, both in ascending order, whatever the order given."""
    groups: dict[str, list[str]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        groups.setdefault(case.patient, []).append(case.id)
    return {patient: tuple(groups[patient]) for patient in sorted(groups)}


def _shuffled(patients: list[str], seed: int) -> list[str]:
    return [patients[int(i)] for i in np.random.default_rng(seed).permutation(len(patients))]


def _cases_of(groups: Mapping[str, tuple[str, ...]], patients: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(case for patient in patients for case in groups[patient]))


def k_fold(
    cases: Iterable[Case], k: int = 5, seed: int = 0, strata: Mapping[str, str] | None = None
) -> tuple[Fold, ...]:
    """K folds; each patient is in the validation part of exactly one.

    Parameters
    ----------
    strata : patient -> group (the structures there are, a size, a scanner); each group is spread
        evenly over all folds.

    Raises
    ------
    SplitError
        If there are fewer than two folds, fewer patients than folds, or a patient in no group.
    """
    groups = _by_patient(cases)
    if not 2 <= k <= len(groups):
        raise SplitError(
            f"{count_of(len(groups), 'patient')} cannot be split into {k} folds: "
            "it takes two folds or more, and a patient for each"
        )
    ungrouped = sorted(set(groups) - set(strata)) if strata else []
    if ungrouped:
        raise SplitError(f"patient {ungrouped[0]} is in no group: name one for each patient")
    order = _shuffled(list(groups), seed)
    if strata:
        order.sort(key=lambda patient: strata[patient])  # stable: still shuffled within
    parts = [order[start::k] for start in range(k)]
    return tuple(
        Fold(_cases_of(groups, set(order) - set(part)), _cases_of(groups, part)) for part in parts
    )


def leave_one_out(cases: Iterable[Case]) -> tuple[Fold, ...]:
    """A fold a patient, who alone is in its validation part."""
    groups = _by_patient(cases)
    if len(groups) < 2:
        raise SplitError("leaving one patient out takes at least two")
    return tuple(
        Fold(_cases_of(groups, set(groups) - {patient}), groups[patient]) for patient in groups
    )


def by_counts(cases: Iterable[Case], train: int, validation: int, test: int, seed: int = 0) -> Fold:
    """One fold of so many patients each, such as the femur study's 24, 8 and 8."""
    groups = _by_patient(cases)
    if min(train, validation, test) < 0 or train < 1 or train + validation + test > len(groups):
        raise SplitError(
            f"{count_of(len(groups), 'patient')} cannot be split into "
            f"{train} + {validation} + {test}"
        )
    order = _shuffled(list(groups), seed)
    ends = np.cumsum([train, validation, test])
    return Fold(
        _cases_of(groups, order[: ends[0]]),
        _cases_of(groups, order[ends[0] : ends[1]]),
        _cases_of(groups, order[ends[1] : ends[2]]),
    )


def split(
    cases: Iterable[Case], how: str, seed: int = 0, strata: Mapping[str, str] | None = None
) -> tuple[Fold, ...]:
    """The folds that a few words ask for: '24/8/8', '5-fold' or 'leave-one-out', by patient.

    Parameters
    ----------
    how : patients that train, choose and test; so many folds; or a fold a patient.
    strata : patient -> group, for `k_fold`.

    Raises
    ------
    SplitError
        If the words mean none of these, or there are too few patients.
    """
    if counts := re.fullmatch(r"(\d+)/(\d+)/(\d+)", how):
        return (by_counts(cases, *map(int, counts.groups()), seed=seed),)
    if folds := re.fullmatch(r"(\d+)-fold", how):
        return k_fold(cases, int(folds[1]), seed, strata)
    if how == "leave-one-out":
        return leave_one_out(cases)
    raise SplitError(f"unknown split {how!r}: write 24/8/8, 5-fold or leave-one-out")


def default_folds(cases: Sequence[Case], seed: int = 0) -> tuple[Fold, ...]:
    """Leave-one-out below six patients, else five folds; one patient alone only trains."""
    groups = _by_patient(cases)
    if len(groups) == 1:
        return (Fold(_cases_of(groups, groups), ()),)
    return leave_one_out(cases) if len(groups) < 6 else k_fold(cases, 5, seed)


def with_validation_cases(cases: Iterable[Case], fold: Fold, seed: int = 0) -> Fold:
    """The fold with a test part: its held-out cases; a few training cases become validation cases.

    A fold that has a test part already stays as it is. Otherwise its validation part becomes the
    test part, and about a tenth of the training patients (1 to 8) are set aside to choose the
    best weights; of fewer than four training patients none is.

    Raises
    ------
    SplitError
        If the fold names a case that is not among `cases`.
    """
    by_id = {case.id: case for case in cases}
    strangers = [case for case in fold.all if case not in by_id]
    if strangers:
        raise SplitError(
            f"the fold names {strangers[0]}, which is not among the labelled cases: "
            "label it, or take it out of splits_final.json"
        )
    if fold.test:
        return fold
    groups = _by_patient(by_id[case] for case in fold.train)
    aside = 0 if len(groups) < 4 else min(max(round(0.1 * len(groups)), 1), 8)
    choosing = set(_shuffled(list(groups), seed)[:aside])
    return Fold(
        _cases_of(groups, set(groups) - choosing), _cases_of(groups, choosing), fold.validation
    )


def fold_of(dataset: Dataset, number: int | Literal["all"], seed: int = 0) -> Fold:
    """A fold of a data set, with validation cases taken out of its training cases if it has none.

    A data set without folds gets `default_folds`. In the fold 'all' every labelled case trains.

    Raises
    ------
    DatasetError
        If no case is labelled.
    """
    labelled = dataset.labelled()
    if not labelled:
        raise DatasetError(f"{dataset.root} holds no labelled case: there is nothing to learn from")
    if number == "all":
        return Fold(tuple(sorted(case.id for case in labelled)), ())
    return with_validation_cases(labelled, _with_folds(dataset).fold(number), seed)


def described(fold: Fold) -> str:
    """How many scans train, choose the best weights and judge; and how much so few judges tell.

    Examples
    --------
    >>> described(Fold(("a", "b", "c"), ("d",), ("e", "f", "g")))
    '7 labelled scans: 3 train, 1 chooses, 3 judge'
    """
    train, choose, judge = (len(part) for part in (fold.train, fold.validation, fold.test))
    parts = (
        f"{train} train{'s' * (train == 1)}",
        f"{choose or 'none'} choose{'s' * (choose <= 1)}",
        f"{judge or 'none'} judge{'s' * (judge <= 1)}",
    )
    total = train + choose + judge
    said = f"{total} labelled scan{'s' * (total != 1)}: {', '.join(parts)}"
    if 0 < judge < FEW_JUDGES:
        said += f"; scores of {judge} tell little: on other scans they may be far better or worse"
    return said


def count_of_folds(dataset: Dataset) -> int:
    """How many folds a data set has, its own or those of `default_folds`."""
    return len(_with_folds(dataset).folds)


def held_out(dataset: Dataset, number: int) -> tuple[Case, ...]:
    """The cases that a fold keeps for testing: its test part, or its validation part if none."""
    chosen = _with_folds(dataset).fold(number)
    return dataset.select(chosen.test or chosen.validation)


def _with_folds(dataset: Dataset) -> Dataset:
    return dataset if dataset.folds else dataset.with_folds(default_folds(dataset.labelled()))
