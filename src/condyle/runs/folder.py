"""The folder of a training: every file's name once, and whether the run is finished."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condyle.config import Experiment
from condyle.errors import OutputError
from condyle.jobs.job import Job
from condyle.jobs.outputs import write_json
from condyle.jobs.records import OutputFolder, Record, content_hash

__all__ = ["RunFolder"]

RUN = "run"
"""The key of the record that says that a run is finished."""


@dataclass(frozen=True)
class RunFolder:
    """A run on disk.

    Parameters
    ----------
    path : the folder.

    Examples
    --------
    >>> RunFolder(Path("runs/knees")).config.as_posix()
    'runs/knees/config.toml'
    """

    path: Path

    @property
    def config(self) -> Path:
        """The experiment, with nothing left open."""
        return self.path / Experiment.FILE

    @property
    def dataset(self) -> Path:
        """Where the data set is, and what tells that it is the same."""
        return self.path / "dataset.json"

    @property
    def environment(self) -> Path:
        """Versions, hardware and time."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """What the training said."""
        return self.path / "log.txt"

    @property
    def network(self) -> Path:
        """The network's layers."""
        return self.path / "network.txt"

    @property
    def cases(self) -> Path:
        """The cases of each part of the fold."""
        return self.path / "cases.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of what an interrupted training goes on from."""
        return self.path / "checkpoints"

    @property
    def prepared(self) -> Path:
        """Folder of the cases as the network sees them, while it is trained."""
        return self.path / "prepared"

    @property
    def history(self) -> Path:
        """A row an epoch."""
        return self.path / "history.csv"

    @property
    def curves(self) -> Path:
        """Picture of the history."""
        return self.path / "curves.png"

    @property
    def segmenter(self) -> Path:
        """Folder of the network with its recipe and labels."""
        return self.path / "segmenter"

    @property
    def engine(self) -> Path:
        """Folder in which another program trains."""
        return self.path / "engine"

    @property
    def zero_shot(self) -> Path:
        """Folder of label maps that an engine gave before it was fine-tuned."""
        return self.path / "zero-shot"

    @property
    def tensors(self) -> Path:
        """What became of each tensor of a model that a training started from."""
        return self.path / "tensors.csv"

    @property
    def predictions(self) -> Path:
        """Folder of the test cases' label maps."""
        return self.path / "predictions"

    @property
    def slices(self) -> Path:
        """Picture of some slices with their labels."""
        return self.path / "slices.png"

    @property
    def probabilities(self) -> Path:
        """How often voxels of each probability are right."""
        return self.path / "likelihood.csv"

    @property
    def metrics(self) -> Path:
        """Scores, a row a case and structure."""
        return self.path / "metrics.csv"

    @property
    def slice_metrics(self) -> Path:
        """Scores, a row a slice and structure."""
        return self.path / "slices.csv"

    @property
    def summary(self) -> Path:
        """Mean scores, a row a structure."""
        return self.path / "summary.csv"

    @property
    def summary_json(self) -> Path:
        """The scores as nnU-Net writes them."""
        return self.path / "summary.json"

    @property
    def refinement(self) -> Path:
        """Which post-processing steps were tried."""
        return self.path / "refinement.csv"

    @property
    def report(self) -> Path:
        """The page that shows all of it."""
        return self.path / "report.html"

    @property
    def cost(self) -> Path:
        """What the run cost; written last."""
        return self.path / "run.json"

    @property
    def linked(self) -> tuple[Path, ...]:
        """The files that the report links to, of those that are there."""
        files = (
            self.metrics, self.slice_metrics, self.summary, self.summary_json, self.history,
            self.probabilities, self.config, self.environment, self.log,
        )  # fmt: skip
        return tuple(file for file in files if file.is_file())

    @property
    def is_begun(self) -> bool:
        """Whether a training has begun in it."""
        return self.config.is_file()

    @property
    def can_segment(self) -> bool:
        """Whether it holds a segmenter of ours or an engine's, or is a segmenter's own folder."""
        files = ("segmenter/segmenter.json", "segmenter.json", "engine.json")
        return any((self.path / file).is_file() for file in files)

    @property
    def is_finished(self) -> bool:
        """Whether the run was trained and scored to the end, and its last file is as it was."""
        return self._records.finished(RUN, self._made_of()) is not None

    @property
    def _records(self) -> OutputFolder:
        return OutputFolder(self.path, "train")

    def _made_of(self) -> str:
        return content_hash([self.config] if self.config.is_file() else [])

    def finish(self, cost: Mapping[str, Any]) -> None:
        """Write what the run cost, and that it is finished."""
        folder = self._records
        written = write_json(self.cost, dict(cost))
        folder.keep(Record(key=RUN, made_of=self._made_of(), outputs=folder.hashes([written])))

    def advice(self) -> list[str]:
        """What to do next, as its report says it; none before it is finished."""
        if not self.cost.is_file():
            return []
        return list(json.loads(self.cost.read_text(encoding="utf-8")).get("advice", []))

    def experiment(self) -> Experiment:
        """The experiment of the run."""
        return Experiment.read(self.config)

    def require_room(self) -> None:
        """Raise where it holds more than what a training leaves that was killed at once.

        Raises
        ------
        OutputError
            The sentence says what can be done.
        """
        try:
            found = list(self.path.iterdir()) if self.path.exists() else []
        except OSError as error:
            raise OutputError(f"{self.path} is not a folder that can be used ({error})") from error
        if any(path != self.log and not path.name.startswith(".") for path in found):
            raise OutputError(
                f"{self.path} is not empty: choose another folder for `out`, or go on with `resume`"
            )

    @contextmanager
    def opened(self, job: Job) -> Generator[None]:
        """Meanwhile this process alone writes into it, and what the job says goes to its log.

        Raises
        ------
        OutputError
            If it cannot be written, or another process trains in it.
        """
        folder = self._records.opened({}, resume=True, alone=True)
        with folder, job.logged(self.log):
            yield
