"""What is wrong with a data set, found before training."""

from __future__ import annotations

from pathlib import Path

from condyle.io import open_dataset
from condyle.prepare.check import Finding
from condyle.prepare.check import check as find
from condyle.workflows.progress import Tell, silent

__all__ = ["check"]


def check(dataset: Path, *, tell: Tell = silent) -> list[Finding]:
    """The findings about a data set folder, errors first; empty if all is well."""
    found = find(
        open_dataset(dataset),
        on_case=lambda done, total: tell("checking", done / total, f"{done}/{total}"),
    )
    return sorted(found, key=lambda finding: (finding.severity != "error", finding.case))
