"""Two jobs at the same time in one process: each is as it is alone."""

import json
import re
import threading

import numpy as np
import pytest

from balls import balls
from condyle.config.requests import SegmentRequest, TrainRequest
from condyle.core import Grid, Volume
from condyle.io import write
from condyle.jobs.job import Job
from condyle.workflows.segment import segment
from condyle.workflows.training.train import train
from folders import contents

TIMES = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} "
MEASURED = {"seconds", "seconds_a_case", "peak_memory_gib", "time"}
"""What the clock and the memory of the machine say differs from run to run, alone or not."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two data sets, and scans to segment."""
    home = tmp_path_factory.mktemp("data")
    for name in ("ball", "marble"):
        balls(home / name, name)
        for number in range(3):
            drawn = np.random.default_rng(len(name) + number)
            scan = drawn.normal(50, 30, (24, 24, 16)).astype(np.float32)
            if number == 1:
                scan[0, 0, 0] = np.nan  # which is warned of
            file = home / f"scans_{name}" / f"{name}_{number}.nii.gz"
            write(Volume(scan, Grid.regular(scan.shape), "MR"), file)
    return home


def training(data, out, name):
    """A training in two epochs, of two steps each; its fold leaves no validation case."""
    job = Job()
    network = {"ball": "3d:unet-plain", "marble": "unet-plain"}[name]
    request = TrainRequest(
        dataset=data / name / "balls", network=network, epochs=2, batch=2, device="cpu",
        out=out / name, seed=len(name), settings={"training": {"steps": 2}},
    )  # fmt: skip
    train(request, job)
    return [(w.about, w.sentence) for w in job.warnings]


def segmenting(data, runs, out, name):
    job = Job()
    request = SegmentRequest(
        run=runs / name, scans=[data / f"scans_{name}"], out=out / name, device="cpu",
        runtime="torch", flips="left-right",
    )  # fmt: skip
    with_log = job.logged(out / f"{name}.log")
    with with_log:
        segment(request, job)
    return [(w.about, w.sentence) for w in job.warnings]


def at_once(work, *args):
    """What the work gives for both names, done in two threads."""
    found, gate = {}, threading.Barrier(2)

    def run(name):
        gate.wait()
        found[name] = work(*args, name)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("ball", "marble")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def stable(files, home):
    """Files without what differs from run to run: times, and the folder that they are in."""
    found = {}
    for name, content in files.items():
        if name.endswith((".png", ".nii.gz", ".safetensors")):
            found[name] = content
            continue
        text = content.decode().replace(str(home), "HOME")
        if name.endswith((".txt", ".log")):
            text = re.sub(TIMES, "", text)
            text = re.sub(r"plan: a step of .*", "plan: a step takes some time", text)
        if name == "history.csv":
            rows = [line.split(",") for line in text.splitlines()]
            kept = [at for at, column in enumerate(rows[0]) if column not in MEASURED]
            text = "\n".join(",".join(row[at] for at in kept) for row in rows)
        if name == "run.json":
            text = json.dumps({k: v for k, v in json.loads(text).items() if k not in MEASURED})
        found[name] = text
    return found


SEPARATE = ("environment.json", "curves.png", "report.html", ".condyle", "checkpoints")
"""Compared by themselves, or made of times: the curves and the page hold
minutes, the records their hashes."""


def same(one, other, home, other_home):
    first, second = stable(contents(one), home), stable(contents(other), other_home)
    names = {name for name in {*first, *second} if not name.startswith(SEPARATE)}
    assert {name for name in names if first.get(name) != second.get(name)} == set()
    assert len(names) > 3


def page(report, home):
    """The page's text, numbers of time and memory left out."""
    text = report.read_text().replace(str(home), "HOME")
    text = re.sub(r"data:image/[^\"]+", "PICTURE", text)
    return re.sub(r"[\d.,:]+( ?(s|min|h|GiB|MiB|ms))?", "N", text)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    home = tmp_path_factory.mktemp("alone")
    return home, {name: training(data, home, name) for name in ("ball", "marble")}


def test_two_trainings_are_each_as_alone(data, alone, tmp_path):
    home, warnings = alone
    found = at_once(training, data, tmp_path)
    assert found == warnings
    for name in ("ball", "marble"):
        same(tmp_path / name, home / name, tmp_path, home)
        pages = [page(place / name / "report.html", place) for place in (tmp_path, home)]
        assert pages[0] == pages[1]


def test_two_batches_of_scans_are_each_as_alone(data, alone, tmp_path):
    runs, _ = alone
    one, two = tmp_path / "one", tmp_path / "two"
    warnings = {name: segmenting(data, runs, one, name) for name in ("ball", "marble")}
    assert [about for about, _ in warnings["ball"]] == ["ball_1"]
    assert at_once(segmenting, data, runs, two) == warnings
    same(two, one, two, one)
