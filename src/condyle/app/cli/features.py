"""The command `condyle features`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condyle.app.cli.command import command_of
from condyle.app.cli.terminal import complain, say, show_table
from condyle.config.requests import FeaturesRequest
from condyle.jobs.job import count_of

if TYPE_CHECKING:
    from condyle.workflows.features import FeatureTables

__all__ = ["command"]


MOST = 10
"""Pairs that the terminal shows."""


def show(request: FeaturesRequest, found: FeatureTables) -> int:
    """Print the similarities of one scan, or how many were compared; 2 if one failed."""
    done = found.done
    for name, reason in found.failed.items():
        complain(f"{name}: {reason}")
    if len(done) == 1:
        one = next(iter(done.values()))
        rows, pairs = one.short_rows(MOST), len(one.similarities)
        some = f", the most and the least alike of {pairs} pairs" if len(rows) < pairs else ""
        show_table(f"cosines of features (1: the same){some}", rows)
    if done:
        page = request.out.with_suffix(".html")
        say(f"{count_of(len(done), 'scan')} compared; all is in {page} and {request.out}")
    return 2 if found.failed else 0


command = command_of(FeaturesRequest, "condyle.workflows.features:features_of_scans", show)
