"""Every step in small: what a user does, on data made here and on real scans."""

import json

import numpy as np
import pytest

import condyle
from condyle.config import Experiment
from condyle.config.requests import EvaluateRequest, MeshRequest, SegmentRequest, TrainRequest
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError
from condyle.io import write_nnunet
from condyle.jobs.job import Job
from condyle.workflows.evaluate import evaluate
from condyle.workflows.mesh import mesh
from condyle.workflows.segment import segment
from condyle.workflows.training.train import train

SCHEME = LabelScheme.of({"ball_left": 1, "ball_right": 2})


def scan(seed):
    """A bright ball on either side, in noise; each case lies otherwise in the world."""
    rng = np.random.default_rng(seed)
    grid = Grid.regular((40, 36, 12), (1.0, 1.0, 2.5), origin=rng.uniform(-50, 50, 3))
    grid = grid.turned(grid.turn_to(["RAS", "LPS", "PIR", "SAL", "LAI"][seed % 5]))
    world = grid.index_to_world(np.stack(np.indices(grid.shape), axis=-1))
    middle = grid.index_to_world((np.array(grid.shape) - 1) / 2)
    labels = np.zeros(grid.shape, np.uint8)
    for number, side in ((1, -1), (2, 1)):
        centre = middle + np.array([side * 10 + rng.uniform(-1, 1), rng.uniform(-3, 3), 0])
        radius = 6 + rng.uniform(-1, 1)
        labels[np.linalg.norm(world - centre, axis=-1) < radius] = number
    image = 100 * (labels > 0) + 15 * rng.normal(size=grid.shape)
    return Volume(image.astype(np.float32), grid), LabelMap(labels, grid, SCHEME)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("road") / "balls"
    pairs = ((f"ball_{n}", (scan(n)[0],), scan(n)[1]) for n in range(6))
    return write_nnunet(out, "balls", pairs, SCHEME, ("MRI",))


@pytest.fixture(scope="module")
def run(dataset):
    """A short training of a plain U-Net on the balls: enough to find them."""
    out = dataset.parent / "run"
    experiment = Experiment.parse(
        {
            "dataset": str(dataset),
            "network": {"name": "3d:unet-plain"},
            "training": {"epochs": 12, "batch": 2, "rate": 5e-3, "ema": 0.9},
        }
    )
    return train(TrainRequest.of(experiment, out))


def test_the_held_out_cases_are_found_left_and_right(run):
    assert [row["structure"] for row in run.summary][:2] == ["ball_left", "ball_right"]
    assert run.summary[-1]["dice_mean"] > 0.8


