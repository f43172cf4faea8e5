"""Every setting of `segment` on every kind of segmenter: it is used, or refused by its name."""

import dataclasses

import numpy as np
import pytest
import torch

from condyle.config import Preparation
from condyle.config.requests import SegmentRequest
from condyle.core import Fold, Grid, LabelMap, LabelScheme, Volume
from condyle.errors import CondyleError, ConfigError
from condyle.io import read, read_labels, write, write_nnunet
from condyle.jobs.job import Job
from condyle.networks import build
from condyle.predict import RecipePreprocessing, Segmenter, TrainingRecord
from condyle.predict.nnunet_import import import_nnunet
from condyle.quality.anatomy import Anatomy
from condyle.quality.assess import Quality, store_quality
from condyle.quality.calibration import Calibration
from condyle.quality.embedding import TrainingEmbeddings, embed
from condyle.workflows import segment_engine
from condyle.workflows.segment import BATCH, segment
from slices import dicom_image, saved
from toy_nnunet import model

SCHEME = LabelScheme.of({"tibia": 1, "femur": 2})
SHAPE = (20, 16, 12)
OURS = {"2d": "unet-plain", "3d": "3d:unet-plain", "inflated": "3d:unet-mobilenetv3"}
KINDS = (*OURS, "nnunet", "zero-shot")


def noise(seed):
    values = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    return Volume(values, Grid.regular(SHAPE, (1.0, 1.0, 2.0)), "MR")


def of_kind(name, seed=0, **training):
    """A segmenter of ours whose random network is sure of what it finds."""
    torch.manual_seed(seed)
    network = build(name, 1, 3, "none")[0].eval()
    with torch.no_grad():
        network.segmentation_head[0].weight.mul_(30)
    settings = RecipePreprocessing(settings=Preparation(), spatial=network.spatial)
    record = TrainingRecord(reach_mm=4.0, **training)
    return Segmenter(name, network, settings, SCHEME, training=record,
                     refinement={"keep_largest": 1})  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run folder of each kind, by the name of the kind; and some to join them."""
    home = tmp_path_factory.mktemp("runs")
    made = {kind: of_kind(name) for kind, name in OURS.items()}
    for kind, segmenter in made.items():
        segmenter.save(home / kind / "segmenter")
        keep_quality(home / kind, segmenter)
    found = import_nnunet(model(home / "models"), home / "nnunet")
    dataclasses.replace(found, refinement={"keep_largest": 1}).save(home / "nnunet" / "segmenter")
    segment_engine.Card(
        task="total", labels={"tibia": 1, "femur": 2}, joined={1: [3], 2: [4]}
    ).save(home / "zero-shot")
    of_kind("unet-plain", seed=1).save(home / "other" / "segmenter")
    of_kind("unet-plain", seed=2, ends_mm=2.0).save(home / "specialist" / "segmenter")
    return home


def keep_quality(run, segmenter):
    points = [embed(segmenter, (noise(seed),), "cpu").point for seed in (1, 2)]
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:8, 2:8, 2:8], labels[10:16, 2:8, 2:8] = 1, 2
    anatomy = Anatomy.of([LabelMap(labels, noise(0).grid, SCHEME)], SCHEME)
    store_quality(
        run, segmenter, Quality(Calibration({}, {}), anatomy, TrainingEmbeddings.of(points), 2, ())
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A scan, a file of two volumes, a DICOM folder of two series, and a data set."""
    home = tmp_path_factory.mktemp("scans")
    write(noise(0), home / "scan.nii.gz")
    import nibabel as nib

    both = np.stack([noise(0).array, noise(5).array], axis=-1)
    nib.save(nib.Nifti1Image(both, np.diag([1, 1, 2, 1.0])), home / "both.nii.gz")
    images = []
    for uid in ("1.2.3", "1.2.4"):
        for k in range(SHAPE[2]):
            stored = np.random.default_rng(k + 100 * (uid == "1.2.4")).integers(0, 900, SHAPE[:2])
            images.append(
                dicom_image(
                    stored, SeriesInstanceUID=uid, StudyInstanceUID="1.2", PatientID="p",
                    FrameOfReferenceUID="1.9", ImagePositionPatient=[0, 0, 2 * k],
                    PixelSpacing=[1, 1], SliceThickness=2, InstanceNumber=k + 1,
                )
            )  # fmt: skip
    saved(home / "dicom", images)
    labels = LabelMap(np.zeros(SHAPE, np.uint8), noise(0).grid, SCHEME)
    pairs = ((f"case_{n}", (noise(n),), labels) for n in range(2))
    folds = [Fold(("case_0",), (), ("case_1",))]
    write_nnunet(home / "dataset", "toy", pairs, SCHEME, ("MRI",), folds)
    return home


