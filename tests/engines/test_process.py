"""Real child processes: those that end well, crash, hang, are killed, or lose their workers."""

import os
import sys
import time
from pathlib import Path

import pytest

from condyle.engines import process
from condyle.engines.process import CHILDREN, Child, fitted, require, versions
from condyle.errors import ConfigError, EngineFailed, MissingExtra, OutOfMemory

START = f"import os, signal, subprocess, sys, time\nsys.path.insert(0, {str(CHILDREN)!r})\n"
START += "from speech import run, say\n"

SLEEPER = "import pathlib, time; time.sleep(60); pathlib.Path('slept_to_the_end').touch()"
"""A process that outlives its parent, and leaves a file behind if nobody ends it."""


@pytest.fixture
def child(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a sleeper would leave its file

    def made(body, **rules):
        script = tmp_path / "script.py"
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        script.write_text(f"{START}def main(job):\n{lines}\nrun(main)\n")
        return Child("Engine", str(script), tmp_path / "work", interpreter=sys.executable, **rules)

    return made


def told_by(child, job=None):
    heard = []
    return child.run(job or {}, lambda *said: heard.append(said)), heard


def is_alive(pid, seconds=10.0):
    """Whether a process runs after so long; one that only waits to be noticed does not."""
    end = time.monotonic() + seconds  # a killed process takes a moment to end
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True


def test_a_child_gets_its_job_and_gives_its_result(child):
    done, heard = told_by(
        child("say('step', 0.5, 'half')\nreturn {'twice': 2 * job['n']}"), {"n": 4}
    )
    assert done == {"twice": 8}
    assert heard == [("step", 0.5, "half")]


def test_what_it_says_besides_is_kept_in_its_log(child, tmp_path):
    told_by(child("print('talk')\nsay('step')\nreturn {}"))
    assert (tmp_path / "work" / "engine.log").read_text().split() == ["talk"]


def test_a_crash_gives_its_reason_in_one_sentence(child):
    with pytest.raises(EngineFailed, match="Engine failed: ValueError: no such plan") as caught:
        told_by(child("print('before')\nraise ValueError('no such plan')"))
    assert caught.value.exit_code == 1
    assert "before" in caught.value.__notes__[0]
    assert "\n" not in str(caught.value)


def test_an_end_without_a_word_is_a_failure_too(child):
    with pytest.raises(EngineFailed, match="last words"):
        told_by(child("print('last words', flush=True)\nos._exit(0)"))


def test_one_that_is_killed_is_said_to_be_killed(child):
    with pytest.raises(EngineFailed, match=r"killed by the system.*memory ran out.*GiB"):
        told_by(child("os.kill(os.getpid(), signal.SIGKILL)"))


def test_one_that_the_system_ends_otherwise_is_named(child):
    with pytest.raises(EngineFailed, match="ended by SIGSEGV"):
        told_by(child("os.kill(os.getpid(), signal.SIGSEGV)"))


def test_one_that_hangs_is_stopped_with_all_it_started(child, tmp_path):
    body = (
        f"other = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
        "print(other.pid, flush=True)\nother.wait()"
    )
    with pytest.raises(EngineFailed, match="hung: it printed nothing"):
        told_by(child(body, idle=2.0))
    assert not (tmp_path / "slept_to_the_end").exists()
    pid = int((tmp_path / "work" / "engine.log").read_text())
    assert not is_alive(pid)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processor time is read from /proc")
def test_one_that_computes_silently_is_left_alone_for_longer(child):
    body = "end = time.monotonic() + 6\nwhile time.monotonic() < end: pass\nreturn {}"
    done, _ = told_by(child(body, idle=3.0))
    assert done == {}
    with pytest.raises(EngineFailed, match="hung"):
        told_by(child(body, idle=3.0, silent=2.0))


def test_processes_that_a_child_leaves_behind_are_ended(child, tmp_path):
    body = (
        f"other = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
        "print(other.pid, flush=True)\nreturn {}"
    )
    told_by(child(body))
    assert not (tmp_path / "slept_to_the_end").exists()
    assert not is_alive(int((tmp_path / "work" / "engine.log").read_text()))


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("One or more background workers are no longer alive. Exiting.", "lost one of its worker"),
        ("Some background worker is 6 feet under. Yuck.", "lost one of its worker"),
        ("CUDA out of memory. Tried to allocate 2 GiB", "too little memory on the GPU"),
    ],
)
def test_riddles_about_memory_are_translated(child, words, meaning):
    with pytest.raises(OutOfMemory, match=meaning):
        told_by(child(f"raise RuntimeError({words!r})"))


def test_a_budget_that_is_too_small_is_the_user_s_to_mend(child):
    body = "class TooLittleTime(Exception): pass\n"
    with pytest.raises(ConfigError, match="leaves 3 s for fitting: give more time"):
        told_by(child(body + "raise TooLittleTime('a budget of 10 s leaves 3 s for fitting')"))


def test_an_engine_that_is_not_installed_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setattr(process, "versions", lambda _: {})
    with pytest.raises(MissingExtra, match=r"nnunetv2 is not installed: pip install 'condyle"):
        require("nnunetv2")


def test_another_python_may_have_the_engines(monkeypatch, tmp_path):
    monkeypatch.setenv("CONDYLE_ENGINES_PYTHON", sys.executable)
    assert "torch" in versions(process.python())
    monkeypatch.setenv("CONDYLE_ENGINES_PYTHON", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="is not a Python interpreter that runs"):
        require("nnunetv2")


def test_workers_fit_the_machine_and_what_the_user_set_is_honoured():
    found = fitted({}, "cpu")
    assert found["nnUNet_n_proc_DA"] == "0"
    assert 1 <= int(found["nnUNet_def_n_proc"]) <= (os.cpu_count() or 1)
    assert fitted({"nnUNet_n_proc_DA": "5"}, "cpu")["nnUNet_n_proc_DA"] == "5"
