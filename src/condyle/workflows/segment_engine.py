"""Scans segmented by another program itself, as a run folder says that holds no segmenter."""

from __future__ import annotations

import tempfile
from pathlib import Path

from condyle.config.section import Section, json_of, parsed
from condyle.core import LabelMap, LabelScheme, Volume
from condyle.engines import nnunet, totalsegmentator
from condyle.errors import EngineFailed
from condyle.io import read_labels, write
from condyle.jobs.job import Job, warn
from condyle.jobs.outputs import write_json
from condyle.predict.scan_differences import differences
from condyle.predict.training_record import TrainingRecord

__all__ = ["CARD", "REFUSED", "Card", "CascadeCard", "card_of", "predict"]

CARD = "engine.json"
"""The file of a run folder that says which engine predicts."""

_OWN = "TotalSegmentator predicts in its own way"
REFUSED = {
    "slices": f"{_OWN}, on whole scans",
    "near_slice": f"{_OWN}, on whole scans",
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
    fast: bool = False
    labels: dict[str, int]
    joined: dict[int, list[int]]

    @property
    def channels(self) -> int:
        """Of a scan."""
        return 1

    @property
    def title(self) -> str:
        """What predicts."""
        return f"{self.task} fast" if self.fast else self.task

    @property
    def refused(self) -> dict[str, str]:
        """Settings that mean nothing to it, and why."""
        return REFUSED

    def save(self, run: Path) -> None:
        """Write it into a run folder."""
        write_json(run / CARD, self.model_dump())


class CascadeCard(Section):
    """What it takes to run nnU-Net's cascade again.

    Parameters
    ----------
    labels : name -> our number, in the order of the model's classes.
    channels : of a scan.
    model, lowres : folders of its two networks; in the run folder where they are not absolute.
    folds : of the first network, which are averaged.
    """

    labels: dict[str, int]
    channels: int
    model: str
    lowres: str
    folds: tuple[int, ...]

    @property
    def title(self) -> str:
        """What predicts."""
        return "nnU-Net's cascade"

    @property
    def refused(self) -> dict[str, str]:
        """Settings that mean nothing to it, and why."""
        return {name: why.replace("TotalSegmentator", self.title) for name, why in REFUSED.items()}

    def save(self, run: Path) -> None:
        """Write it into a run folder."""
        write_json(run / CARD, self.model_dump(mode="json"))


def card_of(run: Path) -> Card | CascadeCard | None:
    """The card of a run folder; None where our own segmenter predicts."""
    file = Path(run) / CARD
    if not file.is_file():
        return None
    found = json_of(file)
    if "lowres" not in found:
        return parsed(found, Card, file)
    card = parsed(found, CascadeCard, file)
    return card.changed(model=str(run / card.model), lowres=str(run / card.lowres))


def warn_of_differences(card: Card | CascadeCard, scan: Volume) -> None:
    """Warn where a scan is of another modality than the task is for, as the task's name says."""
    if isinstance(card, CascadeCard):
        return  # its plans do not say
    is_mr = "mr" in card.task.split("_")
    known = TrainingRecord(modality="MR" if is_mr else "CT", hounsfield=not is_mr)
    for words in differences(known, scan):
        warn(f"this scan is unlike those that TotalSegmentator's task {card.task} is for: {words}; "
             "look at the result before you trust it")  # fmt: skip


def predict(
    card: Card | CascadeCard, name: str, channels: tuple[Volume, ...], device: str, job: Job
) -> LabelMap:
    """The label map of a scan.

    Raises
    ------
    EngineFailed
        If the program could not segment it.
    """
    scheme = LabelScheme.of(card.labels)
    with tempfile.TemporaryDirectory(prefix="condyle-") as scratch:
        folder = Path(scratch)
        channels[0].grid.require_mm("an engine")
        files = [
            write(channel, folder / "scans" / f"{name}_{number:04d}.nii.gz")
            for number, channel in enumerate(channels)
        ]
        if isinstance(card, CascadeCard):
            before = nnunet.Before(Path(card.lowres), card.folds)
            found, failed = nnunet.predict(
                Path(card.model), {name: files}, folder, scheme, folder / "found", device=device,
                mirror=True, before=before, job=job,
            )  # fmt: skip
        else:
            task = job.keep(f"task {card.title}", lambda: _task(card, folder, job))
            found, failed, _ = totalsegmentator.predict(
                task, {name: [str(file) for file in files]}, folder, device, card.joined, scheme,
                folder / "found", job,
            )  # fmt: skip
        if name in failed or name not in found:
            raise EngineFailed(failed.get(name, f"{card.title} wrote no label map for {name}"))
        return read_labels(found[name], scheme)


def _task(card: Card, folder: Path, job: Job) -> totalsegmentator.Task:
    task = totalsegmentator.ask(card.task, folder, job, card.fast)
    totalsegmentator.fetch([*task.parts, *task.crop], job)
    return task
