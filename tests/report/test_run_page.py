import base64
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import pytest
from matplotlib.image import imread

from condyle.errors import OutputError
from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.report import Picture, Report, figures, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}
HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>{x}'


class Page(HTMLParser):
    """What a browser would find: elements in balance, their attributes, and the text."""

    def __init__(self, source: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


PNG = figures.curves([])
NAN = math.nan
REPORT = Report(
    title="unet-plain on legs",
    subtitle="3 held-out cases, fold 0",
    settings={"fold": 0, "network": {"name": "unet-plain", "weights": None}},
    data={"train": [f"leg_{n:03d}" for n in range(20)], "test": []},
    rows=[
        {"case": "good", "structure": "femur", "dice": 0.95, "hd95_mm": 1.0, "note": ""},
        {"case": "bad", "structure": "femur", "dice": 0.0, "hd95_mm": math.inf, "note": "missed"},
        {"case": "fair", "structure": "femur", "dice": 0.7, "hd95_mm": 3.0, "note": ""},
        {"case": "none", "structure": "femur", "dice": NAN, "note": "absent in both"},
    ],
    summary=[
        {"structure": s, "dice_mean": 0.55, "dice_sd": 0.49, "hd95_mm_mean": 2.0, "hd95_mm_sd": NAN,
         "n": 3, "n_absent": 1, "n_failed": 1}
        for s in ("femur", "mean")
    ],
    history=[{"epoch": n, "seconds": 60.0 * n, "loss": 1 / (n + 1)} for n in range(5)],
    pictures=[Picture("worst: bad", PNG), Picture("surfaces of good", PNG, "surfaces")],
    environment={"torch": "2.8.0", "commit": "abc1234"},
    warnings=["case bad counts as failed"],
    files={"Scores": "metrics.csv", "odd": "javascript:alert(1)"},
)  # fmt: skip


def written(report, tmp_path) -> str:
    return write_report(report, tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_holds_every_figure_and_asks_for_nothing(tmp_path):
    source = written(REPORT, tmp_path)
    page = Page(source)
    images = page.all("img")
    assert len(images) == 2 + 2 + 1  # pictures, box plots, curves
    for image in images:
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64"
        assert imread(BytesIO(base64.b64decode(data, validate=True))).size > 10_000
        assert image["alt"]
    assert page.all("link") == []
    assert all("src" not in script for script in page.all("script"))
    assert all(a["href"].startswith(("./", "#")) for a in page.all("a"))
    assert not re.search(r"https?:|url\(|@import", source)
    assert len(source) < 2_000_000


def test_the_page_says_what_was_asked_in_its_order(tmp_path):
    text = " ".join(Page(written(REPORT, tmp_path)).text)
    words = ["unet-plain on legs", "0.550", "mean Dice of 3 held-out cases", "1 warning",
             "Best and worst cases", "worst: bad", "Scores", "0.550 ± 0.490", "Every case",
             "Training", "Surfaces", "Settings", "Data", "Environment", "abc1234", "Warnings",
             "case bad counts as failed", "not a medical device"]  # fmt: skip
    places = [text.index(word) for word in words]
    assert places == sorted(places)
    assert "viewport" in str(Page(written(REPORT, tmp_path)).all("meta"))


def test_the_worst_case_stands_first_and_what_is_no_number_is_a_word(tmp_path):
    source = written(REPORT, tmp_path)
    table = source[source.index('<table class="sortable">') :]
    order = re.findall(r"<tr><td>(\w+)</td>", table)
    assert order == ["bad", "fair", "good", "none"]
    assert "infinite" in table
    assert "undefined" in table
    assert not re.search(r">-?(nan|inf)<", source, re.IGNORECASE)


def test_hostile_names_stay_text(tmp_path):
    evil = {HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}], "nested": {HOSTILE: HOSTILE}}
    report = Report(
        title=HOSTILE, subtitle=HOSTILE, settings=evil, data=evil, environment=evil,
        rows=[{"case": HOSTILE, "structure": HOSTILE, "dice": 0.5, "note": HOSTILE}],
        summary=[{"structure": HOSTILE, "dice_mean": 0.5, "dice_sd": 0.1, "n": 1}],
        history=[{"epoch": 0, "seconds": 1.0, "loss": 1.0, f"validation_{HOSTILE}": 0.5}],
        pictures=[Picture(HOSTILE, PNG)], warnings=[HOSTILE], files={HOSTILE: HOSTILE},
    )  # fmt: skip
    page = Page(written(report, tmp_path))
    assert len(page.all("script")) == 1
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert HOSTILE in page.text


def test_the_policy_of_the_page_lets_its_own_script_run_and_no_other(tmp_path):
    import hashlib

    source = written(REPORT, tmp_path)
    script = re.search(r"<script>(.*?)</script>", source, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = Page(source).all("meta")[1]["content"]
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_report_of_nothing_says_so(tmp_path):
    text = " ".join(Page(written(Report("empty"), tmp_path)).text)
    assert "performance was not measured" in text
    assert "Scores" not in text


def test_the_page_is_whole_or_absent(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(REPORT, path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OutputError, match="disk full"):
        write_report(replace(REPORT, title="another"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_probabilities_and_refinement_are_told_where_they_are_known(tmp_path):
    counts = ProbabilityHistogram.count([True, True, False, False], [0.9, 0.6, 0.3, 0.0])
    steps = {"fill_holes": True, "structures": {HOSTILE: {"keep_largest": 2, "min_mm3": 20.0}}}
    report = replace(REPORT, histograms={"femur": counts, HOSTILE: counts}, refined=steps)
    page = Page(written(report, tmp_path))
    text = " ".join(page.text)
    words = ["Training", "Probabilities", "average precision", "Surfaces", "Refined labels",
             "other structures", "holes filled",
             "largest components kept: 2; components below 20 mm³ removed"]  # fmt: skip
    places = [text.index(word) for word in words]
    assert places == sorted(places)
    narrow = [a for a in page.all("figure") if "narrow" in a["class"].split()]
    assert len(narrow) == 2
    assert len(page.all("img")) == 2 + 5
    plain = " ".join(Page(written(REPORT, tmp_path)).text)
    assert "Probabilities" not in plain
    assert "Refined" not in plain
    nothing = replace(REPORT, histograms={"femur": ProbabilityHistogram.none()})
    assert "Probabilities" not in " ".join(Page(written(nothing, tmp_path)).text)
