"""Little data, and a disk that is full at the wrong moment: what a user is left with."""

import numpy as np
import pytest

import condyle
from condyle.config import Experiment
from condyle.config.requests import TrainRequest
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.errors import OutputError
from condyle.io import open_dataset, write_nnunet
from condyle.jobs.job import Job
from condyle.workflows.training.train import train
from small_disk import small_disk

SCHEME = LabelScheme.of({"cube": 1})


def cube(seed):
    """A bright cube in noise."""
    rng = np.random.default_rng(seed)
    grid = Grid.regular((24, 24, 8))
    labels = np.zeros(grid.shape, np.uint8)
    labels[6:18, 6:18, 2:6] = 1
    image = (100 * labels + 10 * rng.normal(size=grid.shape)).astype(np.float32)
    return Volume(image, grid), LabelMap(labels, grid, SCHEME)


def dataset(folder, count):
    pairs = ((f"cube_{n}", (cube(n)[0],), cube(n)[1]) for n in range(count))
    return write_nnunet(folder / "cubes", "cubes", pairs, SCHEME, ("MRI",))


def experiment(data):
    training = {"epochs": 2, "steps": 3, "batch": 2}
    return Experiment.parse(
        {
            "dataset": str(data),
            "network": {"name": "unet-plain"},
            "preparation": {"size": 32},
            "training": training,
        }
    )


@pytest.mark.parametrize(("count", "held_out"), [(1, 0), (2, 1)])
def test_one_training_case_trains_and_what_stays_unknown_is_said(tmp_path, caplog, count, held_out):
    data = dataset(tmp_path, count)
    run = train(TrainRequest.of(experiment(data), tmp_path / "run"))
    known = run.segmenter.training
    assert (len(known.train), len(known.validation), len(known.test)) == (1, 0, held_out)
    assert "no validation cases to choose the best weights by" in caplog.text
    assert ("performance will not be measured" in caplog.text) == (not held_out)
    found = condyle.load(tmp_path / "run").segment(cube(5)[0])
    assert found.grid.same_as(cube(5)[0].grid)
    assert len(open_dataset(data)) == count


def test_a_run_that_was_killed_while_it_was_planned_starts_anew(tmp_path):
    data, out = dataset(tmp_path, 6), tmp_path / "run"

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TrainRequest.of(experiment(data), out), Job(on_progress=stop))
    (out / ".config-0123abcd.toml").write_text("a file that was not written whole")
    with pytest.raises(KeyboardInterrupt):  # and no word of a folder that is not empty
        train(TrainRequest.of(experiment(data), out, resume=True), Job(on_progress=stop))
    assert (out / "log.txt").is_file()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        train(TrainRequest.of(experiment(data), out, resume=True))


def test_disk_that_is_full_at_the_end_costs_no_learning(tmp_path):
    data, out = dataset(tmp_path, 6), tmp_path / "run"

    def interrupt(progress):
        if progress.stage == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(TrainRequest.of(experiment(data), out), Job(on_progress=interrupt))
    # the network does not fit on this disk, the checkpoints lie elsewhere
    with small_disk(out / "segmenter", "64k") as disk:
        with pytest.raises(OutputError, match="No space left"):
            train(TrainRequest.of(experiment(data), out, resume=True))
        assert list(disk.iterdir()) == []
    learnt = {path: path.stat().st_mtime_ns for path in (out / "checkpoints").iterdir()}
    assert learnt
    run = train(TrainRequest.of(experiment(data), out, resume=True))
    assert {path: path.stat().st_mtime_ns for path in learnt} == learnt  # nothing was done again
    assert run.summary[-1]["n"] == len(run.segmenter.training.test) > 0
    assert (out / "report.html").is_file()
