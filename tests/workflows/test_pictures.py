"""Two-dimensional pictures from files to scores: ultrasound (grey) and histology (in colour)."""

import json

import numpy as np
import pytest
from PIL import Image

import condyle
from condyle.config.requests import (
    EvaluateRequest,
    ImportRequest,
    MeshRequest,
    RefineRequest,
    SegmentRequest,
    ShowRequest,
    TrainRequest,
)
from condyle.core import Grid, LabelMap, Volume
from condyle.errors import ConfigError, GeometryError
from condyle.io import open_dataset, read_labels, write
from condyle.jobs.job import Job
from condyle.measure.evaluate import failed_case, score_case, summarise
from condyle.report import figures, tables
from condyle.workflows.evaluate import evaluate
from condyle.workflows.importing.import_scans import import_scans
from condyle.workflows.mesh import mesh
from condyle.workflows.refine import refine
from condyle.workflows.segment import segment
from condyle.workflows.show import show, show_scan
from condyle.workflows.training.train import train


def disc(number, rows=40, columns=48):
    y, x = np.mgrid[:rows, :columns]
    return (y - 15 - number) ** 2 + (x - 24) ** 2 < 81


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Histology: six TIFFs in colour, one of them grey, with palette masks."""
    home = tmp_path_factory.mktemp("pictures")
    for folder in ("images", "masks"):
        (home / folder).mkdir()
    for n in range(6):
        noise = np.random.default_rng(n).integers(0, 20, (40, 48), dtype=np.uint8)
        grey = (disc(n) * 120).astype(np.uint8) + noise
        colours = np.stack([grey, grey // 2, 200 - grey], axis=-1)
        Image.fromarray(grey if n == 5 else colours).save(home / "images" / f"t{n}.tif")
        mask = Image.fromarray(disc(n).astype(np.uint8))
        mask.putpalette([0, 0, 0, 250, 10, 10, *[0] * 762])
        mask.save(home / "masks" / f"t{n}.png")
    (home / "scheme.json").write_text('{"gland": 1}')
    return home


@pytest.fixture(scope="module")
def dataset(pictures):
    import_scans(ImportRequest(
        scans=(pictures / "images",), masks=(pictures / "masks",), split="3/1/2",
        scheme=str(pictures / "scheme.json"), out=pictures / "data",
    ))  # fmt: skip
    return pictures / "data"


@pytest.fixture(scope="module")
def run(dataset, pictures):
    train(TrainRequest(
        dataset=dataset, out=pictures / "run", network="unet-plain", epochs=1,
    ))  # fmt: skip
    return pictures / "run"


def test_a_folder_of_pictures_becomes_a_data_set_that_nnunet_reads(dataset):
    facts = json.loads((dataset / "dataset.json").read_text())
    assert facts["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert facts["file_ending"] == ".png"
    assert facts["overwrite_image_reader_writer"] == "NaturalImage2DIO"
    with Image.open(dataset / "labelsTr" / "t3.png") as mask:
        assert mask.mode == "L"
        assert np.array_equal(mask, disc(3))
    opened = open_dataset(dataset)
    channels, labels = opened["t5"].pair()  # the grey one
    assert len(channels) == 3
    assert labels.areas() == {"gland": int(disc(5).sum())}


def test_pictures_are_learnt_segmented_and_scored_in_pixels(run, pictures):
    rows = condyle.load(run)
    assert rows.channels == 3
    segment(SegmentRequest(run=run, scans=(pictures / "images",), out=pictures / "found"))
    found = read_labels(pictures / "found" / "t1.png")
    assert (found.shape, found.scheme.names) == ((48, 40, 1), ("gland",))
    assert np.array_equal(rows.segment(pictures / "images" / "t1.tif").array, found.array)
    with Image.open(pictures / "found" / "t1.png") as picture:
        assert (picture.mode, picture.size) == ("P", (48, 40))
    scored = evaluate(EvaluateRequest(
        predictions=pictures / "found", labels=pictures / "masks", out=pictures / "scores",
    ))  # fmt: skip
    assert scored.cases == 6
    for folder in (run, pictures / "scores"):
        columns = (folder / "metrics.csv").read_text().partition("\n")[0].split(",")
        assert {"dice", "hd95_px", "assd_px", "area_truth_px", "area_error_px"} <= set(columns)
        assert not [name for name in columns if name.endswith(("_mm", "_cm3"))]
    page = (run / "report.html").read_text()
    assert "HD95 (px)" in page
    assert "HD95 (mm)" not in page


def test_a_scan_in_millimetres_is_unlike_the_pictures_of_a_training(run):
    grid = Grid.regular((24, 24, 2))
    channels = tuple(Volume(np.zeros(grid.shape, np.uint8), grid) for _ in range(3))
    job = Job()
    with job.active():
        condyle.load(run).segment(channels)
    assert "it is a scan with millimetres, and those were a picture" in job.warnings[0].sentence


def test_distances_of_pictures_are_those_between_outlines():
    grid = Grid.of_picture(30, 30)
    truth = np.zeros(grid.shape, np.uint8)
    truth[5:15, 5:15] = 1
    [row] = score_case(*(LabelMap.of(a, grid) for a in (truth, np.roll(truth, 3, axis=0))))
    assert row["hausdorff_px"] == 3
    # of 40 px of outline either way, two sides of 10 px lie 3 px off
    assert row["assd_px"] == pytest.approx(20 * 3 / 40, abs=0.4)
    assert (row["area_truth_px"], row["area_error_px"], row["scan_px"]) == (100, 0, 900)
    one = LabelMap.of(truth, Grid(grid.shape, grid.affine))
    other = one.with_array(np.roll(truth, 3, axis=0))
    assert score_case(one, other)[0]["assd_mm"] < 1  # whose faces above and below are surface
    failed = failed_case(LabelMap.of(truth, grid))
    assert failed[0]["hd95_px"] == pytest.approx(30 * 2**0.5, abs=0.1)
    [line, _] = tables.metrics_table(summarise([r | {"case": "a"} for r in (row,)]))
    assert line["HD95 (px)"] == "3.00"
    assert line["Median area error (px)"] == "0"


def test_what_needs_millimetres_or_volumes_is_refused(dataset, run, pictures):
    def refused(error, match, work):
        with pytest.raises(error, match=match):
            work()

    def trained(**more):
        train(TrainRequest(dataset=dataset, out=pictures / "no", epochs=1, **more))

    masks, out = (pictures / "masks" / "t1.png",), pictures / "no"
    refused(ConfigError, "choose a 2D network such as unet-plain",
            lambda: trained(network="3d:unet-plain"))  # fmt: skip
    refused(ConfigError, "pictures have one slice",
            lambda: trained(network="unet-plain", plane="coronal"))  # fmt: skip
    refused(GeometryError, "a surface needs a scan with millimetres",
            lambda: mesh(MeshRequest(labelmaps=masks, out=out)))  # fmt: skip
    for step in ("smooth_mm", "min_mm3"):
        request = RefineRequest(labelmaps=masks, out=out, **{step: 1})
        refused(GeometryError, f"`{step}` needs a scan with mill", lambda r=request: refine(r))
    refused(ConfigError, "its labels are written as PNG", lambda: segment(SegmentRequest(
        run=run, scans=(pictures / "images",), out=out, format="nrrd")))  # fmt: skip
    refused(ConfigError, "one slice", lambda: show_scan(ShowRequest(
        scan=pictures / "images" / "t1.tif", plane="sagittal", out=out / "a.png")))  # fmt: skip


def test_refine_fills_what_a_picture_encloses(tmp_path):
    grid = Grid.of_picture(12, 12)
    array = np.zeros(grid.shape, np.uint8)
    array[2:9, 2:9], array[4, 4], array[11, 11] = 1, 0, 1
    write(LabelMap.of(array, grid), tmp_path / "a.png")
    refine(RefineRequest(
        labelmaps=(tmp_path / "a.png",), out=tmp_path / "out", keep_largest=1, fill_holes=True
    ))  # fmt: skip
    assert read_labels(tmp_path / "out" / "a.png").areas() == {"label_1": 49}


def test_pictures_of_pictures_are_in_colour_and_in_pixels(pictures):
    picture = np.asarray(show(pictures / "images" / "t1.tif"))
    purple = (picture[..., 2] > 150) & (picture[..., 1] < 60)
    assert purple.sum() > 10_000
    upright = np.flatnonzero((picture[..., 0] > 100) & (picture[..., 2] < 120) & ~purple)
    assert upright.size > 1000  # the disc
    rows = np.unravel_index(upright, purple.shape)[0]
    inside = np.flatnonzero(purple.any(axis=1))
    assert rows.mean() < inside.mean()  # whose centre is in the upper half
    channels = open_dataset(pictures / "data")["t1"].channels()
    assert figures.overlay_pixels(channels, None, None).shape[-1] == 3
