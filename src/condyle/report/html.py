"""One HTML page about a training run and its evaluation, with everything it needs inside."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from condyle.config import flattened
from condyle.jobs.outputs import write_text
from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.report import charts, figures, tables
from condyle.report.colours import Colour
from condyle.report.setting_words import words_of

__all__ = ["Picture", "Report", "write_report"]

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Picture:
    """A PNG and the sentence under it.

    Parameters
    ----------
    caption : what is seen; shown as it is, never as markup.
    png : the file's bytes, from `condyle.report.figures`.
    group : `cases` stand at the top of the page, `surfaces` below the curves.
    """

    caption: str
    png: bytes
    group: Literal["cases", "surfaces"] = "cases"


@dataclass(frozen=True)
class Report:
    """What a report says; empty parts are left out of the page.

    Parameters
    ----------
    title, subtitle : plain text.
    settings, data, environment : names and values, nested as deep as wanted.
    colours : structure -> its colour in the label scheme, the same in all charts.
    rows : a row a held-out case and structure, with `case`, `structure`, `dice` and other metrics.
    summary : rows of `condyle.measure.evaluate.summarise`.
    history : a row an epoch.
    curves : their picture, of `condyle.report.figures.curves`; drawn if it is not given.
    histograms : structure (or model) -> voxels of held-out cases by probability.
    refined : structure, or step for all of them -> how labels are cleaned after the network, as
        `condyle.refine.Refinement.to_dict` gives it.
    pictures : overlays and surfaces.
    warnings : everything the run warned of.
    advice : what to do next, of `condyle.report.advice`.
    files : name -> path relative to the page.
    """

    title: str
    subtitle: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    colours: Mapping[str, Colour] = field(default_factory=dict[str, Colour])
    rows: Rows = field(default_factory=Rows)
    summary: Rows = field(default_factory=Rows)
    history: Sequence[Mapping[str, Any]] = ()
    curves: bytes = b""
    histograms: Mapping[str, ProbabilityHistogram] = field(
        default_factory=dict[str, ProbabilityHistogram]
    )
    refined: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pictures: Sequence[Picture] = ()
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: Sequence[str] = ()
    advice: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str])


def write_report(report: Report, path: Path) -> Path:
    """Write the page as one HTML file, whole or not at all; gives back its path.

    Raises
    ------
    OutputError
        If it cannot be written; what stood there before stands there still.
    """
    return write_text(Path(path), page(report))


def page(report: Report) -> str:
    """The page's HTML; it asks nothing of the network, and reads well without its script."""
    sections = [
        section("Advice", advice_list(report.advice)),
        section("Best and worst cases", _pictures(report, "cases")),
        section("Scores", _summary(report.summary), _box_plots(report)),
        section("Every case, the worst first", _cases(report.rows)),
        section("Training", _curves(report)),
        section("Probabilities", _probabilities(report.histograms, report.colours)),
        section("Surfaces", _pictures(report, "surfaces")),
        section("Refined labels", _refined(report.refined)),
        section("Settings", settings(report.settings)),
        section("Data", settings(report.data)),
        section("Environment", settings(report.environment)),
        section("Warnings", warnings_list(report.warnings)),
        section("Files", links(report.files)),
    ]
    return document(report.title, report.subtitle, _headline(report), sections)


def document(title: str, subtitle: str, headline: str, sections: Sequence[str]) -> str:
    """A page's HTML in Condyle's style: title and subtitle as text, the rest as markup."""
    parts = resources.files("condyle.report")
    script = parts.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    return PAGE.format(
        policy=escape(policy),
        title=escape(title),
        subtitle=f'<p class="subtitle">{escape(subtitle)}</p>' if subtitle else "",
        style=parts.joinpath("page.css").read_text(encoding="utf-8"),
        headline=headline,
        sections="\n".join(filter(None, sections)),
        script=script,
    )


def section(title: str, *parts: str) -> str:
    kept = "\n".join(filter(None, parts))
    name = title.split()[0].lower()
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{kept}\n</section>' if kept else ""


