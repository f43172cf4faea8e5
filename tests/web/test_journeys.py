"""What people do on the page, in a real browser: pixels, files and tables are looked at."""

import hashlib
import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from condyle import read_labels
from condyle.app.cli.main import main
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.io import write
from condyle.phantom import leg
from slices import dicom_image

SCHEME = LabelScheme.of({"tibia": 1, "femur": 2}, {"tibia": (255, 0, 0), "femur": (0, 0, 255)})


@pytest.fixture(autouse=True)
def no_restart(monkeypatch):
    """The verb runs in this process: a restart would replace pytest itself, with exit code 0."""
    monkeypatch.setattr("condyle.jobs.process.restart_with_roomy_allocator", lambda arguments: None)


def lopsided():
    """A scan of air with a bright block towards right, front and head, which holds two labels."""
    array = np.full((40, 36, 30), -1000, np.int16)
    array[24:38, 22:34, 18:28] = 1500
    labels = np.zeros(array.shape, np.uint8)
    labels[24:38, 22:34, 18:23] = 1
    labels[24:38, 22:34, 23:28] = 2
    grid = Grid.regular(array.shape, (2, 2, 3))
    return Volume(array, grid, "CT"), LabelMap(labels, grid, SCHEME)


def as_dicom(scan):
    """A zip with the scan as a DICOM series."""
    out = io.BytesIO()
    lps = np.diag((-1, -1, 1, 1)) @ scan.grid.affine
    a, b, _ = scan.grid.spacing
    uid = "1.2.826.0.1.3680043.8.498.1"
    with zipfile.ZipFile(out, "w") as archive:
        for k in range(scan.grid.shape[2]):
            one = io.BytesIO()
            dicom_image(
                scan.array[..., k].T.astype(int) + 1024, SeriesInstanceUID=uid,
                InstanceNumber=k + 1, PixelSpacing=[b, a],
                ImageOrientationPatient=[*np.sign(lps[:3, 0]), *np.sign(lps[:3, 1])],
                ImagePositionPatient=(lps @ (0, 0, k, 1))[:3].tolist(),
            ).save_as(one, enforce_file_format=True)  # fmt: skip
            archive.writestr(f"PATIENT/CT/{k:03d}.dcm", one.getvalue())
    return out.getvalue()


