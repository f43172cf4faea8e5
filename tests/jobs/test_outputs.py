"""A full disk, a kill or a failed check leaves what was there before, and no debris."""

import errno
import os

import numpy as np
import pytest

from condyle.core import Grid, Volume
from condyle.errors import OutputError
from condyle.io import atomic_write, read, write, write_text

ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
SHAPE = (3, 4, 5)


def a_scan(number):
    return Volume(np.full(SHAPE, number, np.int16), Grid.regular(SHAPE))


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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