def _headline(report: Report) -> str:
    """The mean Dice of the held-out cases, and the few other figures one asks for first."""
    means = tables.mean_dice(report.rows)
    if means:
        worst = min(means, key=lambda case: means[case])
        mean = sum(means.values()) / len(means)
        cases = "case" if len(means) == 1 else "cases"
        tiles = [tile(f"{mean:.3f}", f"mean Dice of {len(means)} held-out {cases}", "first")]
        tiles += [tile(f"{means[worst]:.3f}", f"the worst case, {worst}")] if len(means) > 1 else []
    else:
        tiles = [tile("–", "no test cases: the model's performance was not measured", "first")]
    mean = next((row for row in report.summary if row["structure"] == "mean"), {})
    for unit in ("mm", "px"):
        if (distance := mean.get(f"hd95_{unit}_mean")) is not None:
            tiles.append(tile(f"{tables.shown(distance, 2)} {unit}", "mean HD95"))
    failed = len({str(row["case"]) for row in report.rows if row.get("note") == "failed"})
    wrong = sum(row.get("note") in ("missed", "invented") for row in report.rows)
    tiles += [tile(str(failed), "without a prediction, counted as worst")] if failed else []
    tiles += [tile(str(wrong), "structures missed or invented")] if wrong else []
    seconds = [s for s in (_number(row.get("seconds")) for row in report.history) if s > 0]
    if seconds:
        tiles.append(tile(tables.duration(max(seconds)), f"training, {len(report.history)} epochs"))
    warned = len(report.warnings)
    note = f'<p class="note"><a href="#warnings">{warned} warning{"s" * (warned > 1)}</a></p>'
    return f'<div class="tiles">{"".join(tiles)}</div>{note if warned else ""}'


def tile(figure: str, text: str, name: str = "") -> str:
    return f'<div class="tile {name}"><b>{escape(figure)}</b><span>{escape(text)}</span></div>'


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def image(png: bytes, caption: str, kind: str) -> str:
    """A PNG inside the page; what a chart shows stands in the chart itself."""
    data = base64.b64encode(png).decode()
    shown = f"<figcaption>{escape(caption)}</figcaption>" if kind != "chart" else ""
    pixels = int.from_bytes(png[16:20])  # a PNG's width; a narrow chart is shown whole on a phone
    kind += " narrow" if kind == "chart" and pixels <= charts.NARROW else ""
    return (
        f'<figure class="{kind}"><div class="wide"><img alt="{escape(caption)}" '
        f'src="data:image/png;base64,{data}"></div>{shown}</figure>'
    )


def _pictures(report: Report, group: str) -> str:
    return "\n".join(image(p.png, p.caption, group) for p in report.pictures if p.group == group)


SCORES_NOTE = """Mean ± standard deviation over held-out cases. Dice, IoU, NSD and volume
similarity are best at 1, the others at 0; a volume similarity above 1 is too large. Absent: not
there and not predicted, so left out. Failed: missed, invented or without a prediction; these are
in the means with the worst figures, and with their own volume similarity and volume error."""


FIRST = ("Structure", "Dice", "HD95 (mm)", "ASSD (mm)", "Median volume error (cm³)", "Cases",
         "Absent", "Failed")  # fmt: skip
"""The columns that stand first; the others are folded away below them."""


def _summary(summary: Rows) -> str:
    if not summary:
        return ""
    table = folded_table(tables.metrics_table(summary), FIRST, "summary")
    return f'{table}<p class="note">{SCORES_NOTE}</p>'


def _box_plots(report: Report) -> str:
    metrics = {"dice": "Dice by structure", "hd95_mm": "HD95 by structure",
               "hd95_px": "HD95 by structure"}  # fmt: skip
    asked = {
        m: t
        for m, t in metrics.items()
        if any(math.isfinite(_number(r.get(m))) for r in report.rows)
    }
    return "\n".join(
        image(figures.box_plot(report.rows, m, report.colours), t, "chart")
        for m, t in asked.items()
    )


def _cases(rows: Rows) -> str:
    if not rows:
        return ""
    return f'<div class="wide tall">{tables.html(tables.cases_table(rows), "sortable")}</div>'


def _curves(report: Report) -> str:
    if not report.history:
        return ""
    drawn = report.curves or figures.curves(report.history, report.colours)
    return image(drawn, "Loss and validation scores over epochs", "chart")


PROBABILITY_NOTE = """Of all voxels of the held-out cases (of at most 8 of them), as the network saw
them. AP is the average precision, best at 1. ECE, the expected calibration error, is how far
probabilities above 0.01 lie from observed frequencies, best at 0; larger dots stand for more
voxels."""


def _probabilities(
    counts: Mapping[str, ProbabilityHistogram], colours: Mapping[str, Colour]
) -> str:
    """Precision-recall curves and calibration, beside each other where the page is wide."""
    if not any(count.voxels for count in counts.values()):
        return ""
    pictures = (
        image(figures.precision_recall(counts, colours), "Precision over recall", "chart"),
        image(figures.calibration(counts, colours), "Observed over expected frequency", "chart"),
    )
    return f'<div class="pair">{"".join(pictures)}</div><p class="note">{PROBABILITY_NOTE}</p>'


