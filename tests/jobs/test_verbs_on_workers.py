"""The batches of Condyle by three processes: the files are those of one process, byte by byte."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from condyle.config import Preparation
from condyle.config.requests import (
    EvaluateRequest,
    FeaturesRequest,
    ImportRequest,
    MeshRequest,
    RefineRequest,
    SegmentRequest,
)
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.io import write
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.workflows.evaluate import evaluate
from condyle.workflows.features import features_of_scans
from condyle.workflows.importing.import_scans import import_scans
from condyle.workflows.mesh import mesh
from condyle.workflows.refine import refine
from condyle.workflows.segment import segment
from folders import contents

NAMES = [f"leg_{n:02d}" for n in range(12)]
SCHEME = LabelScheme.of({"tibia": 1, "femur": 2})
GRID = Grid.regular((20, 18, 16), (1.0, 1.0, 2.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve scans, their labels, labels that are a little off, and a run folder."""
    home = tmp_path_factory.mktemp("data")
    torch.manual_seed(0)
    network = build("unet-plain", 1, 3, "none")[0].eval()
    segmenter = Segmenter(
        "unet-plain", network, RecipePreprocessing(settings=Preparation()), SCHEME
    )
    segmenter.save(home / "run" / "segmenter")
    for number, name in enumerate(NAMES):
        drawn = np.random.default_rng(number)
        labels = np.zeros(GRID.shape, np.uint8)
        i, j, k = drawn.integers(1, 4, 3)
        labels[i : i + 7, j : j + 8, k : k + 9] = 1
        labels[i + 8 : i + 15, j : j + 8, k : k + 9] = 2
        scan = (labels * 50 + drawn.normal(0, 10, GRID.shape)).astype(np.float32)
        off = np.roll(labels, 1, axis=2)
        off[0, 0, 0] = 1
        write(Volume(scan, GRID, "MR"), home / "scans" / f"{name}.nii.gz")
        for folder, array in (("labels", labels), ("found", off)):
            write(LabelMap(array, GRID, SCHEME), home / folder / f"{name}.nii.gz")
    return home


VERBS = {
    "segment": lambda data, out, on: segment(
        SegmentRequest(run=data / "run", scans=[data / "scans"], out=out, on=on, device="cpu",
                       runtime="torch")
    ),
    "evaluate": lambda data, out, on: evaluate(
        EvaluateRequest(predictions=data / "found", labels=data / "labels", out=out, on=on)
    ),
    "mesh": lambda data, out, on: mesh(
        MeshRequest(labelmaps=[data / "labels"], out=out, on=on, format="obj")
    ),
    "refine": lambda data, out, on: refine(
        RefineRequest(labelmaps=[data / "found"], out=out, on=on, keep_largest=1)
    ),
    "import": lambda data, out, on: import_scans(
        ImportRequest(scans=[data / "scans"], masks=[data / "labels"], out=out / "legs", on=on,
                      split="5-fold")
    ),
    "features": lambda data, out, on: features_of_scans(
        FeaturesRequest(scan=data / "scans", labelmap=data / "labels", out=out / "table.csv", on=on,
                        encoder="mobilenetv3", weights="none", permutations=0, spacing=4.0,
                        device="cpu", runtime="torch")
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """Verb -> the files that one process writes."""
    made = {}

    def by_one(verb):
        if verb not in made:
            out = tmp_path_factory.mktemp(verb) / "out"
            VERBS[verb](data, out, "local:1")
            made[verb] = contents(out)
        return made[verb]

    return by_one


def differing(one, other):
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


@pytest.mark.parametrize("verb", VERBS)
def test_three_processes_write_what_one_writes(data, alone, tmp_path, verb):
    VERBS[verb](data, tmp_path / "out", "local:3")
    found = contents(tmp_path / "out")
    assert len(found) > (3 if verb == "import" else 12)
    assert differing(found, alone(verb)) == []


def workers():
    """The processes that this one has started to do tasks."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            words = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and b"condyle.jobs.worker" in words:
            found.append(int(status.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("verb", ["segment"])
def test_a_process_that_is_killed_in_the_middle_costs_nothing(data, alone, tmp_path, verb):
    out = tmp_path / "out"
    batch = threading.Thread(target=VERBS[verb], args=(data, out, "local:3"))
    batch.start()
    while batch.is_alive() and not list(out.glob("*.nii.gz")):
        time.sleep(0.005)
    victim = next(iter(workers()))
    os.kill(victim, signal.SIGKILL)
    batch.join()
    assert differing(contents(out), alone(verb)) == []
