"""The command `condyle check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import say, show_table
from condyle.config.requests import CheckRequest
from condyle.jobs.job import count_of

if TYPE_CHECKING:
    from condyle.audit.check import Finding

__all__ = ["command"]


def show(request: CheckRequest, findings: Sequence[Finding]) -> int:
    """Print what a check found; 2 if an error was found and not repaired in a copy, else 0."""
    rows: list[dict[str, Any]] = []
    for finding in findings:
        row = {"": finding.severity, "case": finding.case, "what": finding.what}
        row["what to do"] = finding.remedy
        rows.append(row | ({"in the copy": finding.outcome} if finding.outcome else {}))
    if rows:
        show_table(str(request.dataset), rows)
    errors = [finding for finding in findings if finding.severity == "error"]
    if not findings:
        say(f"{request.dataset}: no problems found")
    else:
        warnings = sum(finding.severity == "warning" for finding in findings)
        counts = count_of(len(errors), "error"), count_of(warnings, "warning")
        say(f"{request.dataset}: {', '.join(counts)}")
    for outcome in ("repaired", "left out", "left"):
        count = sum(finding.outcome == outcome for finding in findings)
        if count:
            say(f"{outcome}: {count}")
    if request.fix is not None:
        copied = any(finding.outcome for finding in findings)
        say(
            f"repaired copy: {request.fix}"
            if copied
            else "nothing to repair or leave out: no copy was written"
        )
    if request.out is not None:
        say(f"page: {request.out / 'check.html'}")
    return 2 if any(finding.outcome in ("", "left") for finding in errors) else 0


command = command_of(CheckRequest, "condyle.workflows.check:check", show)
