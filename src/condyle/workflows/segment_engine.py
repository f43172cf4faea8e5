"""Scans segmented by TotalSegmentator itself, as a run folder says that holds no segmenter."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condyle.config import Section
from condyle.core import LabelScheme, Volume
from condyle.engines import totalsegmentator
from condyle.errors import ConfigError
from condyle.io import Manifest, read_labels, write
from condyle.io.labelmaps import write_names
from condyle.jobs.progress import Tell, told
from condyle.runs.record import write_json

__all__ = ["CARD", "Card", "answer", "card_of"]

CARD = "engine.json"
"""The file of a run folder that says which engine answers."""


class Card(Section):
    """What it takes to ask TotalSegmentator again: its task, and which classes make our labels."""

    task: str
    labels: dict[str, int]
    joined: dict[int, list[int]]

    def save(self, run: Path) -> None:
        """Write it into a run folder."""
        write_json(run / CARD, self.model_dump())


def card_of(run: Path) -> Card | None:
    """The card of a run folder; None where our own segmenter answers."""
    file = Path(run) / CARD
    return Card.model_validate(json.loads(file.read_text("utf-8"))) if file.is_file() else None


def answer(
    card: Card, scans: Mapping[str, Any], paths: Mapping[str, Path], device: str, tell: Tell
) -> tuple[dict[str, Path], dict[str, str]]:
    """The label maps of scans, written to `paths`, and the reasons of those that failed.

    Parameters
    ----------
    scans : name -> what reads its channels, as `condyle.workflows.segment` has it.
    """
    if any(path.suffix == ".dcm" for path in paths.values()):
        raise ConfigError("TotalSegmentator's answers are not written as DICOM-SEG: take nifti")
    scheme, written = LabelScheme.of(card.labels), dict[str, Path]()
    with tempfile.TemporaryDirectory(prefix="condyle-") as scratch:
        folder, cases = Path(scratch), dict[str, list[str]]()
        task = totalsegmentator.ask(card.task, folder, tell)
        totalsegmentator.fetch([*task.parts, *task.crop], tell)
        for name, scan in told(tell, "reading", scans.items(), len(scans)):
            volume: Volume = scan.read()[0]
            cases[name] = [str(write(volume, folder / "scans" / f"{name}.nii.gz"))]
        found, failed, _ = totalsegmentator.predict(
            task, cases, folder, device, card.joined, scheme, folder / "found", tell
        )
        for name, file in found.items():
            written[name] = write(read_labels(file, scheme), paths[name])
            write_names(paths[name].parent, scheme)
            Manifest(paths[name].parent).add(name, paths[name])
    return written, failed
