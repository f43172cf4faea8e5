"""Folders that are only read, and folders that two write into: nothing is lost, nothing doubled."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from condyle.config import Preparation
from condyle.config.requests import SegmentRequest
from condyle.core import Grid, LabelScheme, Volume
from condyle.io import write
from condyle.jobs.job import Job
from condyle.jobs.records import OutputFolder, read_manifest
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter
from condyle.workflows.segment import segment
from folders import contents

NAMES = [f"leg_{n}" for n in range(8)]
SCHEME = LabelScheme.of({"tibia": 1, "femur": 2})


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    network = build("unet-plain", 1, 3, "none")[0].eval()
    preprocessing = RecipePreprocessing(settings=Preparation())
    Segmenter("unet-plain", network, preprocessing, SCHEME).save(tmp_path / "run" / "segmenter")
    return tmp_path / "run"


@pytest.fixture
def scans(tmp_path):
    for number, name in enumerate(NAMES):
        array = np.random.default_rng(number).normal(size=(24, 20, 12)).astype(np.float32)
        volume = Volume(array, Grid.regular(array.shape, (1.0, 1.0, 2.0)), "MR")
        write(volume, tmp_path / "scans" / f"{name}.nii.gz")
    return tmp_path / "scans"


def seen(folder):
    """Every file and folder below one, and when it was changed."""
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def test_a_run_folder_is_only_read_while_it_segments(run, scans, tmp_path):
    before = seen(run)
    every = [run / "segmenter", run]
    for folder in every:
        folder.chmod(0o555)
    try:
        request = SegmentRequest(run=run, scans=[scans], out=tmp_path / "out", device="cpu")
        assert len(segment(request).written) == len(NAMES)
    finally:
        for folder in every:
            folder.chmod(0o755)
    assert seen(run) == before


def command(run, scans, out, *more):
    words = ["segment", run, scans, "--out", out, "--device", "cpu", "--runtime", "torch", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "condyle", *map(str, words)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_two_processes_that_segment_into_one_folder_share_the_scans(run, scans, tmp_path):
    request = SegmentRequest(run=run, scans=[scans], out=tmp_path / "alone", device="cpu",
                             runtime="torch")  # fmt: skip
    segment(request)
    out = tmp_path / "out"
    both = [command(run, scans, out, "--json") for _ in range(2)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    for stdout, _ in said:
        assert len(json.loads(stdout)["written"]) == len(NAMES)  # each knows of all
    assert contents(out) == contents(tmp_path / "alone")
    rows = [row["key"] for row in read_manifest(out) if row["key"] in NAMES]
    assert rows == NAMES


def test_a_process_beside_another_does_what_it_leaves_and_nothing_twice(run, scans, tmp_path):
    """One batch is held at its third scan: the other does all but that, then waits for it."""
    out, begun = tmp_path / "out", []
    request = SegmentRequest(run=run, scans=[scans], out=out, device="cpu", runtime="torch")
    other = []

    def on_progress(progress):
        if progress.stage == "segmenting" and progress.done >= 2 and not other:
            begun.extend(out.glob("*.nii.gz"))
            stamps.update({path: path.stat().st_mtime_ns for path in begun})
            other.append(command(run, scans, out))
            while len(list(out.glob("*.nii.gz"))) < len(NAMES) - 2 and other[0].poll() is None:
                pass

    stamps = {}
    done = segment(request, Job(on_progress=on_progress))
    stdout, stderr = other[0].communicate()
    assert other[0].returncode == 0, stderr
    assert f"{len(NAMES)} label maps" in stdout
    assert list(done.written) == NAMES
    assert begun
    assert {path: path.stat().st_mtime_ns for path in begun} == stamps
    records = OutputFolder(out, "segment").home / "records"
    assert sorted(path.stem for path in records.glob("*.json")) == NAMES


def test_another_process_with_other_settings_is_refused(run, scans, tmp_path):
    out, ended = tmp_path / "out", []
    request = SegmentRequest(run=run, scans=[scans], out=out, device="cpu", runtime="torch")

    def on_progress(progress):
        if progress.stage == "segmenting" and not ended:
            other = command(run, scans, out, "--flips", "all")
            _, stderr = other.communicate()
            ended.append((other.returncode, " ".join(stderr.split())))

    assert len(segment(request, Job(on_progress=on_progress)).written) == len(NAMES)
    ((code, said),) = ended
    assert code == 2
    assert "another process is writing into" in said
    assert "other settings (flips)" in said
    assert Path(out / "manifest.jsonl").exists()
