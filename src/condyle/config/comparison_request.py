"""The request of `compare`: models of a file or built in, and what wins over their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from condyle.config.comparison import Comparison
from condyle.config.request import BatchRequest
from condyle.config.section import merged
from condyle.errors import ConfigError

__all__ = ["CompareRequest"]

Out = Path


class CompareRequest(BatchRequest):
    """Train several networks on the same folds; rank them, and test the differences."""

    POSITIONAL = ("config",)
    ELSEWHERE = ("out", "on", "resume", "show")
    config: str
    """A TOML file: dataset, folds, seeds, [settings] for all, and a table [models.NAME] each; or a
    built-in comparison: femur-study (Tables 1 to 4 of the femur study), transfer-study (2D, then
    inflated in three ways)."""
    dataset: Path | None = None
    """The data set's folder; left out: the file's."""
    out: Out
    """Folder for the runs, tables and report.html. Given again, an interrupted comparison goes
    on, and no finished training is repeated."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs of every training, whatever the file says."""
    budget: str | None = None
    """Time for every training, such as 15m or 2h, whatever the file says."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Any settings of `config.toml`, nested; they win over the file's."""
    show: tuple[str, ...] = ()
    """Slices that are drawn as all models predicted them: CASE:PLANE:INDEX, such as
    leg_012:axial:40, counted from the patient's left, back or feet from 0."""
    resume: bool = True
    """A comparison always goes on with what is finished."""
    NO_FLAG = ("resume", "settings")

    def comparison(self) -> Comparison:
        """The models, folds and seeds that are asked for.

        Raises
        ------
        ConfigError
            If no data set is given, or the file is no comparison.
        """
        if self.budget and self.epochs:
            raise ConfigError("give either `budget` or `epochs`, not both", setting="budget")
        asked = Comparison.read(self.config)
        if not self.dataset and not asked.dataset:
            raise ConfigError("no data set given: set `dataset` to its folder", setting="dataset")
        spans = {"epochs": self.epochs, "budget": self.budget}
        training = {name: value for name, value in spans.items() if value is not None}
        over = merged(self.settings, {"training": training} if training else {})
        return asked.changed(dataset=str(self.dataset or asked.dataset), over=over)
