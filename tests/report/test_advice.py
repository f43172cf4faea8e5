"""Each sentence of advice comes where it is due, and nowhere else."""

import pytest

from condyle.report import Report, write_report
from condyle.report.advice import advice, never_found


def row(case, structure="femur", dice=0.95, hd95_mm=2.0, note=""):
    return {"case": case, "structure": structure, "dice": dice, "hd95_mm": hd95_mm, "note": note}


def learnt(epochs, last=0.9, first=0.9):
    """A history whose Dice rises evenly."""
    steps = max(epochs - 1, 1)
    return [
        {"epoch": n, "seconds": 10.0 * n, "validation_dice": first + (last - first) * n / steps}
        for n in range(epochs)
    ]


WELL = [row(f"c{n}") for n in range(8)]
LOST = [*WELL, *(row(f"c{n}", "sacrum", 0.0, 300.0, "missed") for n in range(2))]


def test_where_all_is_well_there_is_none():
    assert advice(WELL, learnt(60)) == []


def test_a_structure_that_was_never_found_after_few_epochs_needs_more_time():
    [said] = advice(LOST, learnt(4), budget_s=180)
    assert said == (
        "sacrum was found in no test case: 4 epochs were too few; try `training.budget` 15m"
    )
    [said] = advice(LOST, learnt(4))
    assert said.endswith("`training.epochs` 50")


def test_after_many_epochs_its_labels_are_to_be_looked_at():
    [said] = advice(LOST, learnt(60))
    assert "sacrum was found in no test case" in said
    assert "condyle check" in said


@pytest.mark.parametrize(
    "rows",
    [
        [row("a", "sacrum", 0.4), row("b", "sacrum", 0.0, note="missed")],  # found once
        [row("a", "sacrum", float("nan"), note="absent in both")],
        [row("a", "sacrum", 0.0, note="invented")],
        [row("a", "sacrum", 0.0, note="failed")],
    ],
)
def test_what_was_found_once_or_was_not_there_was_not_lost(rows):
    assert never_found(rows) == {}


def test_a_structure_that_is_there_and_everywhere_else_absent_is_lost():
    rows = [row("a", "sacrum", 0.0, note="missed"),
            row("b", "sacrum", float("nan"), note="absent in both")]  # fmt: skip
    assert never_found(rows) == {"sacrum": 1}


def test_a_dice_that_still_rose_asks_for_more_time_and_one_that_stands_does_not():
    [said] = advice(WELL, learnt(40, 0.9, 0.5), budget_s=3600)
    assert "still rose, by 0.1" in said
    assert "`training.budget` 4h" in said
    assert advice(WELL, learnt(40, 0.5, 0.9)) == []
    assert advice(WELL, [{"epoch": n, "loss": 1.0} for n in range(40)]) == []


def test_parts_that_lie_far_away_are_told_from_a_bad_segmentation():
    [said] = advice([*WELL, row("d", "hip_left", 0.9, 83.0)], learnt(60))
    assert "hip left" in said
    assert "83 mm in 1 test case)" in said
    assert "condyle refine" in said
    assert advice([*WELL, row("d", "hip_left", 0.3, 83.0)], learnt(60)) == []
    assert advice([*WELL, row("d", "hip_left", 0.0, float("inf"), "failed")], learnt(60)) == []


@pytest.mark.parametrize(("cases", "words"), [(1, "1 test case says little"), (5, "5 test cases")])
def test_few_cases_say_little(cases, words):
    [said] = advice(WELL[:cases], learnt(60))
    assert said.startswith(words)


def test_the_report_begins_with_it(tmp_path):
    said = advice(LOST, learnt(4), 180)
    page = write_report(Report("x", advice=said), tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<code>training.budget</code> 15m" in page
    assert page.index("Advice") < page.index("Warnings")
    empty = write_report(Report("x"), tmp_path / "y.html").read_text(encoding="utf-8")
    assert 'id="advice"' not in empty
