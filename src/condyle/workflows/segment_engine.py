"""Scans segmented by TotalSegmentator itself, as a run folder says that holds no segmenter."""

from __future__ import annotations

import tempfile
from pathlib import Path

from condyle.config.section import Section, read_json
from condyle.core import LabelMap, LabelScheme, Volume
from condyle.engines import totalsegmentator
from condyle.errors import EngineFailed
from condyle.io import read_labels, write
from condyle.jobs.job import Job, warn
from condyle.jobs.outputs import write_json
from condyle.predict.scan_differences import differences
from condyle.predict.training_record import TrainingRecord

__all__ = ["CARD", "REFUSED", "Card", "card_of", "predict"]

CARD = "engine.json"
"""The file of a run folder that says which engine predicts."""

_OWN = "TotalSegmentator predicts in its own way"
REFUSED = {
    "slices": f"{_OWN}, on whole scans",
    "near_slice": f"{_OWN}, on whole scans",
    "below_slice": f"{_OWN}, on whole scans",
    "area": f"{_OWN}, on whole scans",
    "planes": f"{_OWN}, in 3D",
    "flips": _OWN,
    "runtime": f"{_OWN}, with PyTorch",
    "also": f"{_OWN}, and its probabilities are not available",
    "specialist": f"{_OWN}, and its probabilities are not available",
    "raw": "no post-processing was chosen for TotalSegmentator",
    "quality": "quality can only be calibrated for Condyle's own segmenters",
}
"""Settings of `condyle segment` that mean nothing to it, and why."""


class Card(Section):
    """What it takes to run TotalSegmentator again: its task, and which classes make our labels."""

    task: str
    labels: dict[str, int]
    joined: dict[int, list[int]]

    def save(self, run: Path) -> None:
        """Write it into a run folder."""
        write_json(run / CARD, self.model_dump())


def card_of(run: Path) -> Card | None:
    """The card of a run folder; None where our own segmenter predicts."""
    file = Path(run) / CARD
    return read_json(file, Card) if file.is_file() else None


def warn_of_differences(card: Card, scan: Volume) -> None:
    """Warn where a scan is of another modality than the task is for, as the task's name says."""
    is_mr = "mr" in card.task.split("_")
    known = TrainingRecord(modality="MR" if is_mr else "CT", hounsfield=not is_mr)
    for words in differences(known, scan):
        warn(f"this scan is unlike those that TotalSegmentator's task {card.task} is for: {words}; "
             "look at the result before you trust it")  # fmt: skip


def predict(card: Card, name: str, channels: tuple[Volume, ...], device: str, job: Job) -> LabelMap:
    """The label map of a scan.

    Raises
    ------
    EngineFailed
        If TotalSegmentator could not segment it.
    """
    scheme = LabelScheme.of(card.labels)
    with tempfile.TemporaryDirectory(prefix="condyle-") as scratch:
        folder = Path(scratch)
        task = job.keep(f"task {card.task}", lambda: _task(card, folder, job))
        file = write(channels[0], folder / "scans" / f"{name}.nii.gz")
        found, failed, _ = totalsegmentator.predict(
            task, {name: [str(file)]}, folder, device, card.joined, scheme, folder / "found", job
        )
        if name in failed or name not in found:
            raise EngineFailed(failed.get(name, f"TotalSegmentator wrote no label map for {name}"))
        return read_labels(found[name], scheme)


def _task(card: Card, folder: Path, job: Job) -> totalsegmentator.Task:
    task = totalsegmentator.ask(card.task, folder, job)
    totalsegmentator.fetch([*task.parts, *task.crop], job)
    return task