# Field -> what it is changed to, and the scan that is segmented. How it shows is said below.
CHANGES = {
    "run": {},
    "scans": {},
    "out": {},
    "on": {"on": "nowhere"},
    "resume": {"resume": True},
    "fold": {"fold": 0, "scans": "dataset"},
    "format": {"format": "nrrd"},
    "device": {"device": "abacus"},
    "volume": {"volume": 1, "scans": "both.nii.gz"},
    "series": {"series": "1.2.4", "scans": "dicom"},
    "slices": {"slices": "3:7"},
    "near_slice": {"near_slice": 5},
    "below_slice": {"below_slice": 5},
    "area": {"area": "auto"},
    "planes": {"planes": "all"},
    "flips": {"flips": "all"},
    "runtime": {"runtime": "openvino"},
    "also": {"also": ["other"]},
    "specialist": {"specialist": "specialist"},
    "raw": {"raw": True},
    "quality": {"quality": True},
    "backends": {"backends": "openvino fp32"},
}
REFUSED = {
    "2d": set(),
    "3d": {"planes"},
    "inflated": {"planes"},
    "nnunet": {"near_slice", "area", "planes", "quality"},
    "zero-shot": set(segment_engine.REFUSED),
}
"""Kind -> the settings that it cannot use: `segment` says so before it computes anything."""


def test_every_setting_has_its_place_here():
    assert CHANGES.keys() == SegmentRequest.model_fields.keys()
    assert set(segment_engine.REFUSED) <= SegmentRequest.model_fields.keys()


def request_of(runs, scans, kind, out, /, **changes):
    given = {"device": "cpu", "runtime": "torch"} if kind != "zero-shot" else {}
    changes["scans"] = [scans / changes.pop("scans", "scan.nii.gz")]
    if "also" in changes:
        changes["also"] = [runs / name for name in changes["also"]]
    if "specialist" in changes:
        changes["specialist"] = runs / changes["specialist"]
    if "backends" in changes:
        changes["backends"] = {Segmenter.load(runs / kind).weights: changes["backends"]}
    return SegmentRequest(run=runs / kind, out=out, **{**given, **changes})


def labels_of(runs, scans, kind, out, **changes):
    done = segment(request_of(runs, scans, kind, out, **changes))
    assert not done.failed
    return {name: read_labels(path).array for name, path in done.written.items()}, done


@pytest.fixture(scope="module")
def before(runs, scans, tmp_path_factory):
    """Kind -> what it finds in the scan with no setting changed."""
    out = tmp_path_factory.mktemp("before")
    return {k: labels_of(runs, scans, k, out / k)[0]["scan"] for k in KINDS if k != "zero-shot"}


REFUSALS = [(kind, field) for kind in KINDS for field in sorted(REFUSED[kind])]


@pytest.mark.parametrize(("kind", "field"), REFUSALS)
def test_what_cannot_be_used_is_refused_by_its_name(runs, scans, tmp_path, kind, field):
    with pytest.raises(ConfigError, match=f"`{field}`"):
        segment(request_of(runs, scans, kind, tmp_path / "out", **CHANGES[field]))
    assert not (tmp_path / "out").exists()


DIFFER = ("slices", "near_slice", "below_slice", "flips", "also", "specialist", "raw", "planes")
USED = [(k, f) for k in KINDS if k != "zero-shot" for f in DIFFER if f not in REFUSED[k]]


@pytest.mark.parametrize(("kind", "field"), USED)
def test_what_is_used_changes_the_labels(runs, scans, before, tmp_path, kind, field):
    found, _ = labels_of(runs, scans, kind, tmp_path, **CHANGES[field])
    assert not np.array_equal(found["scan"], before[kind])
    ends = {"slices": (3, 7), "near_slice": (3, 8), "below_slice": (0, 5)}
    if field in ends:
        first, stop = ends[field]
        assert not found["scan"][..., :first].any()
        assert not found["scan"][..., stop + 1 :].any()
        assert found["scan"].any()


@pytest.mark.parametrize("kind", OURS)
def test_quality_is_written_where_it_was_learnt(runs, scans, tmp_path, kind):
    labels_of(runs, scans, kind, tmp_path, quality=True)
    assert "tibia" in (tmp_path / "quality.csv").read_text()