def test_a_run_leaves_its_record(run):
    for name in (
        "config.toml", "environment.json", "history.csv", "metrics.csv", "report.html",
        "curves.png", "log.txt", "segmenter/model.safetensors", "segmenter/segmenter.json",
    ):  # fmt: skip
        assert (run.folder / name).stat().st_size > 0, name
    assert not (run.folder / "prepared").exists()
    card = json.loads((run.folder / "segmenter" / "segmenter.json").read_text())
    parts = [set(card["training"][part]) for part in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 6
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    again = Experiment.read(run.folder / "config.toml")
    assert again.preparation is not None


def test_the_same_scan_turned_and_flipped_gives_the_same_answer_in_the_world(run, tmp_path):
    volume, _ = scan(2)
    segmenter = condyle.load(run.folder)
    straight = segmenter.segment(volume)
    for orientation in ("RAS", "LPS", "SRP", "AIL"):
        turned = segmenter.segment(volume.reoriented(orientation))
        assert turned.grid.same_as(volume.reoriented(orientation).grid)
        np.testing.assert_array_equal(
            turned.reoriented("RAS").array, straight.reoriented("RAS").array
        )


def test_segmenting_files_writes_whole_results_and_names_what_failed(run, dataset, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for n in (0, 1):
        condyle.write(scan(n)[0], scans / f"new_{n}.nii.gz")
    (scans / "broken.nii.gz").write_bytes((scans / "new_0.nii.gz").read_bytes()[:500])
    done = segment(SegmentRequest(run=run.folder, scans=[scans], out=tmp_path / "out"))
    assert sorted(done.written) == ["new_0", "new_1"]
    assert list(done.failed) == ["broken"]
    labels = condyle.read_labels(done.written["new_1"])
    assert labels.grid.same_as(scan(1)[0].grid, 1e-4)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        ".condyle", "labels.json", "manifest.jsonl", "new_0.nii.gz", "new_1.nii.gz",
    ]  # fmt: skip


def test_leaving_a_case_out_never_helps(run, dataset, tmp_path):
    everything = tmp_path / "all"
    segment(SegmentRequest(run=run.folder, scans=[dataset], out=everything, fold=0))
    asked = EvaluateRequest(predictions=everything, labels=dataset, out=tmp_path / "scores", fold=0)
    whole = evaluate(asked).summary
    first, *others = sorted(everything.glob("*.nii.gz"))
    assert others
    first.unlink()
    less = evaluate(asked.changed(out=tmp_path / "less")).summary
    assert less[-1]["dice_mean"] < whole[-1]["dice_mean"]
    assert (tmp_path / "scores" / "metrics.csv").is_file()


def test_only_the_slices_asked_for_are_looked_at(run, dataset, tmp_path):
    image = dataset / "imagesTr" / "ball_0_0000.nii.gz"
    whole = condyle.read_labels(
        segment(SegmentRequest(run=run.folder, scans=[image], out=tmp_path / "a")).written[
            "ball_0_0000"
        ]
    )
    found = np.flatnonzero(whole.array.any(axis=(0, 1)))
    middle = int(found.mean())
    done = segment(
        SegmentRequest(run=run.folder, scans=[image], out=tmp_path / "b", slices=f"{middle}:")
    )
    part = condyle.read_labels(done.written["ball_0_0000"])
    assert part.grid.same_as(whole.grid)
    assert not part.array[..., :middle].any()
    assert part.array[..., middle:].any()
    done = segment(
        SegmentRequest(run=run.folder, scans=[image], out=tmp_path / "c", near_slice=middle)
    )
    near = condyle.read_labels(done.written["ball_0_0000"])
    assert np.flatnonzero(near.array.any(axis=(0, 1))).size >= found.size - 2
    for wrong in ({"slices": "low"}, {"slices": "1:2", "near_slice": 3}):
        with pytest.raises(ConfigError, match="`slices`"):
            segment(SegmentRequest(run=run.folder, scans=[image], out=tmp_path / "d", **wrong))
    done = segment(
        SegmentRequest(run=run.folder, scans=[image], out=tmp_path / "e", near_slice=999)
    )
    assert "no slice 999" in done.failed["ball_0_0000"]


def test_label_maps_become_surfaces(run, dataset, tmp_path):
    written = mesh(
        MeshRequest(labelmaps=[dataset / "labelsTr" / "ball_0.nii.gz"], out=tmp_path)
    ).written
    assert {p.name for p in written} == {
        "ball_0_ball_left.ply", "ball_0_ball_right.ply", "ball_0_all.ply",
    }  # fmt: skip
    assert "volume_cm3" in (tmp_path / "surfaces.csv").read_text()


@pytest.mark.slow  # test_interrupted.py and train/test_loop.py show the same in less time
def test_an_interrupted_run_resumes_to_the_same_weights(run, dataset, tmp_path, monkeypatch):
    experiment = Experiment.read(run.folder / "config.toml")

    class PowerFailure(Exception):
        pass

    def fail(stage, done, words):
        if stage == "training" and done > 0.6:
            raise PowerFailure

    with pytest.raises(PowerFailure):
        train(TrainRequest.of(experiment, tmp_path / "again"), Job(on_progress=fail))
    resumed = train(TrainRequest.of(experiment, tmp_path / "again", resume=True))
    for (name, a), b in zip(
        run.segmenter.network.state_dict().items(),
        resumed.segmenter.network.state_dict().values(),
        strict=True,
    ):
        assert bool((a == b).all()), name


def test_a_slice_network_with_photographs_weights_trains_in_any_plane(dataset, tmp_path):
    experiment = Experiment.parse(
        {
            "dataset": str(dataset),
            "preparation": {"size": 64},
            "training": {"epochs": 2, "batch": 4, "rate": 2e-3, "ema": 0.5},
        }
    )
    done = train(TrainRequest.of(experiment, tmp_path / "slices", plane="coronal"))
    assert done.segmenter.preprocessor.plane == "coronal"
    assert done.segmenter.training.weights.startswith("package")
    assert done.summary[-1]["dice_mean"] > 0.4


def test_what_was_learnt_on_slices_goes_on_in_volumes(dataset, tmp_path):
    settings = {
        "dataset": str(dataset),
        "network": {"name": "unet-efficientnet_lite0"},
        "preparation": {"size": 64},
        "training": {"epochs": 3, "batch": 4, "rate": 2e-3, "ema": 0.5},
    }
    flat = train(TrainRequest.of(Experiment.parse(settings), tmp_path / "flat"))
    settings["network"] = {
        "name": "3d:unet-efficientnet_lite0",
        "weights": str(tmp_path / "flat"),
        "inflation": {"strategy": "center"},
    }
    settings["training"] = {"epochs": 1, "batch": 1, "rate": 1e-5, "ema": 0}
    deep = train(TrainRequest.of(Experiment.parse(settings), tmp_path / "deep"))
    assert deep.segmenter.training.weights.startswith("run flat")
    assert deep.segmenter.by_recipe.recipe == flat.segmenter.by_recipe.recipe
    # nothing was lost on the way: it starts from what the slices taught
    assert deep.segmenter.inflation.keep_depth == 2  # pixels of 0.63 mm, slices of 2.5 mm
    assert deep.summary[-1]["dice_mean"] > flat.summary[-1]["dice_mean"] - 0.1
    assert condyle.load(tmp_path / "deep").inflation.strategy == "center"
