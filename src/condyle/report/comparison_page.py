"""A comparison's files and its page: who is best, by how much, and whether that is chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from condyle.io import read_labels
from condyle.jobs.outputs import write_bytes, write_text
from condyle.mesh import surfaces
from condyle.report import figures, models, probability, tables
from condyle.report.comparison_slices import Picture, slice_pictures
from condyle.report.comparison_tables import (
    VIEWS,
    Compared,
    Model,
    Place,
    compared,
    interval,
    p_text,
)
from condyle.report.parts import (
    document,
    folded_table,
    image,
    links,
    note,
    pair,
    paragraph,
    section,
    settings,
    table,
    tiles,
    warnings_list,
)

__all__ = ["write_comparison"]

SLICES = "slices"
"""The folder of pictures of slices, each by itself."""

Row = dict[str, Any]

NOTES = {
    "3d": "Over whole volumes. Mean ± standard deviation over patients, a patient's structures, "
    "scans and seeds averaged first. What was missed, invented or without a prediction counts as "
    "the worst, and is counted under Failed. A volume similarity above 1 is too large.",
    "2d": "Every slice ({planes}) in which the structure is or was predicted is scored by itself; "
    "a patient's slices are averaged first. 'Over slices': mean ± standard deviation over the "
    "slices of all patients, as the femur study has it.",
    "3d_ends": "Only the first and last {ends} axial slices that hold a structure, as one volume.",
    "2d_ends": "The first and last {ends} axial slices that hold a structure, each by itself.",
}
TESTS = """The interval holds the mean with 95 % confidence, the bracket the rank, both from
10,000 draws of patients. p: Wilcoxon's signed-rank test of Dice against the best model on the same
patients, adjusted by Holm for all pairs."""
PAIRS = """The mean difference in Dice over the same patients, with its 95 % interval; on how many
patients each of the two is better; Wilcoxon's p, and the same adjusted by Holm for all pairs."""


def write_comparison(some: Sequence[Model], place: Place, out: Path) -> Compared:
    """Write the tables (CSV, Markdown, LaTeX) and report.html; gives back all figures.

    Raises
    ------
    WeightsError
        If no model at all is here.
    """
    found = compared(some, place.ends, place.planes)
    files = dict(_files(found))
    for name, text in files.items():
        write_text(out / name, text)
    drawn = dict(slice_pictures(found, place))
    for picture in drawn.values():
        write_bytes(out / SLICES / picture.name, picture.png)
    files |= dict.fromkeys((f"{SLICES}/{picture.name}" for picture in drawn.values()), "")
    write_text(out / "report.html", _page(found, place, list(files), drawn))
    return found


def _files(found: Compared) -> Iterator[tuple[str, str]]:
    """Each table's file name and text."""
    for view, rows in found.views.items():
        yield f"table_{view}.csv", tables.csv_text(rows)
        yield f"table_{view}.md", tables.markdown(rows)
        yield f"table_{view}.tex", tables.latex(rows)
    yield "standings.csv", tables.csv_text(found.standings, exact=True)
    yield "pairs.csv", tables.csv_text(found.pairs, exact=True)
    scores = [{"model": model.name, **row} for model in (*found.models, *found.specialists)
              for row in model.rows]  # fmt: skip
    yield "scores.csv", tables.csv_text(scores, exact=True)


def _page(found: Compared, place: Place, files: Sequence[str], drawn: Mapping[str, Picture]) -> str:
    patients = found.standing()[0]["patients"]
    views = {view: _view(found, view, place) for view in found.views}
    parts = [
        section("Result", paragraph(_said(found)), views["3d"]),
        section("Spread over patients", *_charts(found)),
        *(section(VIEWS[view][0], views[view]) for view in views if view != "3d"),
        section("Structures", table(_structures(found))),
        section(
            "Every pair of models",
            table(_pairs(found)),
            note(found.too_few or PAIRS) if found.pairs else "",
        ),
        section("Probabilities", *_probabilities(found)),
        section("Cases", *_overlays(found, place)),
        section("Slices", *(image(one.png, words, "cases") for words, one in drawn.items())),
        section("Training", *_curves(found)),
        section("Folds and seeds", table(_runs(found))),
        section("Settings", settings(place.settings)),
        section("Environment", settings(place.environment)),
        section("Warnings", warnings_list(place.warnings)),
        section("Files", links({name: name for name in files})),
    ]
    subtitle = f"the same {patients} patients for each model, none of them seen in its training"
    return document(place.title, subtitle, _headline(found, patients), parts)


def _headline(found: Compared, patients: int) -> str:
    best = found.standing()[0]
    shown = [
        (f"{best['mean']:.3f}", f"mean Dice of {best['model']}, the best"),
        (str(len(found.models) + len(found.specialists)), "models compared"),
        (str(patients), "patients" if patients > 1 else "patient"),
    ]
    shown += [(str(len(found.absent)), "models not available")] if found.absent else []
    return tiles(shown)


def _said(found: Compared) -> str:
    """The result in sentences."""
    standing = found.standing()
    best = standing[0]
    between = interval(best["low"], best["high"], " ({:.3f} to {:.3f})") or ""
    said = f"{best['model']} has the highest mean Dice, {best['mean']:.3f}{between}."
    if found.too_few:
        said += f" {found.too_few}"
    elif len(standing) > 1:
        others = [row for row in found.between() if best["model"] in (row["model"], row["other"])]
        sure = sum(row["significant"] for row in others)
        if sure == len(others):
            said += " The difference is significant against every other."
        else:
            said += (
                f" The difference is significant against {sure} of the other {len(others)}; where "
                "it is not, no difference was shown on these patients."
            )
    absent = ", ".join(model.name for model in found.absent)
    return said + (f" Not on this machine (see Warnings): {absent}." if absent else "")


