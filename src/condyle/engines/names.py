"""The names of the engines: `nnunet:2d`, `totalsegmentator:total`, ..."""

from __future__ import annotations

from dataclasses import dataclass

from condyle.errors import UnknownName

__all__ = ["NNUNET", "EngineName", "is_engine", "names"]


@dataclass(frozen=True)
class NnunetPreset:
    """Which of nnU-Net's planners, and which of the planner's configurations."""

    planner: str
    configuration: str


NNUNET = {
    "2d": NnunetPreset("ExperimentPlanner", "2d"),
    "3d_fullres": NnunetPreset("ExperimentPlanner", "3d_fullres"),
    "3d_lowres": NnunetPreset("ExperimentPlanner", "3d_lowres"),
    "3d_cascade_fullres": NnunetPreset("ExperimentPlanner", "3d_cascade_fullres"),
    "resenc-m": NnunetPreset("nnUNetPlannerResEncM", "3d_fullres"),
}
"""What stands after `nnunet:` -> the plan."""

PACKAGES = {"nnunet": "nnunetv2", "totalsegmentator": "TotalSegmentator"}
"""Engine -> the package on PyPI."""

CASCADE = "3d_cascade_fullres"
"""nnU-Net's configuration whose network sees the answer of another, which is trained first."""
FINETUNE = "finetune"
FAST = "fast"
"""What stands last for a task's coarser model: 3 mm for most tasks."""


@dataclass(frozen=True)
class EngineName:
    """The parts of an engine's name.

    Parameters
    ----------
    engine : nnunet or totalsegmentator.
    what : a plan of nnU-Net, or a task of TotalSegmentator.
    finetuned : whether a task's model learns our structures first.
    fast : whether a task's coarser model (3 mm for most) is meant, not that of 1.5 mm.

    Examples
    --------
    >>> EngineName.parse("nnunet:2d")
    EngineName(engine='nnunet', what='2d', finetuned=False, fast=False)
    >>> EngineName.parse("totalsegmentator:finetune:fast")
    EngineName(engine='totalsegmentator', what='total', finetuned=True, fast=True)
    """

    engine: str
    what: str
    finetuned: bool = False
    fast: bool = False

    @classmethod
    def parse(cls, name: str) -> EngineName:
        """The parts of a name; one that is unknown is named."""
        engine, _, what = name.partition(":")
        if engine not in PACKAGES or (engine == "nnunet" and what not in NNUNET):
            raise UnknownName("network", name, names())
        if engine == "nnunet":
            return cls(engine, what)
        words = what.split(":") if what else []
        finetuned, fast = words[:1] == [FINETUNE], words[-1:] == [FAST]
        words = words[finetuned : len(words) - fast]
        if len(words) > 1:
            raise UnknownName("network", name, names())
        return cls(engine, "".join(words) or "total", finetuned, fast)

    @property
    def package(self) -> str:
        """The package that it needs."""
        return PACKAGES[self.engine]

    def __str__(self) -> str:
        words = (FINETUNE * self.finetuned, self.what, FAST * self.fast)
        return ":".join((self.engine, *filter(None, words)))


def is_engine(name: str) -> bool:
    """Whether a network's name is one of another program's.

    Examples
    --------
    >>> is_engine("nnunet:2d"), is_engine("3d:unet-plain")
    (True, False)
    """
    return name.partition(":")[0] in PACKAGES


def names() -> list[str]:
    """The engines' names; a task may stand in TotalSegmentator's: totalsegmentator:body:fast."""
    own = [f"nnunet:{what}" for what in NNUNET]
    theirs = ["totalsegmentator", f"totalsegmentator:{FINETUNE}"]
    return [*own, *(f"{name}{fast}" for name in theirs for fast in ("", f":{FAST}"))]
