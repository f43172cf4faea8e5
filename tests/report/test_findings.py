"""The page of a check says everything, needs nothing, and takes no name for markup."""

from io import BytesIO

import numpy as np
from PIL import Image

from condyle.core import KNEE, Grid, LabelMap, Volume
from condyle.report.findings import CasePicture, FindingsPage, case_picture, write_findings

HOSTILE = "<script>alert(1)</script>"


def picture(labels=True):
    grid = Grid.regular((40, 50, 60))
    array = np.zeros(grid.shape, np.uint8)
    array[10:20, 10:30, 15:50] = 1
    volume = Volume(np.random.default_rng(0).normal(size=grid.shape), grid)
    return case_picture(volume, LabelMap(array, grid, KNEE) if labels else None)


def test_pictures_are_small_and_outline_the_labels():
    with_labels, without = (Image.open(BytesIO(picture(drawn))) for drawn in (True, False))
    assert with_labels.format == "JPEG"
    assert max(with_labels.size) <= 900

    def coloured(image):
        rgb = np.asarray(image).astype(int)
        return np.count_nonzero(np.ptp(rgb, axis=2) > 60)

    assert coloured(with_labels) > 200 > coloured(without)


def test_a_page_of_findings(tmp_path):
    rows = [
        {"Severity": "error", "Case": HOSTILE, "What": "it is flipped"},
        {"Severity": "warning", "Case": "b", "What": "it is large"},
    ]
    pictures = [CasePicture(HOSTILE, picture(), ["error: it is flipped"]), CasePicture("b", b"")]
    page = FindingsPage("Check of <legs>", "2 cases", rows, pictures, "Shown are all & more.")
    text = write_findings(page, tmp_path / "check.html").read_text()
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;alert") >= 2
    assert "<b>1</b><span>error</span>" in text
    assert "<b>1</b><span>warning</span>" in text
    assert text.count("data:image/jpeg;base64,") == 1
    assert "Shown are all &amp; more." in text


def test_a_page_of_a_sound_data_set(tmp_path):
    text = write_findings(FindingsPage("Check of legs"), tmp_path / "check.html").read_text()
    assert "No problems found." in text
    assert "<b>0</b><span>errors</span>" in text
