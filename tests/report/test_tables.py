import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condyle.report import parts, tables

SUMMARY = [
    {"structure": "femur_left", "dice_mean": 0.91234, "dice_sd": 0.0123, "hd95_mm_mean": 1.5,
     "hd95_mm_sd": math.nan, "n": 8, "n_absent": 0, "n_failed": 1},
    {"structure": "mean", "dice_mean": math.nan, "dice_sd": math.nan, "hd95_mm_mean": math.inf,
     "hd95_mm_sd": math.nan, "n": 0, "n_absent": 8, "n_failed": 0},
]  # fmt: skip


def test_means_have_their_deviation_units_stand_in_headings_and_words_for_what_is_no_number():
    first, second = tables.metrics_table(SUMMARY)
    assert first == {"Structure": "femur left", "Dice": "0.912 ± 0.012", "HD95 (mm)": "1.50",
                     "Cases": "8", "Absent": "0", "Failed": "1"}  # fmt: skip
    assert second["Dice"] == "undefined"
    assert second["HD95 (mm)"] == "infinite"


def test_cases_come_worst_first_and_undefined_last():
    scores = {"a": 0.9, "b": math.nan, "c": 0.0, "d": 0.5}
    rows = [{"case": c, "structure": "femur", "dice": d, "note": ""} for c, d in scores.items()]
    assert [row["Case"] for row in tables.cases_table(rows)] == ["c", "d", "a", "b"]
    assert "Note" not in tables.cases_table(rows)[0]
    assert tables.cases_table([rows[0] | {"note": "missed"}])[0]["Note"] == "missed"


HOSTILE = '<script>alert("1")</script> | & $x_1$ \\end{tabular}\n%,;'


def test_no_format_lets_a_name_out_of_its_cell():
    rows = [{"Case": HOSTILE, "Dice": 0.5}]
    assert "<script" not in parts.table(rows)
    assert "<script" not in tables.markdown(rows)
    assert len(tables.markdown(rows).splitlines()) == 3
    assert tables.latex(rows).count(r"\end{tabular}") == 1
    assert list(csv.reader(io.StringIO(tables.csv_text(rows))))[1] == [HOSTILE, "0.500"]


CELLS = st.floats() | st.text("a1|<&$\\\n,-", max_size=5)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), CELLS), max_size=4))
def test_every_format_has_a_line_a_row(rows):
    assert parts.table(rows).count("<tr>") == len(rows) + bool(rows)
    assert tables.latex(rows).count("\\\\\n") == len(rows) + 1
    assert len(list(csv.reader(io.StringIO(tables.csv_text(rows), newline="")))) >= min(
        1, len(rows)
    )
    assert len(tables.markdown(rows).split("\n")) == len(rows) + 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (89, "89 s"), (841, "14 min"), (12000, "3 h 20 min")]
)
def test_durations(seconds, text):
    assert tables.duration(seconds) == text
