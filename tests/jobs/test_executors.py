"""Processes that do tasks: errors travel, the dead are replaced, nothing strange is run."""

import os
import signal
import time

import pytest

import deadly
from condyle.config import seconds
from condyle.errors import Cancelled, ConfigError, UnknownName, WorkerDied
from condyle.jobs.batch import run_batch
from condyle.jobs.executors import LocalProcesses, executor_for
from condyle.jobs.job import Job
from deadly import DeadlyRequest
from folders import contents


@pytest.fixture(scope="module")
def executor():
    with LocalProcesses(1) as made:
        yield made


def test_results_and_errors_travel(executor):
    assert executor.submit(divmod, 7, 3).result() == (2, 1)
    with pytest.raises(ZeroDivisionError):
        executor.submit(divmod, 7, 0).result()
    with pytest.raises(ValueError, match="is not a duration"):
        executor.submit(seconds, "soon").result()
    assert executor.submit(divmod, 7, 3).result() == (2, 1)


def test_our_errors_travel_with_their_setting(executor):
    error = UnknownName("plane", "axail", ["axial"])
    got = executor.submit(deadly.same, error).result()
    assert (type(got), str(got)) == (UnknownName, str(error))
    got = executor.submit(deadly.same, ConfigError("no", setting="a.b", hint="so")).result()
    assert (str(got), got.setting, got.hint) == ("no: so", "a.b", "so")


def test_an_error_that_cannot_travel_sends_its_words(executor):
    with pytest.raises(RuntimeError, match="cold twice"):
        executor.submit(deadly.unlucky, "cold").result()


def test_what_cannot_be_sent_is_an_error_of_its_call_alone(executor):
    with pytest.raises(Exception, match=r"pickle|local"):
        executor.submit(lambda: 1).result()
    assert executor.submit(divmod, 7, 3).result() == (2, 1)


def test_what_is_printed_does_not_come_between_the_answers(executor, capfd):
    assert executor.submit(print, "hello").result() is None
    assert executor.submit(os.write, 1, b"bare\n").result() == 5
    assert executor.submit(divmod, 7, 3).result() == (2, 1)


def test_a_process_that_is_killed_is_replaced_and_its_call_given_up_after_three(executor):
    first = executor.submit(os.getpid).result()
    with pytest.raises(WorkerDied, match=r"died 3 times \(signal 9\)"):
        executor.submit(signal.raise_signal, signal.SIGKILL).result()
    assert executor.submit(os.getpid).result() != first


def test_nothing_is_taken_after_the_end():
    executor = LocalProcesses(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(divmod, 7, 3)


def test_what_has_not_begun_can_be_cancelled():
    executor = LocalProcesses(1)
    running, *waiting = [executor.submit(time.sleep, 1) for _ in range(3)]
    while not running.running():
        time.sleep(0.01)
    executor.shutdown(cancel_futures=True)
    assert running.result() is None
    assert all(future.cancelled() for future in waiting)


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_what_runs_ends_at_once_where_the_batch_is_interrupted(handler):
    """Also where the shell has Ctrl-C ignored, and before the process has begun to listen."""
    before, begun = signal.signal(signal.SIGINT, handler), []
    try:
        with pytest.raises(KeyboardInterrupt), executor_for("local:2") as executor:
            interrupt_while(executor.submit(time.sleep, 60), begun)
    finally:
        signal.signal(signal.SIGINT, before)
    (future,) = begun
    with pytest.raises(WorkerDied, match="was ended"):
        future.result()


def interrupt_while(future, begun):
    begun.append(future)
    while not future.running():
        time.sleep(0.01)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("on", "error", "words"),
    [
        ("cluster", UnknownName, "Known: local:N"),
        ("local", ConfigError, "how many processes"),
        ("local:0", ConfigError, "how many processes"),
    ],
)
def test_where_work_cannot_run_is_said(on, error, words):
    with pytest.raises(error, match=words), executor_for(on):
        pass


def test_modules_in_the_working_directory_are_not_run(tmp_path, monkeypatch):
    for name in ("isal", "random", "condyle", "numpy", "pydantic"):
        (tmp_path / f"{name}.py").write_text(f"open('{tmp_path}/trapped', 'w')")
    monkeypatch.chdir(tmp_path)
    with LocalProcesses(1) as executor:
        assert executor.submit(deadly.imported, ("isal", "random", "numpy")).result()
    assert not (tmp_path / "trapped").exists()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What the batch gives in one process."""
    out = tmp_path_factory.mktemp("alone")
    job = Job()
    assert run_batch(deadly.BATCH, DeadlyRequest(out=out), job) == {}
    return contents(out), sorted((w.about, w.sentence) for w in job.warnings)


def deadly_batch(tmp_path, **more):
    (tmp_path / "marks").mkdir()
    request = DeadlyRequest(out=tmp_path / "out", on="local:3", marks=tmp_path / "marks", **more)
    job = Job()
    with job.active():
        return run_batch(deadly.BATCH, request, job), contents(tmp_path / "out"), job


@pytest.mark.parametrize("deaths", [{}, {"deadly": "e", "times": 1}])
def test_three_processes_give_the_bytes_of_one_also_if_one_is_killed(alone, tmp_path, deaths):
    failed, found, job = deadly_batch(tmp_path, **deaths)
    files, warnings = alone
    assert failed == {}
    assert found == files
    assert sorted((w.about, w.sentence) for w in job.warnings) == warnings
    assert len(list((tmp_path / "marks").iterdir())) == len(deaths) // 2


def test_a_task_that_always_kills_is_named_and_the_others_finish(alone, tmp_path):
    failed, found, _ = deadly_batch(tmp_path, deadly="e")
    assert list(failed) == ["e"]
    assert "killed each time" in failed["e"]
    files, _ = alone
    assert files.keys() - found.keys() == {"e.txt"}
    assert {k: v for k, v in found.items() if k.endswith(".txt")}.items() <= files.items()
    assert len(list((tmp_path / "marks").iterdir())) == 2


def test_a_task_that_fails_is_named_alike_by_one_process_and_by_three(tmp_path):
    found = {}
    for on in ("local:1", "local:3"):
        out = tmp_path / on
        failed = run_batch(deadly.BATCH, DeadlyRequest(out=out, on=on, wrong="c"), Job())
        assert failed == {"c": "c is wrong"}
        found[on] = contents(out)
    assert found["local:1"] == found["local:3"]


@pytest.mark.parametrize("on", ["local:1", "local:2"])
def test_a_batch_that_is_interrupted_is_no_failure_of_its_tasks(tmp_path, on):
    """However often: only a process that is killed counts as a try."""
    request = DeadlyRequest(out=tmp_path / "out", on=on, names=("a", "b", "c"), resume=True)
    for stop in (KeyboardInterrupt, KeyboardInterrupt, Cancelled):

        def on_progress(progress, stop=stop):
            raise stop

        with pytest.raises(stop):
            run_batch(deadly.BATCH, request, Job(on_progress=on_progress))
        assert not list((tmp_path / "out").rglob("*.tries"))
    assert run_batch(deadly.BATCH, request, Job()) == {}


def test_a_cancelled_job_ends_before_the_task_that_is_computed(tmp_path):
    job = Job()
    job.cancel()
    with pytest.raises(Cancelled):
        run_batch(deadly.BATCH, DeadlyRequest(out=tmp_path / "out", on="local:2"), job)
    assert not list((tmp_path / "out").glob("*.txt"))
