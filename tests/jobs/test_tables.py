"""Tables that a spreadsheet computes nothing of, and that are read back as they were."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condyle.io.datasets.patients import patients_csv
from condyle.io.texts import read_table
from condyle.jobs.tables import cell, table_text, text_of_cell
from condyle.report.tables import csv_text
from condyle.runs.record import read_csv

COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n")
BEGINNINGS = st.sampled_from(["", *COMPUTED, "'=", "''-", "'"])
TEXTS = st.builds(str.__add__, BEGINNINGS, st.text(st.characters(codec="utf-8"), max_size=8))


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


@given(TEXTS)
def test_a_cell_is_read_back_and_never_computed(text):
    made = cell(text)
    assert text_of_cell(made) == text
    assert is_number(made) or not made.startswith(COMPUTED)


@pytest.mark.parametrize(
    "figure", ["-3.2", "+1e-5", "-0.31 ± 0.05", "-0.3 (-0.5 to 0.1)", "-1 to 2", "-inf", -3.2, 7]
)
def test_figures_stay_as_they_are(figure):
    assert cell(figure) == figure


@pytest.mark.parametrize("text", ["-1+cmd", "=1", "+49 89", "-", "-2-3", "@x", "-1 ± x"])
def test_what_is_no_figure_is_made_safe(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("write", [table_text, csv_text, lambda rows: csv_text(rows, exact=True)])
def test_every_writer_of_tables_makes_cells_and_headings_safe(write):
    text = write([{"case": "=1+1", "-x": "@SUM(1)", "volume": -3.2}])
    head, line = csv.reader(io.StringIO(text))
    assert head == ["case", "'-x", "volume"]
    assert line[:2] == ["'=1+1", "'@SUM(1)"]
    assert float(line[2]) == -3.2


@given(st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, unique_by=lambda pair: pair[0]))
def test_our_own_tables_are_read_back(tmp_path_factory, pairs):
    pairs = [pair for pair in pairs if "\0" not in "".join(pair)]
    pairs = [pair for pair in pairs if all(text == text.strip() for text in pair)]
    folder = tmp_path_factory.mktemp("tables")
    (folder / "patients.csv").write_text(patients_csv(dict(pairs)), encoding="utf-8", newline="")
    if pairs:
        read = read_table(folder / "patients.csv", ["case", "patient"])
        assert [(row["case"], row["patient"]) for row in read] == pairs
    rows = [{"case": case, "patient": whose, "dice": -0.5} for case, whose in pairs]
    (folder / "cases.csv").write_text(table_text(rows), encoding="utf-8", newline="")
    assert read_csv(folder / "cases.csv") == rows
