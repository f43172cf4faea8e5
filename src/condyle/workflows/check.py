"""What is wrong with a data set, found before training; a page of it, and a repaired copy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from condyle.audit.check import Finding
from condyle.audit.check import check as find
from condyle.audit.repair import changes, repair
from condyle.config.requests import CheckRequest
from condyle.core import Case, Dataset
from condyle.core.lattice import on_grid
from condyle.errors import CondyleError, OutputError
from condyle.io import open_dataset
from condyle.jobs.job import Job, count_of, verb
from condyle.jobs.outputs import require_free, require_new_folder

__all__ = ["check"]

PAGE = "check.html"
SHOWN = 200
"""Cases of which a page shows all; of more, those with findings and a sample of the others."""
SAMPLE = 20


@verb
def check(request: CheckRequest, job: Job) -> list[Finding]:
    """The findings about a data set folder, errors first; empty if all is well.

    With `out`, a folder gets `check.html`: the findings and a picture of each case. With `fix`, a
    new folder gets a repaired copy (nnU-Net raw); each finding then says whether it was repaired,
    left out or left. Where nothing is to be repaired or left out, no copy is made. The data set
    itself is never touched.
    """
    opened = open_dataset(request.dataset)
    for folder in filter(None, (request.out, request.fix)):
        _require_apart(folder, opened.root)
    if request.fix is not None:
        require_new_folder(request.fix)
    if request.out is not None:
        require_free(request.out / PAGE)

    def on_case(done: int, total: int) -> None:
        job.progress("checking", done, total, f"{done}/{total}")

    found = find(opened, on_case=on_case)
    order = ("error", "warning", "note")
    found = sorted(found, key=lambda finding: (order.index(finding.severity), finding.case))
    if request.fix is not None and any(map(changes, found)):
        found = repair(opened, found, request.fix, job)
    if request.out is not None:
        _write_page(opened, found, request.out / PAGE, job)
    return found


def _require_apart(folder: Path, root: Path) -> None:
    if folder.resolve().is_relative_to(root.resolve()):
        raise OutputError(f"{folder} lies inside the data set {root}: choose a folder elsewhere")


def _write_page(dataset: Dataset, found: Sequence[Finding], path: Path, job: Job) -> None:
    from condyle.report.findings import CasePicture, FindingsPage, write_findings

    of_case: dict[str, list[Finding]] = {case.id: [] for case in dataset}
    for finding in found:
        of_case.setdefault(finding.case, []).append(finding)

    def rank(case: Case) -> tuple[int, int, str]:
        errors = sum(f.severity == "error" for f in of_case[case.id])
        return -errors, -len(of_case[case.id]), case.id

    cases = sorted(dataset, key=rank)
    note = ""
    if len(cases) > SHOWN:
        wrong = [case for case in cases if of_case[case.id]]
        sound = [case for case in cases if not of_case[case.id]]
        every = np.linspace(0, len(sound) - 1, min(SAMPLE, len(sound))).astype(int)
        cases = wrong + [sound[n] for n in np.unique(every)]
        note = (
            f"Shown are the {len(wrong)} cases with findings and {len(cases) - len(wrong)} of the "
            f"{len(sound)} others."
        )
    pictures = [
        CasePicture(case.id, _picture(case), [_sentence(f) for f in of_case[case.id]])
        for case in job.track("drawing", cases)
    ]
    rows = [
        {"Severity": f.severity, "Case": f.case, "What": f.what, "What to do": f.remedy}
        | ({"In the copy": f.outcome} if any(g.outcome for g in found) else {})
        for f in found
    ]
    subtitle = f"{count_of(len(dataset), 'case')} with {', '.join(dataset.scheme.names[:12])}"
    page = FindingsPage(f"Check of {dataset.name}", subtitle, rows, pictures, note)
    write_findings(page, path)


def _sentence(finding: Finding) -> str:
    return f"{finding.severity}: {finding.what}; {finding.remedy}"


def _picture(case: Case) -> bytes:
    """The case's picture, without its labels if they do not belong to it; b"" of no scan."""
    from condyle.report.findings import case_picture

    try:
        channels = case.channels()
    except CondyleError:
        return b""
    try:
        labels = on_grid(case.labels(), channels[0].grid, "scan and labels")
    except CondyleError:
        labels = None
    return case_picture(channels, labels)
