"""Rows of figures as tables: one list of rows, for a page or as Markdown, CSV or LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from condyle.jobs.job import shown as escaped
from condyle.jobs.tables import table_text

__all__ = [
    "METRICS",
    "cases_table",
    "columns_and_cells",
    "csv_text",
    "duration",
    "latex",
    "markdown",
    "mean_dice",
    "mean_sd",
    "metrics_table",
    "shown",
    "words",
]

METRICS: dict[str, tuple[str, str, int]] = {
    "dice": ("Dice", "", 3),
    "iou": ("IoU", "", 3),
    "precision": ("Precision", "", 3),
    "recall": ("Recall", "", 3),
    "volume_similarity": ("Volume similarity", "", 3),
    "volume_error_cm3": ("Volume error", "cm³", 2),
    "hd95_mm": ("HD95", "mm", 2),
    "assd_mm": ("ASSD", "mm", 2),
    "nsd": ("NSD", "", 3),
    "area_error_px": ("Area error", "px", 0),
    "hd95_px": ("HD95", "px", 2),
    "assd_px": ("ASSD", "px", 2),
}
"""Metric -> its name in a heading, its unit, and the decimals shown."""

MEDIANS = ("volume_error_cm3", "area_error_px")
"""Errors of size, of which one lost structure would outweigh all others in a mean."""

COUNTS = {"n": "Cases", "n_absent": "Absent", "n_failed": "Failed"}

Row = Mapping[str, Any]


def metrics_table(summary: Sequence[Row]) -> list[dict[str, str]]:
    """A row a structure: mean ± standard deviation of each metric, units in the headings.

    Of the volume error the median: in its mean one lost structure outweighs all others. It is
    not averaged over structures.

    Parameters
    ----------
    summary : rows of `condyle.measure.evaluate.summarise`: structure, dice_mean, dice_sd, ..., n;
        the last of them, 'mean', is over the structures.

    Examples
    --------
    >>> metrics_table([{"structure": "femur", "hd95_mm_mean": 1.5, "hd95_mm_sd": 0.25, "n": 8}])
    [{'Structure': 'femur', 'HD95 (mm)': '1.50 ± 0.25', 'Cases': '8'}]
    """
    found = {key for row in summary for key in row}
    table: list[dict[str, str]] = []
    for row in summary:
        line = {"Structure": words(str(row["structure"]))}
        for metric, (name, unit, digits) in METRICS.items():
            if metric in MEDIANS and f"{metric}_median" in found:
                of_one = row["structure"] != "mean"  # cm³ are not averaged over structures
                median = row.get(f"{metric}_median") if of_one else None
                line[f"Median {name.lower()} ({unit})"] = shown(median, digits)
            elif f"{metric}_mean" in found:
                mean, sd = row.get(f"{metric}_mean"), row.get(f"{metric}_sd")
                line[heading(metric)] = mean_sd(mean, sd, digits)
        line |= {title: shown(row.get(key)) for key, title in COUNTS.items() if key in found}
        table.append(line)
    return table


def cases_table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """A row a case and structure, the lowest Dice first; where Dice is undefined, last."""

    def rank(row: Row) -> float:
        dice = row.get("dice")
        return dice if isinstance(dice, (int, float)) and math.isfinite(dice) else math.inf

    found = {key for row in rows for key in row}
    table: list[dict[str, str]] = []
    for row in sorted(rows, key=rank):
        line = {"Case": str(row["case"]), "Structure": words(str(row["structure"]))}
        for metric, (_, _, digits) in METRICS.items():
            if metric in found:
                line[heading(metric)] = shown(row.get(metric), digits)
        if any(r.get("note") for r in rows):
            line["Note"] = str(row.get("note", ""))
        table.append(line)
    return table


def heading(metric: str) -> str:
    """A metric's name with its unit: 'HD95 (mm)'; what is none of `METRICS` as it is called."""
    name, unit, _ = METRICS.get(metric, (metric, "", 3))
    return f"{name} ({unit})" if unit else name


def mean_dice(rows: Sequence[Row]) -> dict[str, float]:
    """Case -> mean Dice over the structures for which it is defined.

    Parameters
    ----------
    rows : a row a case and structure.
    """
    scores: dict[str, list[float]] = {}
    for row in rows:
        if _finite(row.get("dice")):
            scores.setdefault(str(row["case"]), []).append(float(row["dice"]))
    return {case: sum(found) / len(found) for case, found in scores.items()}