REFINED = {
    "slice_ratio": "slice by slice, holes filled and components below {:.4g} of its pixels removed",
    "slice_plane": "these slices are {}",
    "smooth_mm": "smoothed by {:.4g} mm",
    "min_mm3": "components below {:.4g} mm³ removed",
    "keep_largest": "largest components kept: {}",
    "fill_holes": "holes filled",
}


def _refined(steps: Mapping[str, Any]) -> str:
    """The steps of every structure, then those that have their own."""
    its: Mapping[str, Any] = steps.get("structures", {})
    general = {name: value for name, value in steps.items() if name != "structures"}
    said = {"other structures" if its else "every structure": general} if general else {}
    said |= its
    return settings({name: _steps(values) for name, values in said.items()})


def _steps(values: Mapping[str, Any]) -> str:
    done = [
        REFINED.get(step, f"{tables.words(step)}: {{}}").format(value)
        for step, value in values.items()
    ]
    return "; ".join(done) or "nothing"


def wide(table: str) -> str:
    """A table that moves sideways where the page is narrow; nothing for none."""
    return f'<div class="wide">{table}</div>' if table else ""


def folded_table(rows: Sequence[Mapping[str, Any]], first: Sequence[str], name: str = "") -> str:
    """A table of the columns `first` and, folded away below it, one of all others.

    Both begin with the column that names the row, the first of `first`.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    front = [c for c in first if c in columns]
    rest = [c for c in columns if c not in front]
    parts = [wide(tables.html([{c: row.get(c) for c in front} for row in rows], name))]
    if rest:
        folded = tables.html([{c: row.get(c) for c in (front[0], *rest)} for row in rows], name)
        summary = escape(", ".join(rest))
        parts.append(f"<details><summary>{summary}</summary>{wide(folded)}</details>")
    return "\n".join(parts)


def settings(tree: Mapping[str, Any]) -> str:
    """Names and values; a group of them becomes a block with its own heading."""
    plain = {k: v for k, v in tree.items() if not isinstance(v, Mapping)}
    nested: dict[str, Mapping[str, Any]] = {k: v for k, v in tree.items() if isinstance(v, Mapping)}
    blocks = [_block("", plain)] if plain else []
    blocks += [_block(name, flattened(values)) for name, values in nested.items()]
    return f'<div class="blocks">{"".join(blocks)}</div>' if blocks else ""


def _block(name: str, values: Mapping[str, Any]) -> str:
    heading = f"<h3>{escape(tables.words(name))}</h3>" if name else ""
    before = f"{name}." if name else ""
    lines = "".join(_line(f"{before}{key}", name, value) for key, value in values.items())
    return f'<div class="block">{heading}<dl>{lines}</dl></div>'


def _line(key: str, group: str, value: Any) -> str:
    """A setting in words; its name in the settings' file shows when one points at it."""
    words = escape(words_of(key, group))
    return f'<dt title="{escape(key)}">{words}</dt><dd>{_value(value)}</dd>'


MOST_SHOWN = 8


def _value(value: Any) -> str:
    """A setting's value; a long list folds away behind its number of entries."""
    if isinstance(value, (list, tuple)):
        entries: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        text = escape(", ".join(_plain(v) for v in entries) or "none")
        if len(entries) <= MOST_SHOWN:
            return text
        return f"<details><summary>{len(entries)}</summary>{text}</details>"
    return escape(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return tables.shown(value)


def advice_list(sentences: Sequence[str]) -> str:
    """Sentences as a list, settings between backticks set apart; nothing for none."""
    marked = (re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text)) for text in sentences)
    lines = "".join(f"<li>{text}</li>" for text in marked)
    return f'<ul class="advice">{lines}</ul>' if lines else ""


def warnings_list(warnings: Sequence[str]) -> str:
    """What was warned of, as a list."""
    lines = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f'<ul class="warnings">{lines}</ul>' if lines else "<p>None.</p>"


def links(files: Mapping[str, str]) -> str:
    """Links to files beside the page; './' before the path keeps it a path whatever it says."""
    lines = "".join(
        f'<li><a href="./{quote(path)}">{escape(name)}</a></li>' for name, path in files.items()
    )
    return f'<ul class="files">{lines}</ul>' if lines else ""


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<p class="mark">Condyle report</p>
<h1>{title}</h1>
{subtitle}
{headline}
<p class="note swipe">Wide pictures and tables move sideways.</p>
</header>
{sections}
<footer><p>Made with Condyle. Research software, not a medical device:
no part of this page may decide about a patient's care.</p></footer>
</main>
<script>{script}</script>
</body>
</html>
"""
