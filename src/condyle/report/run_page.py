"""One HTML page about a training run and its evaluation, with everything it needs inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from condyle.jobs.outputs import write_text
from condyle.measure.probability_histogram import ProbabilityHistogram
from condyle.report import figures, tables
from condyle.report.colours import Colour
from condyle.report.parts import (
    advice_list,
    count_of_warnings,
    document,
    folded_table,
    image,
    links,
    note,
    pair,
    section,
    settings,
    table,
    tiles,
    warnings_list,
)

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
        section("Best and worst cases", *_pictures(report, "cases")),
        section("Scores", _summary(report.summary), *_box_plots(report)),
        section("Every case, the worst first", _cases(report.rows)),
        section("Training", _curves(report)),
        section("Probabilities", _probabilities(report.histograms, report.colours)),
        section("Surfaces", *_pictures(report, "surfaces")),
        section("Refined labels", _refined(report.refined)),
        section("Settings", settings(report.settings)),
        section("Data", settings(report.data)),
        section("Environment", settings(report.environment)),
        section("Warnings", warnings_list(report.warnings)),
        section("Files", links(report.files)),
    ]
    return document(report.title, report.subtitle, _headline(report), sections)


def _headline(report: Report) -> Markup:
    """The mean Dice of the held-out cases, and the few other figures one asks for first."""
    means = tables.mean_dice(report.rows)
    if means:
        worst = min(means, key=lambda case: means[case])
        mean = sum(means.values()) / len(means)
        cases = "case" if len(means) == 1 else "cases"
        shown = [(f"{mean:.3f}", f"mean Dice of {len(means)} held-out {cases}")]
        shown += [(f"{means[worst]:.3f}", f"the worst case, {worst}")] if len(means) > 1 else []
    else:
        shown = [("–", "no test cases: the model's performance was not measured")]
    over_all = next((row for row in report.summary if row["structure"] == "mean"), {})
    for unit in ("mm", "px"):
        if (distance := over_all.get(f"hd95_{unit}_mean")) is not None:
            shown.append((f"{tables.shown(distance, 2)} {unit}", "mean HD95"))
    failed = len({str(row["case"]) for row in report.rows if row.get("note") == "failed"})
    wrong = sum(row.get("note") in ("missed", "invented") for row in report.rows)
    shown += [(str(failed), "without a prediction, counted as worst")] if failed else []
    shown += [(str(wrong), "structures missed or invented")] if wrong else []
    seconds = [s for s in (_number(row.get("seconds")) for row in report.history) if s > 0]
    if seconds:
        shown.append((tables.duration(max(seconds)), f"training, {len(report.history)} epochs"))
    return tiles(shown) + count_of_warnings(len(report.warnings))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _pictures(report: Report, group: str) -> list[Markup]:
    return [image(p.png, p.caption, group) for p in report.pictures if p.group == group]


SCORES_NOTE = """Mean ± standard deviation over held-out cases. Dice, IoU, NSD and volume
similarity are best at 1, the others at 0; a volume similarity above 1 is too large. Absent: not
there and not predicted, so left out. Failed: missed, invented or without a prediction; these are
in the means with the worst figures, and with their own volume similarity and volume error."""


FIRST = ("Structure", "Dice", "HD95 (mm)", "ASSD (mm)", "Median volume error (cm³)",
         "HD95 (px)", "ASSD (px)", "Median area error (px)", "Cases", "Absent",
         "Failed")  # fmt: skip
"""The columns that stand first; the others are folded away below them."""


def _summary(summary: Rows) -> Markup:
    if not summary:
        return Markup()
    return folded_table(tables.metrics_table(summary), FIRST, "summary") + note(SCORES_NOTE)


def _box_plots(report: Report) -> list[Markup]:
    hd95 = "HD95 by structure"
    metrics = {"dice": "Dice by structure", "hd95_mm": hd95, "hd95_px": hd95}
    asked = {
        m: t
        for m, t in metrics.items()
        if any(math.isfinite(_number(r.get(m))) for r in report.rows)
    }
    return [
        image(figures.box_plot(report.rows, m, report.colours), t, "chart")
        for m, t in asked.items()
    ]


def _cases(rows: Rows) -> Markup:
    return table(tables.cases_table(rows), "sortable", "tall") if rows else Markup()


def _curves(report: Report) -> Markup:
    if not report.history:
        return Markup()
    drawn = report.curves or figures.curves(report.history, report.colours)
    return image(drawn, "Loss and validation scores over epochs", "chart")


PROBABILITY_NOTE = """Of all voxels of the held-out cases (of at most 8 of them), as the network saw
them. AP is the average precision, best at 1. ECE, the expected calibration error, is how far
probabilities above 0.01 lie from observed frequencies, best at 0; larger dots stand for more
voxels."""


def _probabilities(
    counts: Mapping[str, ProbabilityHistogram], colours: Mapping[str, Colour]
) -> Markup:
    """Precision-recall curves and calibration, beside each other where the page is wide."""
    if not any(count.voxels for count in counts.values()):
        return Markup()
    pictures = (
        image(figures.precision_recall(counts, colours), "Precision over recall", "chart"),
        image(figures.calibration(counts, colours), "Observed over expected frequency", "chart"),
    )
    return pair(*pictures) + note(PROBABILITY_NOTE)


REFINED = {
    "slice_ratio": "slice by slice, holes filled and components below {:.4g} of its pixels removed",
    "slice_plane": "these slices are {}",
    "smooth_mm": "smoothed by {:.4g} mm",
    "min_mm3": "components below {:.4g} mm³ removed",
    "keep_largest": "largest components kept: {}",
    "fill_holes": "holes filled",
}


def _refined(steps: Mapping[str, Any]) -> Markup:
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
