"""A full disk, a kill or a failed check leaves what was there before, and no debris."""

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from condyle.core import Grid, Volume
from condyle.errors import GeometryError, OutputError
from condyle.io import atomic_write, paths, read, write, write_text
from condyle.jobs.outputs import (
    PICTURES,
    SCANS,
    atomic_folder,
    linked,
    protected,
    remove_temporaries,
    require_free,
    write_bytes,
    write_json,
    written_together,
)
from small_disk import small_disk

ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
SHAPE = (3, 4, 5)


def a_scan(number):
    return Volume(np.full(SHAPE, number, np.int16), Grid.regular(SHAPE))


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("ending", sorted({*paths.ENDINGS, *SCANS, *PICTURES}))
def test_no_result_lies_beside_a_scan_under_its_name(tmp_path, ending):
    """Of whatever ending it can be read: the next run would find two scans of one name."""
    assert ending in paths.ENDINGS
    scan = tmp_path / f"leg{ending}"
    scan.touch()
    is_picture = paths.ENDINGS[ending] == "picture"
    beside = "leg.nrrd" if ending == ".nii.gz" else "leg.nii.gz"
    other = "leg.tif" if ending == ".png" else "leg.png"
    with protected([scan]):
        with pytest.raises(OutputError, match="one of the inputs, or would lie"):
            require_free(tmp_path / (other if is_picture else beside))
        require_free(tmp_path / (beside if is_picture else other))  # a picture of a scan


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_the_old_scan(tmp_path, monkeypatch, ending):
    path = write(a_scan(1), tmp_path / f"scan{ending}")
    before = sorted(p.name for p in tmp_path.iterdir())
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match="No space left on device"):
        write(a_scan(2), path)
    monkeypatch.undo()
    assert (read(path).array == 1).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_whichever_step_fails_there_is_never_a_mix(tmp_path, monkeypatch, ending, failing):
    real = getattr(os, failing)
    for step in range(1, 8):
        path = write(a_scan(1), tmp_path / f"scan{ending}")
        calls = [0]

        def flaky(*args, calls=calls, step=step):
            calls[0] += 1
            if calls[0] == step:
                full_disk()
            return real(*args)

        monkeypatch.setattr(os, failing, flaky)
        try:
            write(a_scan(2), path)
            done = True
        except OutputError:
            done = False
        monkeypatch.undo()
        if path.exists():
            values = set(np.unique(read(path).array).tolist())
            assert values in ({1}, {2})
            assert not done or values == {2}
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
        if calls[0] < step:
            return
    pytest.fail("there are more steps than this test fails")


