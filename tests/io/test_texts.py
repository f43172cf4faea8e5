"""Side tables as people's programs write them: any delimiter, encoding and line end."""

import json
import logging

import pytest

from condyle.errors import DatasetError, UnreadableFile
from condyle.io.datasets.channels import channels_in, files_by_case
from condyle.io.datasets.patients import patients_beside, patients_given
from condyle.io.texts import read_json, read_lines, read_table, read_text

ROWS = [("case", "patient"), ("knee_1", "Müller"), ("knee_2", "Müller"), ("hip, left", "O'Hara")]
WANTED = dict(ROWS[1:])


def table(mark, end, quote):
    cells = [[f'"{cell}"' if quote or mark in cell else cell for cell in row] for row in ROWS]
    return end.join(mark.join(row) for row in cells) + end


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", [False, True])
def test_tables_are_read_whatever_program_wrote_them(tmp_path, encoding, end, mark, quote):
    path = tmp_path / "patients.csv"
    path.write_bytes(table(mark, end, quote).encode(encoding))
    assert patients_beside(path, list(WANTED)) == WANTED
    assert patients_given(str(path), list(WANTED)) == WANTED


@pytest.mark.parametrize(
    "text",
    [
        " Case ,PATIENT \na,1\n",
        "patient;sex;case\n1;f;a\n",
        "sep=;\ncase;patient\na;1\n",
        '"case","patient"\n"a.nii.gz","1"\n',
        "case,patient\nscans/a_0000.nii.gz,1\n",
        "case,patient\nC:\\scans\\a.nrrd,1\n",
        "\ncase,patient,,\na,1,,\n,,,\n",
        "case,patient\na,1\na,1\n",
    ],
)
def test_cases_are_found_in_tables_by_any_of_their_names(tmp_path, text):
    (tmp_path / "patients.csv").write_text(text)
    assert patients_beside(tmp_path / "patients.csv", ["a"]) == {"a": "1"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("case,patient\na,1\nb,2\n", "names what is no case of the data set: b"),
        ("name;patient\na;1\n", "there is no case, its first line is 'name', 'patient'"),
        ("", "there is no case and no patient"),
        ("case,patient\na,Smith, Ann\n", "row 2 has 3 fields"),
        ("case,patient\na,1\na,2\n", "gives a two patients"),
        ("case,case,patient\na,a,1\n", "more than one column case"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_for_its_true_reason(tmp_path, text, why):
    (tmp_path / "patients.csv").write_text(text)
    with pytest.raises(DatasetError, match=why):
        patients_beside(tmp_path / "patients.csv", ["a"])


def test_cases_without_a_row_are_said(tmp_path, caplog):
    path = tmp_path / "patients.csv"
    path.write_text("case,patient\na,1\n")
    with caplog.at_level(logging.WARNING, "condyle"):
        assert patients_beside(path, ["a", "b"]) == {"a": "1"}
    assert "no patient for b" in caplog.text
    with pytest.raises(DatasetError, match="no patient for b"):
        patients_given(str(path), ["a", "b"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_and_lists_are_read_in_any_encoding(tmp_path, encoding):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"fémur": 1}, ensure_ascii=False), encoding=encoding)
    assert read_json(path) == {"fémur": 1}
    path.write_bytes('"a b.nii"\r\n\r\n  ü.nii \r'.encode(encoding))
    assert read_lines(path) == ["a b.nii", "ü.nii"]


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "patients.csv"
    path.write_bytes(bytes([0, 1, 0, 255, 0] * 99))
    for reader in (read_text, read_lines, lambda path: read_table(path, ["case"])):
        with pytest.raises(UnreadableFile, match="not a text"):
            reader(path)
    with pytest.raises(UnreadableFile, match="cannot be read"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("names", "labels", "cases"),
    [
        # nnU-Net's names, with and without label maps
        (["a_0000", "a_0001", "b_0000", "b_0001"], ["a", "b"], {"a": 2, "b": 2}),
        (["a_0000", "b_0000"], ["a"], {"a": 1, "b": 1}),
        (["a_0000", "a_0001", "b_0000", "b_0001"], [], {"a": 2, "b": 2}),
        # names that end in four digits
        (["a_0001", "a_0002", "a_0003"], ["a_0001", "a_0002"], dict.fromkeys(
            ["a_0001", "a_0002", "a_0003"], 1)),
        (["a_0000", "a_0001"], ["a_0000"], {"a_0000": 1, "a_0001": 1}),
        (["a_0001", "a_0002"], [], {"a_0001": 1, "a_0002": 1}),
        (["a_0000", "b_0001"], [], {"a_0000": 1, "b_0001": 1}),
        (["a_2024", "b_2025"], ["a_2024"], {"a_2024": 1, "b_2025": 1}),
        (["a_0001_0000", "a_0002_0000"], ["a_0001", "a_0002"], {"a_0001": 1, "a_0002": 1}),
    ],
)  # fmt: skip
def test_four_digits_are_a_channel_only_where_the_whole_data_set_says_so(
    tmp_path, names, labels, cases
):
    files = [(name, tmp_path / name) for name in names]
    found = files_by_case(tmp_path, files, labels, channels_in(names, labels))
    assert {case: len(files) for case, files in found.items()} == cases
