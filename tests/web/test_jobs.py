"""Jobs of the page: real processes, whose states stay true whatever becomes of the server."""

import hashlib
import json
import os
import signal
import time

import pytest

from condyle.app.cli.main import main
from condyle.io import write
from condyle.phantom import leg


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    for seed in (7, 8, 9):
        write(leg(seed, spacing=(8, 8, 24))[0], folder / f"leg_{seed}.nii.gz")
    return folder


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    """The verb runs in this process: a restart would replace pytest itself, with exit code 0."""
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


def picked(server, *names):
    things = server.ask("/api/catalogue?kind=scan")[2]
    return [f"id:{one['id']}" for one in things if one["name"] in names]


def events(server, job, after=0):
    """The events of a job that is over, each with its number."""
    status, headers, text = server.ask(
        f"/api/jobs/{job}/events", headers={"Last-Event-ID": str(after)}
    )
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    found = []
    for block in text.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "id" in lines:
            found.append((int(lines["id"]), json.loads(lines["data"])))
    return found


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.nii.gz")}


def test_a_segmentation_gives_the_bytes_of_the_shell(serve, small_run, scans, tmp_path):
    server = serve(small_run.parent, scans)
    run = f"id:{server.found('run')}"
    names = ("leg_7.nii.gz", "leg_8.nii.gz")
    job = server.add("segment", run=run, scans=picked(server, *names), out="labels", raw=True)
    done = server.wait_for(job, "done", "failed")
    assert done["state"] == "done", done["sentence"]
    assert done["result"]["failed"] == {}
    out = server.workspace / "results" / "labels"
    with pytest.raises(SystemExit) as ended:
        main(["segment", str(small_run), *(str(scans / n) for n in names), "--out",
              str(tmp_path / "shell"), "--raw"])  # fmt: skip
    assert not ended.value.code
    assert hashes(out) == hashes(tmp_path / "shell")
    assert set(hashes(out)) == set(names)
    said = events(server, job)
    assert [number for number, _ in said] == list(range(1, len(said) + 1))
    parts = [e["part"] for _, e in said if e["event"] == "progress" and e["stage"] == "segmenting"]
    assert parts == sorted(parts)
    assert parts[-1] == 1
    assert said[-1][1]["event"] == "done"
    later = events(server, job, after=len(said) - 2)
    assert [number for number, _ in later] == [len(said) - 1, len(said)]
    cases = server.ask(f"/api/review/{done['out']}")[2]
    assert [case["case"] for case in cases] == ["leg_7", "leg_8"]
    assert all(case["scan"] for case in cases)


def test_jobs_wait_for_each_other_and_fail_with_their_sentence(serve, small_run, scans):
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    server = serve(small_run.parent, scans)
    run = f"id:{server.found('run')}"
    first = server.add("segment", run=run, scans=picked(server, "leg_7.nii.gz"), out="a")
    second = server.add("segment", run=run, scans=picked(server, "broken.nii.gz"), out="b")
    third = server.add("segment", run=run, scans=picked(server, "leg_8.nii.gz"), out="c")
    server.wait_for(first, "running")
    assert [server.state(job) for job in (second, third)] == ["waiting", "waiting"]
    assert server.ask(f"/api/jobs/{third}/cancel", {})[2] == {"state": "cancelled"}
    failed = server.wait_for(second, "failed")
    assert "broken" in failed["sentence"]
    assert "Traceback" not in failed["sentence"]
    assert server.state(third) == "cancelled"
    assert not (server.workspace / "results" / "c").exists()
    rows = server.ask("/api/jobs")[2]
    assert [row["id"] for row in rows] == [third, second, first]
    (server.workspace / ".condyle/page/jobs.sqlite").write_bytes(b"damaged")
    assert server.ask("/api/jobs")[2] == rows
    assert server.ask(f"/api/jobs/{third}/retry", {})[0] == 200
    assert server.wait_for(third, "done")["state"] == "done"


TINY = """
network.name = "unet-plain"
preparation.size = 32
training = {epochs = 40, steps = 30, batch = 4, rate = 5e-3, ema = 0.9}
"""