def test_a_check_that_fails_leaves_the_old_file(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")

    def check(_):
        raise OutputError("it is not right")

    with pytest.raises(OutputError, match="not right"), atomic_write(path, check) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def write_half(path, error):
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [(GeometryError("no such grid"), OutputError, "was not written: no such grid"),
     (TypeError("oops"), OutputError, r"not be written \(oops\); what stood there is unchanged"),
     (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop")],
)  # fmt: skip
def test_whatever_a_writer_raises_the_old_file_stays(tmp_path, error, kind, words):
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(kind, match=words):
        write_half(path, error)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


NO_PLACE = {
    "": "is not the name of a file",
    "folder": "is a folder: give the name of a file",
    "pipe": "is a device or pipe, not a file",
    "link": "is a link to nothing: remove it first",
    "file/a.txt": r"cannot be written \(Not a directory\)",
    "nul\0": r"cannot be written \(embedded null byte\)",
    "/proc/nothing/a.txt": "/proc/nothing cannot be made",
}


@pytest.mark.parametrize("name", NO_PLACE)
def test_what_is_no_place_for_a_file_is_said(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match=NO_PLACE[name]):
        write_text(tmp_path / name if name else Path(), "new")
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "file").read_text() == "mine"


def write_all(contents, blocked=None, manifest=None):
    """Write files together, one of which another program meanwhile makes a folder of."""
    with written_together(manifest):
        for path, content in contents.items():
            write_bytes(path, content)
        if blocked is not None:
            blocked.mkdir()


def test_of_files_written_together_none_is_changed_where_one_does_not_fit(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        table = write_text(disk / "table.csv", "old")
        with pytest.raises(OutputError, match=r"all.npz .*No space left"):
            write_all({table: b"new", disk / "all.npz": bytes(100_000)})
        assert table.read_text() == "old"
        assert list(disk.iterdir()) == [table]


def test_of_files_written_together_those_that_were_changed_are_named(tmp_path):
    first, second, third = (tmp_path / f"{n}.txt" for n in (1, 2, 3))
    with pytest.raises(OutputError, match=r"2\.txt could not .*; written anew were 1\.txt$"):
        write_all(dict.fromkeys((first, second, third), b"new"), blocked=second)
    assert sorted(tmp_path.iterdir()) == [first, second]
    with pytest.raises(OutputError, match=r"2\.txt could not .*; nothing was changed$"):
        write_all({first: b"newer"}, manifest=second)
    assert first.read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [first, second]


def fill_folder(path, size):
    with atomic_folder(path) as building:
        (building / "image.nii").write_bytes(bytes(size))


def test_a_folder_is_whole_or_absent(tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", "64k") as disk:
        (disk / "data").mkdir()
        with pytest.raises(OutputError, match=r"No space left.*nothing was changed"):
            fill_folder(disk / "data", 100_000)
        assert list(disk.iterdir()) == [disk / "data"]
    for taken, words in ((tmp_path, "is not empty"), (tmp_path / "a.txt", "is not a new folder")):
        (tmp_path / "a.txt").write_text("mine")
        with pytest.raises(OutputError, match=words):
            fill_folder(taken, 8)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    fill_folder(Path(), 8)
    assert (tmp_path / "here" / "image.nii").read_bytes() == bytes(8)
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", "disk", "here"}


def test_a_second_name_on_another_disk_is_a_copy(tmp_path):
    one = write_text(tmp_path / "one.txt", "the same")
    linked(one, tmp_path / "two.txt")
    assert (tmp_path / "two.txt").samefile(one)
    with small_disk(tmp_path / "disk", "64k") as disk:
        linked(one, disk / "two.txt")
        assert (disk / "two.txt").read_text() == "the same"
        assert [p.name for p in disk.iterdir()] == ["two.txt"]


def test_half_a_folder_of_a_killed_process_is_removed_and_one_in_the_making_is_not(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from condyle.jobs.outputs import atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1])) as half:\n"
        "    (half / 'a.txt').write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "data")], check=False)
    (half,) = tmp_path.iterdir()
    assert (half / "a.txt").read_text() == "half"
    with atomic_folder(tmp_path / "own") as building:
        remove_temporaries(tmp_path)
        assert list(tmp_path.iterdir()) == [building]
    assert [p.name for p in tmp_path.iterdir()] == ["own"]


def test_half_files_of_a_killed_process_that_nobody_has_asked_for_are_removed(tmp_path):
    code = "from condyle.jobs.outputs import _temporary; print(_temporary(__import__('pathlib')"
    code += f".Path({str(tmp_path)!r}) / 'a.json'), flush=True); __import__('time').sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    half = Path(child.stdout.readline().strip())
    half.write_text("{")
    remove_temporaries(tmp_path)
    assert half.exists()  # it is at work
    child.kill()
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    remove_temporaries(tmp_path)
    assert not half.exists()
    child.wait()
    child.stdout.close()


def test_json_holds_paths_numbers_and_tables_of_other_kinds(tmp_path):
    tree = {"path": Path("a"), "n": np.float32(0.5), "table": MappingProxyType({"b": 1})}
    path = write_json(tmp_path / "tree.json", tree)
    assert json.loads(path.read_text()) == {"path": "a", "n": 0.5, "table": {"b": 1}}
