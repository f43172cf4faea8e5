"""The settings of a training: those that are asked for, or those that a run was begun with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condyle.config import Experiment, Planes, flattened, seconds
from condyle.config.requests import TrainRequest
from condyle.errors import ConfigError, DatasetError
from condyle.runs.dataset import folders_of
from condyle.runs.folder import RunFolder

__all__ = ["asked_settings"]


def asked_settings(request: TrainRequest, run: RunFolder) -> tuple[Experiment, Planes | None]:
    """What is asked for: of a run that goes on, its own settings.

    Raises
    ------
    ConfigError
        If a run that goes on was begun with other settings than those that are given.
    """
    if not (request.resume and run.is_begun):
        return request.experiment(), request.plane
    begun = run.experiment()
    given = request.asked().get("dataset")
    begun = begun.changed(dataset=str(given or _dataset_of(run, begun)))
    if request.is_bare:
        return begun, None
    asked, had = flattened(request.asked()), flattened(begun.model_dump(mode="json"))
    if request.plane:
        asked["preparation.plane"] = request.plane
    other = [f"`{name}`" for name, value in asked.items() if not _agrees(name, value, had)]
    if other:
        raise ConfigError(
            f"{run.path} was begun with other settings ({', '.join(other)}): leave them out to go "
            "on, or choose another `out`"
        )
    return begun, None


def _dataset_of(run: RunFolder, begun: Experiment) -> Path:
    """Where the data set of a run is that goes on."""
    for folder in folders_of(run):
        return folder
    raise DatasetError(
        f"the data set {begun.dataset} of {run.path} is not there: give its new folder, "
        f"condyle train NEW --out {run.path} --resume"
    )


def _agrees(name: str, value: Any, had: Mapping[str, Any]) -> bool:
    """Whether a setting that is given is what a run was begun with; what was chosen there fits."""
    if name in ("device", "log", "dataset") or (name == "network.name" and value == "auto"):
        return True
    old = had.get(name)
    if name == "training.budget":
        return seconds(value) == old
    return old == value or (isinstance(old, list) and list(value) == old)
