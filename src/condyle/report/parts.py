"""The parts of Condyle's pages: a report's, and those of the page that `condyle serve` shows.

Their HTML stands in `templates`, and everything that is not HTML made there is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from condyle.config import flattened
from condyle.report import charts, tables
from condyle.report.setting_words import words_of

__all__ = [
    "advice_list",
    "case_picture",
    "count_of_warnings",
    "document",
    "folded_table",
    "image",
    "links",
    "note",
    "pair",
    "paragraph",
    "section",
    "settings",
    "table",
    "templates",
    "tiles",
    "warnings_list",
]

MOST_SHOWN = 8
"""The entries of a list that stand on the page; a longer one is folded away."""


@cache
def templates() -> Environment:
    """The templates of all pages, with autoescape; a name that is not given is an error."""
    found = Environment(
        loader=PackageLoader("condyle.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    found.filters["with_code"] = _with_code
    return found


def _part(name: str, *values: Any) -> Markup:
    """A part of a page, by the macro of this name in `parts.html`."""
    return Markup(getattr(templates().get_template("parts.html").module, name)(*values).strip())


def _with_code(text: str) -> Markup:
    """A sentence with the settings between backticks set apart."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def document(title: str, subtitle: str, headline: str, sections: Sequence[str]) -> str:
    """A page's HTML in Condyle's style: title and subtitle as text, the rest as `Markup`."""
    folder = resources.files("condyle.report").joinpath("templates")
    script = folder.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )
    return templates().get_template("page.html").render(
        policy=policy, title=title, subtitle=subtitle, headline=headline,
        sections=[part for part in sections if part], script=Markup(script),
        style=Markup(folder.joinpath("page.css").read_text(encoding="utf-8")),
    )  # fmt: skip


def section(title: str, *parts: str) -> Markup:
    """A section of those parts that are not empty; nothing where all are."""
    kept = [part for part in parts if part]
    return _part("section", title, kept) if kept else Markup()


def tiles(some: Sequence[tuple[str, str]]) -> Markup:
    """The figures that one asks for first, each with what it is; the first is the largest."""
    return _part("tiles", some)


def note(text: str) -> Markup:
    """A remark in small letters; nothing for none."""
    return _part("note", text) if text else Markup()


def count_of_warnings(count: int) -> Markup:
    """How many warnings there are, with a link to them; nothing for none."""
    return _part("count_of_warnings", count) if count else Markup()


def paragraph(text: str) -> Markup:
    """A paragraph."""
    return _part("paragraph", text)


def image(png: bytes, caption: str, kind: str) -> Markup:
    """A PNG inside the page; what a chart shows stands in the chart itself."""
    pixels = int.from_bytes(png[16:20])  # a PNG's width; a narrow chart is shown whole on a phone
    narrow = " narrow" if kind == "chart" and pixels <= charts.NARROW else ""
    return _part("image", _data(png, "png"), caption, kind + narrow, kind != "chart")


def case_picture(name: str, jpeg: bytes, sentences: Sequence[str]) -> Markup:
    """A case's picture below its name and what was found about it."""
    return _part("case_picture", name, _data(jpeg, "jpeg") if jpeg else "", sentences)


def _data(picture: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def pair(*charts: str) -> Markup:
    """Two charts side by side, where the page is wide enough."""
    return _part("pair", charts)


def table(rows: Sequence[Mapping[str, Any]], name: str = "", kind: str = "") -> Markup:
    """A table that moves sideways where the page is narrow; nothing for none.

    Parameters
    ----------
    name : its class; `sortable` ones are sorted by a click on a column's heading.
    kind : 'tall' for one that moves up and down, too.
    """
    if not rows:
        return Markup()
    columns, cells = tables.columns_and_cells(rows)
    numeric = [of_numbers for _, of_numbers in columns]
    lines = [list(zip(line, numeric, strict=True)) for line in cells]
    return _part("wide", _part("table", columns, lines, name), kind)


def folded_table(rows: Sequence[Mapping[str, Any]], first: Sequence[str], name: str = "") -> Markup:
    """A table of the columns `first` and, folded away below it, one of all others.

    Both begin with the column that names the row, the first of `first`.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    front = [c for c in first if c in columns]
    rest = [c for c in columns if c not in front]
    shown = table([{c: row.get(c) for c in front} for row in rows], name)
    if rest:
        others = table([{c: row.get(c) for c in (front[0], *rest)} for row in rows], name)
        shown += _part("folded", ", ".join(rest), others)
    return shown


def settings(tree: Mapping[str, Any]) -> Markup:
    """Names and values; a group of them becomes a block with its own heading."""
    plain = {k: v for k, v in tree.items() if not isinstance(v, Mapping)}
    nested: dict[str, Mapping[str, Any]] = {k: v for k, v in tree.items() if isinstance(v, Mapping)}
    blocks = [_block("", plain)] if plain else []
    blocks += [_block(name, flattened(values)) for name, values in nested.items()]
    return _part("settings", blocks) if blocks else Markup()


def _block(name: str, values: Mapping[str, Any]) -> tuple[str, list[tuple[str, str, str, int]]]:
    """A heading, and of each setting its key, its words, its value, and its length if it is long.

    A key shows when one points at the words.
    """
    before = f"{name}." if name else ""
    lines = [
        (f"{before}{k}", words_of(f"{before}{k}", name), *_value(v)) for k, v in values.items()
    ]
    return tables.words(name) if name else "", lines


def _value(value: Any) -> tuple[str, int]:
    """A setting's value, and for a long list the number of its entries, else 0."""
    if isinstance(value, (list, tuple)):
        entries: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        text = ", ".join(_plain(v) for v in entries) or "none"
        return text, len(entries) if len(entries) > MOST_SHOWN else 0
    return _plain(value), 0


def _plain(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return tables.shown(value)


def advice_list(sentences: Sequence[str]) -> Markup:
    """What to do next, as a list; nothing for none."""
    return _part("listed", sentences, "advice") if sentences else Markup()


def warnings_list(warnings: Sequence[str]) -> Markup:
    """What was warned of, as a list."""
    return _part("listed", warnings, "warnings") if warnings else paragraph("None.")


def links(files: Mapping[str, str]) -> Markup:
    """Links to files beside the page; './' before the path keeps it a path whatever it says."""
    return (
        _part("links", [(name, quote(path)) for name, path in files.items()]) if files else Markup()
    )
