"""Trainings that are killed, and go on: the weights in the end are those of one left in peace."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import condyle
from balls import balls
from condyle.errors import CondyleError

KILLS = [pytest.param(1), pytest.param(10, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return balls(tmp_path_factory.mktemp("data"))


def command(dataset, out, *before, epochs=6):
    return [
        sys.executable, *before, "-m", "condyle", "train", str(dataset), "--out", str(out),
        "--network", "3d:unet-plain", "--epochs", str(epochs), "--batch", "2", "--resume",
        "--device", "cpu",
    ]  # fmt: skip


def started(words, log):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        return subprocess.Popen(
            words, env=environment, stdout=stream, stderr=stream, start_new_session=True,
            preexec_fn=hears_ctrl_c,
        )  # fmt: skip


def hears_ctrl_c():
    """A shell tells what it starts in the background to ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(path, process, log):
    while not path.exists():
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)


def weights(run):
    return (run / "segmenter" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def in_peace(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("peace") / "run"
    log = out.with_name("log.txt")
    process = started(command(dataset, out), log)
    wait_for(out / "checkpoints" / "last.safetensors", process, log)
    begun = time.monotonic()
    assert process.wait() == 0, log.read_text()
    return out, time.monotonic() - begun


@pytest.mark.parametrize("kills", KILLS)
def test_killed_at_random_moments_it_ends_with_the_same_weights(dataset, in_peace, tmp_path, kills):
    whole, seconds = in_peace
    moments = random.Random(0)
    out, log = tmp_path / "run", tmp_path / "log.txt"
    for _ in range(kills):
        process = started(command(dataset, out), log)
        wait_for(out / "checkpoints" / "last.safetensors", process, log)
        time.sleep(moments.uniform(0, seconds / kills))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process = started(command(dataset, out), log)
    assert process.wait() == 0, log.read_text()
    assert weights(out) == weights(whole)


def test_ctrl_c_says_where_it_stopped_and_how_to_go_on(dataset, tmp_path):
    out, log = tmp_path / "run", tmp_path / "log.txt"
    process = started(command(dataset, out, epochs=500), log)
    wait_for(out / "checkpoints" / "last.safetensors", process, log)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130, log.read_text()
    said = log.read_text().splitlines()[-1]
    way_on = f"go on: condyle train --out {out} --resume"
    assert re.fullmatch(rf"condyle: stopped in epoch \d+; {way_on}", said), said
    assert "Automatic Mixed Precision" not in log.read_text()
    with pytest.raises(CondyleError, match=r"not finished.*condyle train --out .* --resume"):
        condyle.load(out)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_end_with_the_same_weights(dataset, tmp_path):
    def run(out, kill):
        torchrun = ["-m", "torch.distributed.run", "--standalone"]
        torchrun += ["--nproc-per-node", "2", "--max-restarts", "3"]
        log = out.with_suffix(".log")
        process = started(command(dataset, out, *torchrun), log)
        if kill:
            wait_for(out / "checkpoints" / "last.safetensors", process, log)
            time.sleep(1)
            os.kill(workers(process.pid)[-1], signal.SIGKILL)
        assert process.wait() == 0, log.read_text()

    run(tmp_path / "whole", kill=False)
    run(tmp_path / "cut", kill=True)
    assert weights(tmp_path / "whole") == weights(tmp_path / "cut")


COMPARED = """
dataset = {data!r}
folds = [0, 1]
settings.training = {{epochs = 4, steps = 5, batch = 2}}
models.one.network = {{name = "3d:unet-plain", weights = "none"}}
models.other.network = {{name = "unet-plain", weights = "none"}}
"""


@pytest.mark.slow
def test_a_comparison_killed_at_random_moments_repeats_no_finished_training(dataset, tmp_path):
    asked, out, log = tmp_path / "models.toml", tmp_path / "out", tmp_path / "log.txt"
    asked.write_text(COMPARED.format(data=str(dataset)))
    words = [sys.executable, "-m", "condyle", "compare", str(asked), "--out", str(out)]
    moments = random.Random(1)
    finished = {}
    for kill in (*[True] * 8, False):
        process = started(words, log)
        if kill:
            wait_for(out / "comparison.json", process, log)
            time.sleep(moments.uniform(0, 12))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            assert process.wait() == 0, log.read_text()
        for path in out.glob("runs/*/run.json"):
            first = finished.setdefault(path, path.stat().st_mtime_ns)
            assert path.stat().st_mtime_ns == first, f"{path} was made again"
    assert len(finished) == 4
    assert (out / "report.html").is_file()


def workers(parent):
    """Process numbers of a process's children, in the order they were started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(int(child) for child in children)
