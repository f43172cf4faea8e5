"""What the terminal shows: every name as it is, on every console, and nothing broken or hidden."""

import io
import json
import os
import sys

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from condyle.app.cli import terminal
from condyle.app.cli.main import main
from condyle.jobs.job import Job, Progress, shown

NAMES = [
    "scan[1]", "[red]", "[/red]", "[link=http://x]", ":bone:", "a\x1b[31mb", "a\nb", "a\u202eb",
    "back\\", "=1+1", "-x", "{0}", "%s",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


def run(*arguments, capsys):
    """The exit code, stdout and stderr of a command."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def saved(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def labelled(folder, names, structures=("cube",)):
    """A data set whose cases and structures have these names."""
    array = np.zeros((12, 12, 2 + len(structures)), np.uint8)
    for number in range(len(structures)):
        array[2:10, 2:10, 1 + number] = number + 1
    for at, name in enumerate(names):
        image = np.random.default_rng(at).normal(size=array.shape).astype(np.float32)
        saved(folder / "imagesTr" / f"{name}.nii.gz", image + 3 * array)
        saved(folder / "labelsTr" / f"{name}.nii.gz", array)
    table = {"labels": {"background": 0} | {n: i for i, n in enumerate(structures, 1)}}
    (folder / "dataset.json").write_text(json.dumps(table))
    return folder


def test_names_of_cases_and_structures_are_shown_as_they_are(tmp_path, capsys):
    names = [n for n in NAMES if n not in ("[/red]", "a\u202eb")]  # files of one name
    data = labelled(tmp_path / "data", [n for n in names if "/" not in n], names)
    (data / "labelsTr" / "[red].nii.gz").write_bytes(b"no scan")
    code, out, err = run("check", data, capsys=capsys)
    assert code == 2
    assert "│ [red] " in out
    code, out, err = run(
        "evaluate", data / "labelsTr", data, "--out", tmp_path / "out", capsys=capsys
    )
    cells = [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")]
    assert cells == [*map(shown, names), "mean"]
    assert "[red]" in err
    for verb, more in (("mesh", ()), ("refine", ("--fill-holes",))):
        labels, place = data / "labelsTr" / "scan[1].nii.gz", tmp_path / verb / "[/red]"
        code, out, err = run(verb, labels, *more, "--out", place, capsys=capsys)
        assert code == 0
        assert f" into {place}" in out


@pytest.mark.parametrize("name", NAMES)
def test_verbs_name_what_is_missing_as_it_is(name, tmp_path, capsys):
    place = tmp_path / name
    for arguments in (
        ["check", place],
        ["runs", place],
        ["mesh", place, "--out", tmp_path / "out"],
        ["refine", place, "--fill-holes", "--out", tmp_path / "out"],
        ["evaluate", place, place, "--out", tmp_path / "out"],
        ["segment", place, place, "--out", tmp_path / "out"],
        ["train", place, "--out", tmp_path / "out"],
        ["features", place, place, "--out", tmp_path / "out.csv"],
    ):
        code, _, err = run(*arguments, capsys=capsys)
        assert code == 2, arguments
        assert shown(str(place)) in err, arguments
        assert len(err.splitlines()) == 1, arguments
    code, _, err = run(name, capsys=capsys)
    assert code == 2
    assert shown(name) in err


@given(st.text(max_size=30))
def test_any_text_stays_on_its_line_and_none_of_it_is_markup(name):
    for is_terminal in (False, True):
        stream = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            terminal.complain(name)
            terminal.say(name)
            said, warned, end = stream.getvalue().split("\n")
            assert (said, warned, end) == (f"condyle: {shown(name)}", shown(name), "")
            patch.setattr(terminal.ERRORS, "_force_terminal", is_terminal)
            with terminal.bars() as (on_progress, on_warning):
                job = Job(on_progress=on_progress, on_warning=on_warning)
                job.progress(name, 1, 2, name)
                job.warn(name, name)


@pytest.mark.parametrize("name", NAMES)
def test_bars_show_names_as_they_are(name, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(terminal.ERRORS, "_force_terminal", True)
    monkeypatch.setattr(terminal.ERRORS, "_width", 200)
    with terminal.bars() as (on_progress, _):
        on_progress(Progress(name, 1, 2, f"at {name}"))
    assert f"at {shown(name)}" in stream.getvalue()
    assert stream.getvalue().count(shown(name)) >= 2


def test_names_are_not_broken_at_80_columns(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(terminal.RESULTS, "_force_terminal", True)
    monkeypatch.setattr(terminal.RESULTS, "_width", 80)
    name = "vertebra_lumbalis_quinta_left"
    row = {"structure": name, "volume_error_cm3_median": 1.0, "n": 3, "n_failed": 0}
    row |= {f"{metric}_{kind}": 1.5 for metric in terminal.COLUMNS for kind in ("mean", "sd")}
    terminal.show_summary([row, row | {"structure": "mean"}], "report.html")
    assert name in stream.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "utf-16", "utf-8"])
def test_no_console_lacks_a_letter_that_ends_a_verb(encoding, tmp_path, monkeypatch):
    data = labelled(tmp_path / "data", ["Knie – Größe Δ", "ひざ"], ["Köpfchen Δ", "膝"])
    saved(data / "labelsTr" / "ひざ.nii.gz", np.zeros((12, 12, 4), np.uint8))
    for arguments in (
        ["check", data],
        ["evaluate", data / "labelsTr", data, "--out", tmp_path / "out"],
        ["runs", data],
        ["presets"],
        ["--help"],
        ["segment", "--help"],
        ["Δ"],
        ["mesh", tmp_path / "膝", "--out", tmp_path / "out"],
    ):
        console = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        errors = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        monkeypatch.setattr(sys, "stdout", console)
        monkeypatch.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        said = (errors.buffer.getvalue() + console.buffer.getvalue()).decode(encoding)
        assert ended.value.code in (0, 2), (arguments, said)
        assert said


def test_a_reader_who_leaves_ends_nothing(tmp_path, monkeypatch):
    data = labelled(tmp_path / "data", ["a", "b"])
    ends = []
    for stream in ("stdout", "stderr"):
        reader, writer = os.pipe()
        os.close(reader)
        ends.append(os.fdopen(writer, "w", encoding="utf-8"))
        monkeypatch.setattr(sys, stream, ends[-1])
        monkeypatch.setattr(terminal.ERRORS, "quiet", False)
        monkeypatch.setattr(terminal.RESULTS, "quiet", False)
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", str(data / "labelsTr"), str(data), "--out", str(tmp_path / stream)])
        assert ended.value.code == 0
        assert (tmp_path / stream / "metrics.csv").is_file()
    for end in ends:
        end.close()