FIRST = ("Model", "Dice", "95 % CI", "Rank", "p to the best", "Failed", "HD95 (mm)", "ASSD (mm)",
         "Dice, over slices", "IoU, over slices", "Precision", "Recall", "Training")  # fmt: skip
"""The columns that stand first; the others are folded away below them."""


def _view(found: Compared, view: str, place: Place) -> str:
    rows = folded_table(found.views[view], FIRST)
    planes = "axial, coronal and sagittal" if place.planes == "all" else place.planes
    words = NOTES[view].format(ends=place.ends, planes=planes)
    return rows + note(f"{words} {found.too_few or TESTS}")


def _charts(found: Compared) -> Iterator[str]:
    standing = found.standing()
    yield pair(
        image(models.intervals(standing), "Mean Dice", "chart"),
        image(models.ranks(standing), "Ranks", "chart"),
    )
    yield pair(
        *(
            image(
                models.box_plot_of_models(found.of_patients(metric), metric),
                f"{tables.heading(metric)} of every patient",
                "chart",
            )
            for metric in ("dice", "hd95_mm", "hd95_px")
            if found.standing(metric)
        )
    )


def _structures(found: Compared) -> list[Row]:
    """A row a model: Dice of each structure."""
    lines: dict[str, Row] = {model.name: {"Model": model.name} for model in found.models}
    for row in found.standings:
        if (row["view"], row["metric"]) == ("3d", "dice") and row["structure"] != "all":
            name = tables.words(row["structure"])
            lines[row["model"]][name] = tables.mean_sd(row["mean"], row["sd"])
    return list(lines.values())


def _pairs(found: Compared) -> list[Row]:
    return [
        {
            "Model": row["model"],
            "Other": row["other"],
            "Difference in Dice": f"{row['mean']:+.4f}",
            "95 % CI": interval(row["low"], row["high"], "{:+.4f} to {:+.4f}"),
            "Better on": f"{row['wins']} : {row['losses']}",
            "p": p_text(row["p"]),
            "p (Holm)": p_text(row["holm"]),
            "Significant": row["significant"],
        }
        for row in found.between()
    ]


def _runs(found: Compared) -> list[Row]:
    """A row a training: Dice of each structure, and what it cost."""
    lines: list[Row] = []
    for model in (*found.models, *found.specialists):
        for run in model.runs:
            mine = [row for row in model.rows if all(row[k] == run[k] for k in ("fold", "seed"))]
            line: Row = {"Model": model.name, "Fold": run["fold"], "Seed": run["seed"]}
            for structure in dict.fromkeys(str(row["structure"]) for row in mine):
                dices = [r["dice"] for r in mine if r["structure"] == structure and r["dice"] >= 0]
                mean = sum(dices) / len(dices) if dices else None
                line[f"Dice {tables.words(structure)}"] = mean
            seconds = run.get("seconds")
            line["Training"] = tables.duration(seconds) if seconds is not None else None
            line["Warnings"] = len(run.get("warnings", ()))
            lines.append(line | ({"Failed": run["failed"]} if run["failed"] else {}))
    return lines


def _curves(found: Compared) -> Iterator[str]:
    histories = {model.name: model.histories for model in (*found.models, *found.specialists)
                 if any(model.histories)}  # fmt: skip
    if histories:
        title = "Loss and validation Dice; a thin line a training"
        yield image(models.curves_of_runs(histories, over="minutes"), title, "chart")


def _probabilities(found: Compared) -> Iterator[str]:
    """How good probabilities are of the models that have any; engines give label maps alone."""
    known = {m.name: m.histogram for m in found.models if m.histogram.voxels}
    if known:
        precision = "Precision over recall, all structures' voxels together"
        calibration = "Observed frequency of a structure over its predicted probability"
        yield pair(
            image(probability.precision_recall(known), precision, "chart"),
            image(probability.calibration(known), calibration, "chart"),
        )


def _overlays(found: Compared, place: Place) -> Iterator[str]:
    """The worst and the best case, as the first, the last and a model between predicted."""
    able = [model for model in found.models if model.predictions]
    names = [name for name in found.of_cases() if all(name in m.predictions for m in able)]
    if not able or not names:
        return
    drawn = [able[n] for n in dict.fromkeys((0, len(able) // 2, len(able) - 1))]
    scores = {model.name: found.of_cases(model.name) for model in drawn}
    for word, name in zip(("worst", "best"), dict.fromkeys((names[0], names[-1])), strict=False):
        case = place.cases[name]
        truth, scan = case.labels(), case.channels()
        for model in drawn:
            predicted = read_labels(model.predictions[name], truth.scheme)
            caption = (
                f"{word} over all models: {name}, by {model.name}, mean Dice "
                f"{scores[model.name][name]:.3f}; filled: predicted, outlined: true"
            )
            yield image(figures.overlay(scan, truth, predicted), caption, "cases")
            flat = truth.grid.is_picture
            if word == "worst" and not flat and predicted.present() and truth.present():
                shown = figures.distances(surfaces(predicted), surfaces(truth))
                caption = f"{name}, by {model.name}: distance of its surface from the true one"
                yield image(shown, caption, "surfaces")