@pytest.mark.parametrize("kind", OURS)
def test_a_first_look_leaves_out_the_slices_that_show_nothing(scans, tmp_path, kind):
    """The network finds what is bright; both ends of the scan are dark but for a speck."""

    class Bright(torch.nn.Module):
        memory_format = torch.contiguous_format

        def __init__(self, spatial):
            super().__init__()
            self.spatial, self.seen = spatial, 0

        def forward(self, x):
            self.seen += x.numel()
            scores = x.new_zeros(x.shape[0], 3, *x.shape[2:])
            scores[:, 2] = 20 * (x[:, 0] - 0.5)
            return scores

    values = np.zeros((8, 8, 90), np.float32)
    values[2:6, 2:6, 40:44] = 1
    scan, seen = Volume(values, Grid.regular(values.shape, (1.0, 1.0, 2.0)), "MR"), {}
    for first_look in (False, True):
        network = Bright(2 if kind == "2d" else 3)
        preprocessing = RecipePreprocessing(
            settings=Preparation(intensity="max"), spatial=network.spatial,
            window=(8, 8, 16) if network.spatial == 3 else None,
        )  # fmt: skip
        segmenter = Segmenter(OURS[kind], network, preprocessing, SCHEME)
        predictor = segmenter.predictor(device="cpu", runtime="torch")
        predictor.options = dataclasses.replace(predictor.options, first_look=first_look)
        labels = predictor.predict(scan).labels
        assert np.array_equal(labels.array == 2, values > 0)
        seen[first_look] = network.seen
    assert seen[True] < seen[False] or kind != "2d"


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "zero-shot"])
def test_what_computes_is_what_was_asked_for(runs, scans, tmp_path, kind):
    pytest.importorskip("openvino")
    _, usual = labels_of(runs, scans, kind, tmp_path / "torch")
    assert usual.computed_by == ("torch fp32",)
    for field in ("runtime", "backends"):
        _, done = labels_of(runs, scans, kind, tmp_path / field, **CHANGES[field])
        assert done.computed_by == ("openvino fp32",)
    with pytest.raises(CondyleError, match="abacus"):
        segment(request_of(runs, scans, kind, tmp_path / "out", device="abacus"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_and_written_and_where(runs, scans, tmp_path, kind):
    """Scans, fold, format, volume, series, out: the tasks of the batch, and what they read."""

    def tasks(**changes):
        return BATCH.tasks(request_of(runs, scans, kind, tmp_path / "out", **changes), Job())

    (usual,) = tasks()
    assert usual.inputs == (scans / "scan.nii.gz",)
    assert usual.outputs == (tmp_path / "out" / "scan.nii.gz",)
    (as_nrrd,) = tasks(format="nrrd")
    assert as_nrrd.outputs == (tmp_path / "out" / "scan.nrrd",)
    assert [task.key for task in tasks(scans="dataset")] == ["case_0", "case_1"]
    assert [task.key for task in tasks(fold=0, scans="dataset")] == ["case_1"]
    (second,) = tasks(volume=1, scans="both.nii.gz")
    assert np.array_equal(second.given.read()[0].array, noise(5).array)
    (series,) = tasks(series="1.2.4", scans="dicom")
    wanted = read(scans / "dicom", series="1.2.4").array
    assert np.array_equal(series.given.read()[0].array, wanted)
    assert not np.array_equal(read(scans / "dicom", series="1.2.3").array, wanted)
    for refused in (
        {"fold": 0},
        {"volume": 0, "scans": "dataset"},
        {"series": "1", "scans": "dataset"},
    ):
        with pytest.raises(ConfigError, match=f"`{next(iter(refused))}`"):
            tasks(**refused)


@pytest.mark.parametrize("kind", KINDS)
def test_where_it_runs_and_what_is_kept(runs, scans, tmp_path, monkeypatch, kind):
    computed = []
    if kind == "zero-shot":

        def predict(card, name, channels, device, job):
            computed.append((card.task, name, device))
            return LabelMap(np.ones(SHAPE, np.uint8), channels[0].grid, SCHEME)

        monkeypatch.setattr(segment_engine, "predict", predict)
    with pytest.raises(ConfigError, match="`on`"):
        segment(request_of(runs, scans, kind, tmp_path, on="nowhere"))
    given = {"device": "cpu"}
    _, done = labels_of(runs, scans, kind, tmp_path, **given)
    first = done.written["scan"].stat().st_mtime_ns
    _, done = labels_of(runs, scans, kind, tmp_path, resume=True, **given)
    assert done.written["scan"].stat().st_mtime_ns == first
    _, done = labels_of(runs, scans, kind, tmp_path, **given)
    assert done.written["scan"].stat().st_mtime_ns > first
    if kind == "zero-shot":
        assert computed == [("total", "scan", "cpu")] * 2


def test_mirror_images_that_nobody_learnt_are_refused(runs, scans, tmp_path):
    of_kind("unet-plain", mirroring="none").save(tmp_path / "run" / "segmenter")
    request = request_of(runs, scans, "2d", tmp_path / "out", flips="left-right")
    with pytest.raises(ConfigError, match="`flips`"):
        segment(request.changed(run=tmp_path / "run"))


def test_of_both_settings_of_slices_one_is_refused(runs, scans, tmp_path):
    for one in ({"slices": "3:7", "near_slice": 4}, {"near_slice": 4, "below_slice": 4}):
        with pytest.raises(ConfigError, match="one of `slices`, `near_slice` and `below_slice`"):
            segment(request_of(runs, scans, "2d", tmp_path / "out", **one))
