"""`condyle show`: the slice that was asked for, where it lies, and what its labels are."""

import io
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import condyle
from condyle.app.cli.main import main
from condyle.config.requests import RefineRequest, ShowRequest
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.errors import ConfigError, GridMismatch, UnknownName
from condyle.io import write
from condyle.workflows.refine import refine
from condyle.workflows.show import show, show_scan

GRID = Grid.regular((30, 40, 12), spacing=(1, 1, 5), origin=(-10, -20, 100))
KNEE = LabelScheme.given("knee")
FEMUR = np.array(KNEE["femur"].colour)


def scan():
    """Brighter from slice to slice towards the head, black in the patient's left half."""
    values = np.arange(12, dtype=np.int16) * 20
    array = np.broadcast_to(values, GRID.shape).copy()
    array[:15] = 0
    return Volume(array, GRID, "MR")


def labels(shift=0):
    """A tibia below, in slices 1 to 3, and a femur above, in slices 6 to 10; widest in 8."""
    array = np.zeros(GRID.shape, np.uint8)
    array[8 + shift : 18 + shift, 10:20, 1:4] = 1
    array[8 + shift : 18 + shift, 10:20, 6:11] = 2
    array[8 + shift : 18 + shift, 8:22, 8] = 2
    return LabelMap(array, GRID, KNEE)


@pytest.fixture
def files(tmp_path):
    write(scan(), tmp_path / "scan.nii.gz")
    write(labels(), tmp_path / "truth.nii.gz")
    write(labels(2), tmp_path / "found.nii.gz")
    return tmp_path


def said(monkeypatch, *given, **more):
    """All that a picture says."""
    figures = []

    def keep(figure):
        figures.append(figure)
        return b"\x89PNG"

    with monkeypatch.context() as patch:
        patch.setattr("condyle.report.slice_pictures.encoded", keep)
        show(*given, **more)
    return [text.get_text() for text in figures[0].findobj(Text) if text.get_text()]


def area(picture, colour):
    """How many pixels of a picture are plainly 'red' (too much) or 'blue' (missed)."""
    rgb = np.asarray(picture)[..., :3].astype(int)
    if colour == "red":
        return int((rgb[..., 0] - rgb[..., 1:].max(-1) > 100).sum())
    return int((rgb[..., 2] - rgb[..., :2].max(-1) > 85).sum())


def test_a_slice_says_its_number_its_place_and_what_is_in_it(monkeypatch):
    for turned in ("RAS", "LPS", "PIR"):
        both = scan().reoriented(turned), labels().reoriented(turned)
        words = said(monkeypatch, *both, slice=2)
        assert "axial 2 (0 to 11), S 110.0 mm" in words
        assert {"scan", "mask", "superimposed", "tibia"} <= set(words)
        assert "femur" not in words
        assert [words.count(letter) for letter in "RLAP"] == [3, 3, 3, 3]


def test_the_slice_with_most_labels_is_shown_where_none_is_chosen(monkeypatch):
    assert "axial 8 (0 to 11), S 140.0 mm" in said(monkeypatch, scan(), labels())
    assert "axial 6 (0 to 11), S 130.0 mm" in said(monkeypatch, scan())
    alone = said(monkeypatch, scan(), labels(), structure="tibia")
    assert "axial 2 (0 to 11), S 110.0 mm" in alone


def test_the_patient_s_left_is_right_and_millimetres_are_square():
    picture = np.asarray(show(scan(), slice=11, window=(0, 200)))[60:-60]
    bright = np.flatnonzero((picture.min(axis=2) > 250).mean(axis=0) > 0.5)
    assert bright.size > 100
    assert bright.max() < picture.shape[1] / 2  # the patient's right half is bright
    mask = np.asarray(show(None, labels(), plane="sagittal", slice=12, structure="femur"))
    blue = (np.abs(mask.astype(int) - FEMUR) < 12).all(-1)[: int(0.85 * len(mask))]
    rows, columns = (np.ptp(np.flatnonzero(blue.any(axis))) for axis in (1, 0))
    assert rows / columns == pytest.approx(25 / 14, rel=0.05)  # 5 slices of 5 mm; 14 mm across


def test_a_window_says_what_is_black_and_what_is_white():
    dark, bright = (np.asarray(show(scan(), slice=5, window=w)) for w in ((100, 200), (0, 100)))
    assert (bright.min(axis=2) == 255).sum() > 10_000
    assert (dark.max(axis=2) == 0).sum() > 10_000 > (dark.min(axis=2) == 255).sum()


def test_truth_and_prediction_stand_beside_each_other_and_their_difference(monkeypatch):
    same = show(scan(), labels(), labels(), slice=8)
    other = show(scan(), labels(2), labels(), slice=8)
    for colour in ("red", "blue"):
        in_legend = area(same, colour)
        assert area(other, colour) > 1000 > in_legend
    assert area(other, "red") == pytest.approx(area(other, "blue"), rel=0.25)
    words = said(monkeypatch, scan(), labels(2), labels(), slice=8)
    assert {"scan", "truth", "prediction", "difference", "missed", "too much"} <= set(words)


def test_differences_match_structures_by_their_names():
    array = np.where(labels().array == 2, 1, 0).astype(np.uint8)
    renamed = LabelMap(array, GRID, LabelScheme.of({"femur": 1}))
    picture = show(scan(), renamed, labels(), slice=8)
    assert area(picture, "blue") + area(picture, "red") < 1000