def words(name: str) -> str:
    """A structure's or a setting's name as words: 'femur_left' -> 'femur left'."""
    return name.replace("_", " ").strip() or name


def shown(value: Any, digits: int = 3) -> str:
    """A value as people read it; numbers that are not finite as words, what is not set as a dash.

    Examples
    --------
    >>> shown(0.98765), shown(float("nan")), shown(float("inf")), shown(None), shown(12)
    ('0.988', 'undefined', 'infinite', '–', '12')
    """
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def mean_sd(mean: Any, sd: Any, digits: int = 3) -> str:
    """A mean and its standard deviation: '0.912 ± 0.034'; the mean alone where there is no sd."""
    text = shown(mean, digits)
    if not (_finite(mean) and _finite(sd)):
        return text
    return f"{text} ± {shown(float(sd), digits)}"


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def duration(seconds: float) -> str:
    """A time span in words: '42 s', '14 min', '3 h 20 min'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _cells(rows: Sequence[Row], columns: Sequence[str]) -> list[list[str]]:
    return [[shown(row.get(column)) for column in columns] for row in rows]


NUMBER = re.compile(r"(?:< )?[-+]?\d[\d.,]*(?!\w)|undefined$|infinite$|minus infinite$|–$")


def _numeric(cells: Sequence[Sequence[str]], columns: Sequence[str]) -> list[bool]:
    """Whether a column holds nothing but numbers: it is set to the right."""
    return [
        bool(cells) and all(NUMBER.match(line[at]) for line in cells) and at > 0
        for at in range(len(columns))
    ]


def columns_and_cells(
    rows: Sequence[Row],
) -> tuple[list[tuple[str, bool]], list[list[str]]]:
    """The columns, each with whether it holds numbers, and the cells as they are shown."""
    columns = _columns(rows)
    cells = _cells(rows, columns)
    return list(zip(columns, _numeric(cells, columns), strict=True)), cells


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table, ending in a newline.

    Examples
    --------
    >>> print(markdown([{"Structure": "femur", "Dice": 0.5}]))
    | Structure | Dice |
    | --- | ---: |
    | femur | 0.500 |
    <BLANKLINE>
    """
    columns = _columns(rows)
    cells = _cells(rows, columns)
    rule = ["---:" if numeric else "---" for numeric in _numeric(cells, columns)]
    lines = [[_plain(c) for c in columns], rule, *[[_plain(c) for c in line] for line in cells]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return escape(escaped(" ".join(text.split())), quote=False).replace("|", "\\|")


def csv_text(rows: Sequence[Row], exact: bool = False) -> str:
    """Comma-separated text with a line of headings; numbers as shown, or exactly as they are.

    What is not known is empty.
    """
    if exact:
        return table_text(rows)
    return table_text(
        [{name: "" if cell is None else shown(cell) for name, cell in row.items()} for row in rows]
    )


LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "±": r"$\pm$", "³": r"\textsuperscript{3}", "–": "--", "<": r"\textless{}",
    ">": r"\textgreater{}",
}  # fmt: skip


def latex(rows: Sequence[Row]) -> str:
    r"""A LaTeX `tabular` for the package booktabs, ending in a newline.

    Examples
    --------
    >>> print(latex([{"Structure": "femur_left", "Dice": "0.95 ± 0.01"}]))
    \begin{tabular}{lr}
    \toprule
    Structure & Dice \\
    \midrule
    femur\_left & 0.95 $\pm$ 0.01 \\
    \bottomrule
    \end{tabular}
    <BLANKLINE>
    """
    columns = _columns(rows)
    cells = _cells(rows, columns)
    kinds = "".join("r" if numeric else "l" for numeric in _numeric(cells, columns))
    lines = [" & ".join(map(_tex, line)) + r" \\" for line in [columns, *cells]]
    body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{{{kinds}}}", *body, r"\end{tabular}", ""])


def _tex(text: str) -> str:
    """Text that LaTeX shows as it is."""
    return "".join(LATEX.get(c, c) for c in escaped(" ".join(text.split())))
