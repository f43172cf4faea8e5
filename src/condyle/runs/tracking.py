"""Epochs, scores and a picture of a training, logged to TensorBoard and MLflow on request.

TensorBoard's events lie in the run folder, MLflow's file store, `mlruns`, beside it, so that runs
in one folder stand side by side. A training that goes on after an interruption goes on there too.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from condyle._version import __version__
from condyle.config import flattened, read_toml
from condyle.errors import MissingExtra, TrainingPaused
from condyle.io import write_text
from condyle.jobs.job import warn
from condyle.measure.evaluate import FIGURES

__all__ = ["Track", "require_trackers", "tracked"]


Row = Mapping[str, Any]

PACKAGES = {"tensorboard": ("tensorboard", "tensorboard"), "mlflow": ("mlflow", "mlflow-skinny")}
"""Tracker -> the module that it needs, and the package that brings it."""

RUN_ID = "mlflow.json"
"""The file in a run folder that holds the id of its run in MLflow."""


def require_trackers(names: Sequence[str]) -> None:
    """Raise `MissingExtra`, with what to install, for the first tracker whose package lacks."""
    for name in names:
        module, package = PACKAGES[name]
        if find_spec(module) is None:
            raise MissingExtra(f"`log` {name} needs {package}: pip install {package}")


class _Tracker(Protocol):
    """The trackers that a training is logged to."""

    def epoch(self, number: int, row: Row) -> None:
        """The figures of an epoch."""
        ...

    def scores(self, number: int, row: Row) -> None:
        """The held-out scores of the network of the last epoch."""
        ...

    def picture(self, number: int, path: Path) -> None:
        """A picture of it."""
        ...

    def files(self, paths: Sequence[Path]) -> None:
        """Files of the run."""
        ...

    def close(self, status: str) -> None:
        """FINISHED, KILLED or FAILED."""
        ...


class _TensorBoard:
    """Events in RUN/tensorboard; after an interruption, those of lost epochs are ignored."""

    def __init__(self, out: Path, first: int | None):
        from torch.utils.tensorboard.writer import SummaryWriter

        self.writer: Any = SummaryWriter(str(out / "tensorboard"), purge_step=first)

    def epoch(self, number: int, row: Row) -> None:
        for name, value in row.items():
            self.writer.add_scalar(name, value, number)
        self.writer.flush()

    scores = epoch

    def picture(self, number: int, path: Path) -> None:
        import numpy as np
        from PIL import Image

        pixels = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))
        self.writer.add_image(path.stem, pixels, number, dataformats="HWC")

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.writer.add_text(path.name, "    " + path.read_text().replace("\n", "\n    "))

    def close(self, status: str) -> None:
        self.writer.close()


class _MLflow:
    """A run in the file store `mlruns` beside the run folder; the same one after interruptions."""

    def __init__(self, out: Path, first: int | None):
        # its newest versions want to know that files, not a database, are meant; and they
        # report their use over the network unless forbidden
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self.client: Any = MlflowClient((out.absolute().parent / "mlruns").as_uri())
        self.run = self._found(out / RUN_ID) or self._made(out)
        self.client.update_run(self.run, status="RUNNING")
        figures = self.client.get_metric_history(self.run, "loss")
        self.next = 1 + max((metric.step for metric in figures), default=-1)

    def _found(self, note: Path) -> str | None:
        """The id of the run that an earlier start of this training made, if it is still there."""
        from mlflow.exceptions import MlflowException

        try:
            return str(self.client.get_run(json.loads(note.read_text())["run_id"]).info.run_id)
        except (FileNotFoundError, MlflowException):
            return None

    def _made(self, out: Path) -> str:
        settings = read_toml(out / "config.toml")
        title = Path(settings["dataset"]).name
        known = self.client.get_experiment_by_name(title)
        experiment = known.experiment_id if known else self.client.create_experiment(title)
        tags = {"condyle": __version__}
        run = self.client.create_run(experiment, run_name=out.absolute().name, tags=tags)
        for name, value in flattened(settings).items():
            self.client.log_param(run.info.run_id, _plain(name), str(value)[:500])
        write_text(out / RUN_ID, json.dumps({"run_id": run.info.run_id}) + "\n")
        return str(run.info.run_id)

    def epoch(self, number: int, row: Row) -> None:
        if number >= self.next:  # an epoch may be done again after an interruption
            self.scores(number, row)

    def scores(self, number: int, row: Row) -> None:
        for name, value in row.items():
            self.client.log_metric(self.run, _plain(name), value, step=number)

    def picture(self, number: int, path: Path) -> None:
        self.client.log_artifact(self.run, str(path))

    def files(self, paths: Sequence[Path]) -> None:
        for path in paths:
            self.client.log_artifact(self.run, str(path))

    def close(self, status: str) -> None:
        self.client.set_terminated(self.run, status)


def _plain(name: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. :/]", "_", name)


TRACKERS = {"tensorboard": _TensorBoard, "mlflow": _MLflow}


class Track:
    """Tells all trackers of a run; what goes wrong there is warned of, and ends no training.

    Parameters
    ----------
    names : of `TRACKERS`; none: nothing is logged.
    out : the run folder, whose config.toml is there before the first epoch ends.
    """

    def __init__(self, names: Sequence[str], out: Path):
        self.names, self.out = tuple(dict.fromkeys(names)), out
        self.opened: dict[str, _Tracker] = {}

    def epoch(self, row: Mapping[str, float]) -> None:
        """Tell the figures of an epoch: a row of history.csv."""
        figures = {k: v for k, v in row.items() if k != "epoch" and math.isfinite(v)}
        self._log("epoch", int(row["epoch"]), figures)

    def finish(self, epoch: float, summary: Sequence[Row]) -> None:
        """Tell the held-out scores (rows of summary.csv), settings and a picture, if it is there.

        All at the number of the last epoch.
        """
        scores = {
            f"test_{metric}_{row['structure']}": float(row[f"{metric}_mean"])
            for row in summary
            for metric in FIGURES
            if (mean := row.get(f"{metric}_mean")) is not None and math.isfinite(mean)
        }
        self._log("scores", int(epoch), scores)
        if (self.out / "slices.png").is_file():
            self._log("picture", int(epoch), self.out / "slices.png")
        self._log("files", [self.out / "config.toml", self.out / "summary.csv"])

    def close(self, status: str) -> None:
        """End, with FINISHED, KILLED or FAILED."""
        for name in self.opened:
            self._log_one(name, "close", status)

    def _log(self, what: str, *figures: Any) -> None:
        for name in self.names:
            self._log_one(name, what, *figures)

    def _log_one(self, name: str, what: str, *figures: Any) -> None:
        try:
            if name not in self.opened:
                first = figures[0] if what == "epoch" else None
                self.opened[name] = TRACKERS[name](self.out, first)
            getattr(self.opened[name], what)(*figures)
        except Exception as error:  # their writers have errors of many kinds
            warn(f"{name} could not be updated ({error}); the training goes on without it")
            self.names = tuple(other for other in self.names if other != name)


@contextmanager
def tracked(names: Sequence[str], out: Path) -> Generator[Track]:
    """A track that is closed in the end, whatever the end is."""
    track, status = Track(names, out), "FAILED"
    try:
        yield track
        status = "FINISHED"
    except (KeyboardInterrupt, TrainingPaused):
        status = "KILLED"
        raise
    finally:
        track.close(status)
