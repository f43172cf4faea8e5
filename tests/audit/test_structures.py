"""What some cases lack, and what has two names, is found; what differs by right is not."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condyle.audit.structures import alike, lacked, structure_findings

NAMES = ("femur", "tibia", "patella", "sacrum")


@given(st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=9))
def test_lacked_is_what_more_than_two_thirds_of_the_others_have(held):
    present = {f"case_{n}": names for n, names in enumerate(held)}
    plain = {}
    for name in NAMES:
        for case in present:
            others = [name in names for other, names in present.items() if other != case]
            if name not in present[case] and others and sum(others) > 2 / 3 * len(others):
                plain.setdefault(name, []).append(case)
    assert lacked(present) == plain


def test_the_other_side_is_not_lacked():
    present = {f"leg_{n}": [f"femur_{side}"] for n, side in enumerate(["left", "right"] * 5)}
    assert structure_findings(present) == []


WRITTEN = ("R_Femur", "femur_R_final", "Femur right", "femur_rechts", "right-femur", "FemurR")


@pytest.mark.parametrize(("one", "other"), [p for p in product(WRITTEN, WRITTEN) if p[0] < p[1]])
def test_one_structure_under_two_names_is_found(one, other):
    assert alike({"a": [one], "b": [other]}) == [tuple(sorted([one, other]))]
    assert alike({"a": [one, other], "b": [other]}) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("femur_L", "femur_R"), ("tibia", "femur"), ("L1", "L2"), ("rib_7", "rib_8"),
     ("femur", "patella"), ("hip left", "hip right")],
)  # fmt: skip
def test_two_structures_are_not_one(one, other):
    assert alike({"a": [one], "b": [other]}) == []


def test_what_occurs_once_is_named():
    present = {"a": ["femur", "tibia"], "b": ["femur"], "c": ["femur"], "d": ["femur", "sacrum"]}
    (finding,) = structure_findings(present)
    assert finding.what.startswith("in one case only: sacrum (d), tibia (a)")
    (finding,) = structure_findings({"a": ["apple"], "b": ["brick"], "c": ["cloud"]})
    assert finding.what == "no structure occurs in more than one case: apple, brick, cloud"
    assert structure_findings({"a": ["femur"]}) == []