def test_a_training_outlives_its_server_and_goes_on_after_being_stopped(serve, data):
    (data / "tiny.toml").write_text(TINY)
    server = serve(data)
    settings = {"dataset": f"id:{server.found('dataset')}", "network": "unet-plain",
                "epochs": 60, "batch": 4, "out": "legs"}  # fmt: skip
    job = server.add("train", **settings)
    run = server.workspace / "runs" / "legs"
    wait_until(lambda: (run / "history.csv").is_file())
    server.stop(hard=True)
    again = serve(data, workspace=server.workspace, login=False)
    again.cookie = server.cookie  # a reload in the same browser
    assert again.state(job) == "running"
    (row,) = again.ask("/api/jobs")[2]
    assert row["progress"]["stage"]
    history = again.ask(f"/api/history/{again.ask(f'/api/jobs/{job}')[2]['out']}")[2]
    assert history[0]["loss"] > 0
    assert again.ask(f"/api/jobs/{job}/cancel", {})[2]["state"] == "cancelled"
    assert not any(p.name.startswith(".writing") for p in run.rglob("*"))
    epochs = len((run / "history.csv").read_text().splitlines())
    again.ask(f"/api/jobs/{job}/retry", {})
    again.wait_for(job, "running")
    wait_until(lambda: len((run / "history.csv").read_text().splitlines()) > epochs)
    pid = json.loads((again.workspace / "jobs" / job / "process.json").read_text())["pid"]
    os.killpg(pid, signal.SIGKILL)  # the power fails
    assert again.wait_for(job, "stopped")["state"] == "stopped"


def wait_until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_one_workspace_has_one_server(serve, capsys):
    server = serve()
    with pytest.raises(SystemExit) as ended:
        main(["serve", str(server.workspace), "--port", "0"])
    assert ended.value.code == 2
    assert "another `condyle serve`" in capsys.readouterr().err.replace("'", "`")


def test_a_dicom_folder_becomes_a_scan_with_a_picture(serve, shared):
    folder = shared / "dicom_robustness" / "dcmqi" / "segmentations" / "ct-3slice"
    server = serve()
    identity = server.ask("/api/uploads", {"name": "CT"})[2]["id"]
    for file in sorted(folder.iterdir()):
        server.ask(f"/api/uploads/{identity}?name={file.name}", file.read_bytes(), "PUT")
    (one,) = server.ask(f"/api/uploads/{identity}/end", {})[2]
    assert one["kind"] == "scan"
    status, headers, png = server.ask(f"/api/slices/{one['id']}.png?plane=axial")
    assert (status, headers["content-type"], png[:4]) == (200, "image/png", b"\x89PNG")
    status, headers, _ = server.ask(f"/api/volumes/{one['id']}.nii.gz")
    assert (status, headers["x-condyle-step"]) == (200, "1")
    tag = {"If-None-Match": headers["etag"]}
    assert server.ask(f"/api/volumes/{one['id']}.nii.gz", headers=tag)[0] == 304


def test_verdicts_are_kept_in_a_table_beside_the_label_maps(serve, small_run, scans):
    server = serve(small_run.parent, scans)
    job = server.add("segment", run=f"id:{server.found('run')}",
                     scans=picked(server, "leg_7.nii.gz"), out="labels", raw=True)  # fmt: skip
    out = server.wait_for(job, "done")["out"]
    asked = {"case": "leg_7", "structure": "tibia", "verdict": "rejected", "note": '=1+1, "odd"\n'}
    assert server.ask(f"/api/review/{out}", asked, "PUT")[0] == 200
    asked |= {"structure": "femur", "verdict": "accepted", "note": ""}
    assert server.ask(f"/api/review/{out}", asked, "PUT")[0] == 200
    wrong = (asked | {"case": "../leg_7"}, asked | {"verdict": "fine"})
    assert [server.ask(f"/api/review/{out}", body, "PUT")[0] for body in wrong] == [422, 422]
    server.stop(hard=True)
    again = serve(small_run.parent, scans, workspace=server.workspace)
    (case,) = again.ask(f"/api/review/{again.found('labels')}")[2]
    assert case["verdicts"]["femur"] == {"verdict": "accepted", "note": ""}
    assert case["verdicts"]["tibia"]["verdict"] == "rejected"
    table = (server.workspace / "results" / "labels" / "review.csv").read_text()
    assert table.splitlines()[0] == "case,structure,verdict,note,time"
    assert "\n=" not in table
    assert ",=" not in table  # a table program would compute it