def pixels(page):
    """The picture of the viewer, (rows, columns, 3)."""
    page.wait_for_timeout(700)  # a frame is drawn when the browser gets to it
    png = page.locator("#canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def middle(where):
    """(row, column) of the middle of a mask, from 0 to 1."""
    rows, columns = np.nonzero(where)
    assert rows.size
    return rows.mean() / where.shape[0], columns.mean() / where.shape[1]


def opened(page, server, path="/"):
    if "/login" not in page.url and not page.context.cookies():
        page.goto(server.link)
    page.goto(server.base + path)
    page.wait_for_selector("html[data-ready=yes]")
    return page


def ready(page):
    page.wait_for_selector("#look[data-state=ready]")


def test_from_a_dropped_zip_to_bones_on_the_slices(serve, page, small_run, tmp_path):
    scan, _ = lopsided()
    (tmp_path / "leg.zip").write_bytes(as_dicom(scan))
    server = serve(small_run.parent, login=False)
    opened(page, server)
    page.set_input_files("#files", tmp_path / "leg.zip")
    page.wait_for_url(re.compile("/look"))
    ready(page)
    assert page.locator("#look").get_attribute("data-viewer") == "volumes"
    page.keyboard.press("z")
    for _ in range(8):
        page.keyboard.press("ArrowUp")
    bright = pixels(page).min(axis=2) > 150
    row, column = middle(bright)
    assert row < 0.5  # the front is up
    assert column < 0.5  # the patient's right is on the left
    page.keyboard.press("c")
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    assert middle(pixels(page).min(axis=2) > 150)[0] < 0.5  # the head is up

    opened(page, server, "/segment")
    form = page.locator("form[data-verb=segment][data-filled=yes]")
    form.locator("[name=run]").select_option(index=1)
    form.locator("[name=scans]").select_option(index=0)
    form.locator("[name=out]").fill("bones")
    form.locator("button[type=submit]").click()
    page.wait_for_url(re.compile("/jobs/"))
    page.wait_for_selector("#job[data-state=done]", timeout=120_000)
    page.wait_for_selector("#look:not([hidden])")
    (written,) = (server.workspace / "results" / "bones").glob("*.nii.gz")
    page.click("#look")
    page.click("text=Look and review")
    ready(page)
    names = page.locator("#structures .name").all_inner_texts()
    found = read_labels(written)
    assert names == [found.scheme[number].name for number in found.present()]
    files = server.workspace / "uploads"
    (series,) = [folder for folder in files.rglob("CT") if folder.is_dir()]
    with pytest.raises(SystemExit) as ended:
        main(["segment", str(small_run), str(series), "--out", str(tmp_path / "shell")])
    assert not ended.value.code
    (shell,) = (tmp_path / "shell").glob("*.nii.gz")
    page.go_back()
    with page.expect_download() as download:
        page.click(f"text={written.name}")
    saved = download.value.path().read_bytes()
    assert hashlib.sha256(saved).digest() == hashlib.sha256(shell.read_bytes()).digest()


def reviewed(folder, count):
    """Label maps with their scans, as `condyle segment` leaves them."""
    scan, labels = lopsided()
    for number in range(count):
        write(scan, folder / "scans" / f"leg_{number:02d}.nii.gz")
        write(labels, folder / "labels" / f"leg_{number:02d}.nii.gz")
    (folder / "labels" / "manifest.jsonl").write_text("")
    (folder / "labels" / "labels.json").write_text(json.dumps(SCHEME.to_dict()))
    return folder


def test_structures_are_shown_hidden_alone_and_outlined(serve, page, tmp_path):
    server = serve(reviewed(tmp_path / "lab", 1), login=False)
    opened(page, server)
    labels = page.evaluate("fetch('/api/catalogue?kind=labels').then(a => a.json())")[0]["id"]
    opened(page, server, f"/look?labels={labels}")
    ready(page)
    page.keyboard.press("x")  # coronal: both, one over the other

    def reds_and_blues():
        shown = pixels(page)
        red = shown[..., 0] - shown[..., 2] > 60
        blue = shown[..., 2] - shown[..., 0] > 60
        crosshair = (shown[..., 0] > 200) & (shown[..., 1] < 130) & (shown[..., 2] < 130)
        return int((red & ~crosshair).sum()), int(blue.sum())

    red, blue = reds_and_blues()
    assert min(red, blue) > 1000
    page.keyboard.press("2")
    assert reds_and_blues()[1] < 20
    page.keyboard.press("Shift+Digit2")
    alone = reds_and_blues()
    assert alone[0] < red / 4
    assert alone[1] > blue / 2
    page.keyboard.press("o")
    lined = reds_and_blues()[1]
    assert 20 < lined < 0.8 * blue
    page.keyboard.press(" ")
    assert reds_and_blues()[1] < 20
    volumes = page.locator("#structures small").all_inner_texts()
    assert volumes == ["10.08 cm³", "10.08 cm³"]


def test_ten_scans_are_judged_by_keys_alone_and_a_crash_loses_nothing(serve, page, tmp_path):
    lab = reviewed(tmp_path / "lab", 10)
    server = serve(lab, login=False)
    opened(page, server)
    labels = page.evaluate("fetch('/api/catalogue?kind=labels').then(a => a.json())")[0]["id"]
    opened(page, server, f"/look?labels={labels}")
    keys = ["a", "r", "r", "a"]
    wanted = {}
    for number in range(20):
        page.wait_for_selector(f"#look[data-case=leg_{number // 2:02d}][data-state=ready]")
        key = keys[number % 4]
        if number == 11:  # the power fails, and the page is loaded again
            server.stop(hard=True)
            server = serve(lab, workspace=server.workspace, login=False)
            page.context.clear_cookies()
            opened(page, server, f"/look?labels={labels}&case=leg_05")
            page.evaluate("fetch('/api/catalogue').then(a => a.json())")
            page.reload()
            ready(page)
            page.keyboard.press("j")
        if number == 3:
            page.click("#note")
            page.keyboard.type("medial gap")
            page.keyboard.press("Enter")
        page.keyboard.press(key)
        done = str(number + 1 if number < 11 else number - 10)
        page.wait_for_selector(f"#look[data-judged='{done}']")
        structure = ("tibia", "femur")[number % 2]
        wanted[f"leg_{number // 2:02d}", structure] = {"a": "accepted", "r": "rejected"}[key]
    import csv

    with (lab / "labels" / "review.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert {(row["case"], row["structure"]): row["verdict"] for row in rows} == wanted
    assert [row["note"] for row in rows if row["note"]] == ["medial gap"]


def test_a_data_set_is_made_and_a_network_trained_with_live_curves(serve, page, tmp_path):
    lab = tmp_path / "lab"
    for seed in range(3):
        scan, truth = leg(seed, spacing=(8, 8, 24))
        write(scan, lab / "scans" / f"leg_{seed}.nii.gz")
        write(truth, lab / "masks" / f"leg_{seed}.nii.gz")
    server = serve(lab, login=False)
    opened(page, server, "/data")
    form = page.locator("form[data-verb=import][data-filled=yes]")
    form.wait_for()
    options = form.locator("[name=scans] option").all_inner_texts()
    for name, part in (("scans", "/scans/"), ("masks", "/masks/")):
        form.locator(f"[name={name}]").select_option(
            label=[option for option in options if part in option]
        )
    form.locator("[name=out]").fill("legs")
    form.locator("button[type=submit]").click()
    page.wait_for_selector("#job[data-state=done]", timeout=120_000)
    opened(page, server, "/train")
    form = page.locator("form[data-verb=train][data-filled=yes]")
    form.locator("[name=dataset]").select_option(index=1)
    form.locator("[name=network]").fill("unet-plain")
    form.locator("[name=epochs]").fill("500")
    form.locator("[name=out]").fill("legs")
    form.locator("button[type=submit]").click()
    page.wait_for_selector("#live[data-epochs] canvas", timeout=180_000)
    page.reload()  # a reload, and a second tab
    page.wait_for_selector("#job[data-state=running]")
    second = page.context.new_page()
    opened(second, server, "/jobs")
    second.wait_for_selector(".state[data-state=running]")
    page.click("#cancel")
    second.wait_for_selector(".state[data-state=cancelled]", timeout=60_000)
    page.wait_for_selector("#job[data-state=cancelled]")
    page.click("#retry")
    second.wait_for_selector(".state[data-state=running]", timeout=60_000)
    page.click("#cancel")
    page.wait_for_selector("#job[data-state=cancelled]", timeout=60_000)


def test_wrong_settings_are_said_at_their_field(serve, page, small_run, tmp_path):
    write(lopsided()[0], tmp_path / "lab" / "leg.nii.gz")
    server = serve(small_run.parent, tmp_path / "lab", login=False)
    opened(page, server, "/segment")
    form = page.locator("form[data-verb=segment][data-filled=yes]")
    form.locator("[name=run]").select_option(index=1)
    form.locator("[name=scans]").select_option(index=0)
    form.locator("[name=out]").fill("../up")
    form.locator("button[type=submit]").click()
    form.locator(".wrong:not([hidden])").wait_for()
    assert "no name for a folder" in form.locator(".wrong").inner_text()
    assert form.locator("[name=out][aria-invalid=true]").count() == 1


def test_without_webgl_the_server_draws_slices(serve, chromium, tmp_path):
    server = serve(reviewed(tmp_path / "lab", 1), login=False)
    context = chromium.new_context()
    context.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
        " return kind.startsWith('webgl') ? null : get.call(this, kind, ...more); };"
    )
    tab = context.new_page()
    opened(tab, server)
    labels = tab.evaluate("fetch('/api/catalogue?kind=labels').then(a => a.json())")[0]["id"]
    opened(tab, server, f"/look?labels={labels}")
    tab.wait_for_selector("#look[data-state=ready][data-viewer=slices]")
    tab.keyboard.press("x")
    tab.wait_for_selector("#drawn[data-drawn*=coronal]")
    shown = np.asarray(Image.open(io.BytesIO(tab.locator("#drawn").screenshot())).convert("RGB"))
    shown = shown.astype(int)
    red, blue = (shown[..., 0] - shown[..., 2] > 60), (shown[..., 2] - shown[..., 0] > 60)
    assert middle(blue)[0] < middle(red)[0]  # the femur lies above the tibia
    assert middle(red)[1] < 0.5  # the patient's right is on the left
    context.close()


def test_names_are_text_in_the_browser(serve, page, tmp_path):
    name = "<b onclick=alert(1)>&quot;"
    scan, labels = lopsided()
    write(scan, tmp_path / "lab" / f"{name}.nii.gz")
    named = LabelScheme.of({f"{name}x": 1, "<script>alert(1)</script>": 2})
    write(LabelMap(labels.array, labels.grid, named), tmp_path / "lab" / f"{name}.seg.nrrd")
    server = serve(tmp_path / "lab", login=False)
    opened(page, server)
    page.wait_for_selector("#things[data-count='2']")
    assert page.locator("#things b").all_inner_texts()[0].startswith(name)
    assert page.locator("#things [onclick]").count() == 0
    labels = page.evaluate("fetch('/api/catalogue?kind=labels').then(a => a.json())")[0]["id"]
    opened(page, server, f"/look?labels={labels}")
    ready(page)
    assert page.locator("#structures .name").all_inner_texts() == list(named.to_dict())
