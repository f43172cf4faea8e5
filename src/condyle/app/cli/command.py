"""The command that all verbs hang on, and what their flags share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from condyle._version import __version__

__all__ = ["Out", "Several", "app"]

app = App(
    name="condyle",
    help="Segmentations of CT and MRI that can be trusted, from a handful of labelled scans.",
    version=__version__,
    help_format="plaintext",
)

Out = Annotated[Path, Parameter(help="Folder for the results.")]
Several = Annotated[list[Path], Parameter(consume_multiple=True)]
