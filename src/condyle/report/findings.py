"""One HTML page about what a check of a data set found, with a picture of each case."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path

from condyle.core import LabelMap, Volume
from condyle.jobs.outputs import write_text
from condyle.report import figures, tables
from condyle.report.html import document, section, tile

__all__ = ["CasePicture", "FindingsPage", "case_picture", "write_findings"]

WIDE = 900
"""Pixels across a picture, at most."""
QUALITY = 80


@dataclass(frozen=True)
class CasePicture:
    """A case's picture, and what was found about it.

    Parameters
    ----------
    case : its id.
    jpeg : the file's bytes, from `case_picture`; b"" where there is nothing to show.
    said : a sentence a finding.
    """

    case: str
    jpeg: bytes
    said: Sequence[str] = ()


@dataclass(frozen=True)
class FindingsPage:
    """What the page says.

    Parameters
    ----------
    title, subtitle : plain text.
    rows : a row a finding, column name -> text; the first column is the severity.
    pictures : in the order they are shown.
    note : below the heading of the pictures: which cases are not shown.
    """

    title: str
    subtitle: str = ""
    rows: Sequence[Mapping[str, str]] = ()
    pictures: Sequence[CasePicture] = field(default_factory=tuple[CasePicture, ...])
    note: str = ""


def case_picture(scan: Volume | Sequence[Volume], labels: LabelMap | None) -> bytes:
    """A small JPEG of three planes through the labels, which are outlined."""
    from PIL import Image

    out = BytesIO()
    pixels = figures.overlay_pixels(scan, labels, None, width=WIDE)
    Image.fromarray(pixels).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def write_findings(page: FindingsPage, path: Path) -> Path:
    """Write the page as one HTML file, whole or not at all; gives back its path.

    Raises
    ------
    OutputError
        If it cannot be written; what stood there before stands there still.
    """
    counts = {
        severity: sum(next(iter(row.values())) == severity for row in page.rows)
        for severity in ("error", "warning")
    }
    tiles = [
        tile(str(counts["error"]), "error" + "s" * (counts["error"] != 1), "first"),
        tile(str(counts["warning"]), "warning" + "s" * (counts["warning"] != 1)),
    ]
    table = tables.html(page.rows, "findings sortable") if page.rows else ""
    found = f'<div class="wide">{table}</div>' if table else "<p>No problems found.</p>"
    note = f'<p class="note">{escape(page.note)}</p>' if page.note else ""
    sections = [
        section("Findings", found),
        section("Cases, the worst first", note, *map(_figure, page.pictures)),
    ]
    headline = f'<div class="tiles">{"".join(tiles)}</div>'
    return write_text(Path(path), document(page.title, page.subtitle, headline, sections))


def _figure(picture: CasePicture) -> str:
    data = base64.b64encode(picture.jpeg).decode()
    shown = (
        f'<div class="wide"><img alt="{escape(picture.case)}" '
        f'src="data:image/jpeg;base64,{data}"></div>'
        if data
        else ""
    )
    said = "".join(f"<li>{escape(text)}</li>" for text in picture.said)
    listed = f'<ul class="warnings">{said}</ul>' if said else ""
    return (
        f'<figure class="cases"><h3>{escape(picture.case)}</h3>{listed}{shown}'
        "</figure>"
    )  # fmt: skip