def test_a_sheet_has_the_ends_of_a_bone_and_every_so_many_slices(files):
    def made(**more):
        request = ShowRequest(
            scan=files / "scan.nii.gz", labelmap=files / "found.nii.gz", out=files / "a.png", **more
        )
        return show_scan(request).slices

    assert made(ends=2) == (1, 2, 9, 10)
    assert made(ends=1, structure="femur") == (6, 10)
    assert made(every=3) == (1, 6, 9)
    assert made(every=2, ends=2) == (1, 9)
    assert made(every=4, plane="coronal") == (8, 12, 16, 20)
    alone = ShowRequest(scan=files / "scan.nii.gz", out=files / "a.png", every=5)
    assert show_scan(alone).slices == (0, 5, 10)


def test_a_sheet_shows_each_slice_with_its_place(monkeypatch):
    words = said(monkeypatch, scan(), labels(2), labels(), ends=1)
    assert {"1   S 105.0 mm", "10   S 150.0 mm", "truth left, prediction right"} <= set(words)


def test_wrong_settings_are_refused_in_one_sentence(files):
    def refused(error, match, **more):
        with pytest.raises(error, match=match):
            show_scan(ShowRequest(**{"scan": files / "scan.nii.gz", "out": files / "a.png"} | more))

    found = files / "found.nii.gz"
    refused(ConfigError, "no axial slice 12: .* slices 0 to 11, counted from the feet", slice=12)
    refused(ConfigError, "slices 0 to 39, counted from the back", slice=-1, plane="coronal")
    refused(ConfigError, "must end in .png, not a.jpg", out=files / "a.jpg")
    refused(ConfigError, "`every` cannot be used here", slice=1, every=2)
    refused(ConfigError, "there is no label map", ends=3)
    refused(ConfigError, "no data set", case="leg")
    refused(ConfigError, "must rise", window=(5, 5))
    refused(ConfigError, "give `labelmap`", truth=found)
    refused(ConfigError, "surfaces have no slices", surface=True, slice=3)
    refused(UnknownName, "patella", labelmap=found, structure="patella")
    assert not (files / "a.png").exists()
    with pytest.raises(GridMismatch):
        show(scan(), LabelMap(labels().array, Grid.regular(GRID.shape), KNEE))


def test_a_case_of_a_data_set_is_shown_with_its_own_labels_and_a_prediction(files):
    root = files / "data"
    write(scan(), root / "imagesTr" / "leg_0000.nii.gz")
    write(labels(), root / "labelsTr" / "leg.nii.gz")
    (root / "dataset.json").write_text(
        '{"channel_names": {"0": "MR"}, "labels": {"background": 0, "tibia": 1, "femur": 2}, '
        '"numTraining": 1, "file_ending": ".nii.gz"}'
    )
    write(labels(2), files / "predicted" / "leg.nii.gz")
    own = show_scan(ShowRequest(scan=root, case="leg", out=files / "own.png"))
    assert (own.slices, own.plane) == ((8,), "axial")
    with_prediction = ShowRequest(
        scan=root, labelmap=files / "predicted", case="leg", out=files / "both.png"
    )
    show_scan(with_prediction)
    with Image.open(files / "both.png") as both, Image.open(files / "own.png") as alone:
        assert area(both, "red") > 1000 > area(alone, "red")
    with pytest.raises(UnknownName, match="leg"):
        show_scan(ShowRequest(scan=root, case="arm", out=files / "a.png"))
    with pytest.raises(ConfigError, match="by `case`, such as leg"):
        show_scan(ShowRequest(scan=root, out=files / "a.png"))


def test_the_command_draws_slices_and_surfaces(files, monkeypatch):
    def said_by(*words):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(["show", *map(str, words)])
        return ended.value.code, out.getvalue() + err.getvalue()

    monkeypatch.chdir(files)
    assert said_by("scan.nii.gz", "found.nii.gz", "--slice", 4, "--out", "a.png") == (
        0, "axial slice 4 in a.png\n",
    )  # fmt: skip
    code, words = said_by("scan.nii.gz", "--slice", 40, "--out", "b.png")
    assert (code, words.count("\n")) == (2, 1)
    assert said_by("found.nii.gz", "--surface", "--out", "s.png") == (0, "surfaces in s.png\n")
    with Image.open("s.png") as picture:
        seen = np.asarray(picture)
    sky_blue = (seen[..., 2].astype(int) - seen[..., 0] > 60) & (seen[..., 3] > 0)
    assert sky_blue.sum() > 5000  # the femur


def test_python_takes_arrays_and_paths_and_notebooks_show_what_comes_out(files):
    array = condyle.show(scan().array, labels(), grid=GRID, slice=3)
    path = condyle.show(files / "scan.nii.gz", files / "truth.nii.gz", slice=3)
    assert array._repr_png_().startswith(b"\x89PNG")
    assert np.array_equal(array, path)
    assert array.write(files / "made.png").read_bytes() == array.png


def test_refine_shows_what_it_changed(files):
    found = labels()
    found.array[2, 2, 5] = 2
    found.array[25:28, 5:9, 9] = 2  # the slice that changes most
    write(found, files / "in" / "leg.nii.gz")
    request = RefineRequest(
        labelmaps=(files / "in",), out=files / "out", keep_largest=1, pictures=True
    )
    done = refine(request)
    assert done.written == {"leg": files / "out" / "leg.nii.gz"}
    with Image.open(files / "out" / "leg.png") as picture:
        removed, added = area(picture, "blue"), area(picture, "red")
    assert removed > 2 * added  # what was added is in the legend alone
    refine(request.model_copy(update={"resume": True}))
