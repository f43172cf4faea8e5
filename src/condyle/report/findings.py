"""One HTML page about what a check of a data set found, with a picture of each case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from condyle.core import LabelMap, Volume
from condyle.jobs.outputs import write_text
from condyle.report import figures, parts

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
    tiles = parts.tiles([
        (str(counts["error"]), "error" + "s" * (counts["error"] != 1)),
        (str(counts["warning"]), "warning" + "s" * (counts["warning"] != 1)),
    ])  # fmt: skip
    found = parts.table(page.rows, "findings sortable") or parts.paragraph("No problems found.")
    pictures = [parts.case_picture(each.case, each.jpeg, each.said) for each in page.pictures]
    sections = [
        parts.section("Findings", found),
        parts.section("Cases, the worst first", parts.note(page.note), *pictures),
    ]
    return write_text(Path(path), parts.document(page.title, page.subtitle, tiles, sections))
