"""The numbers of the studies, beside those of the presets that repeat them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from condyle.config.experiment import Experiment
from condyle.config.presets import read_preset
from condyle.config.section import flattened

__all__ = ["Number", "numbers"]


@dataclass(frozen=True)
class Number:
    """A number of a study, and what a preset has.

    Parameters
    ----------
    variant : of the preset; '' for the preset itself, and its variants where they do not change it.
    setting : its dotted name; of what is no setting of Condyle (data.split), a name of its own.
    study : as the study says it.
    here : of the preset; None where it leaves it open, or there is no such setting.
    why : why it differs; '' where it does not.
    """

    variant: str
    setting: str
    study: str
    here: Any
    why: str

    @property
    def is_same(self) -> bool:
        """Whether the preset has the study's number."""
        if isinstance(self.here, int | float) and not isinstance(self.here, bool):
            try:
                return float(self.study) == self.here
            except ValueError:
                return False
        return self.study == str(self.here)


def numbers(preset: str) -> list[Number]:
    """All numbers that a preset's study tells.

    Raises
    ------
    UnknownName
        If there is no such preset.

    Examples
    --------
    >>> rate = next(n for n in numbers("lower-limb") if n.setting == "training.rate")
    >>> rate.study, rate.here, rate.why
    ('1e-4', 0.0001, '')
    """
    known = read_preset(preset)
    text = (files("condyle") / "presets" / "studies.csv").read_text(encoding="utf-8")
    found: list[Number] = []
    for row in csv.DictReader(text.splitlines()):
        if row["preset"] != preset:
            continue
        settings = {"dataset": "", **known.settings_of(row["variant"])}
        here = flattened(Experiment.parse(settings, preset).model_dump(mode="json"))
        setting, study = row["setting"], row["study"]
        one = Number(row["variant"], setting, study, here.get(setting), "")
        why = "" if one.is_same else known.study.differs.get(setting, "")
        found.append(Number(one.variant, setting, study, one.here, why))
    return found
