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
    "resenc-m": NnunetPreset("nnUNetPlannerResEncM", "3d_fullres"),
}
"""What stands after `nnunet:` -> the plan."""

PACKAGES = {"nnunet": "nnunetv2", "totalsegmentator": "TotalSegmentator"}
"""Engine -> the package on PyPI."""

FINETUNE = "finetune"


@dataclass(frozen=True)
class EngineName:
    """The parts of an engine's name.

    Parameters
    ----------
    engine : nnunet or totalsegmentator.
    what : a plan of nnU-Net, or a task of TotalSegmentator.
    finetuned : whether a task's model learns our structures first.

    Examples
    --------
    >>> EngineName.parse("nnunet:2d")
    EngineName(engine='nnunet', what='2d', finetuned=False)
    >>> EngineName.parse("totalsegmentator:finetune")
    EngineName(engine='totalsegmentator', what='total', finetuned=True)
    """

    engine: str
    what: str
    finetuned: bool = False

    @classmethod
    def parse(cls, name: str) -> EngineName:
        """The parts of a name; one that is unknown is named."""
        engine, _, what = name.partition(":")
        if engine not in PACKAGES or (engine == "nnunet" and what not in NNUNET):
            raise UnknownName("network", name, names())
        finetuned = engine == "totalsegmentator" and what.partition(":")[0] == FINETUNE
        if finetuned:
            what = what.partition(":")[2]
        return cls(engine, what or "total", finetuned)

    @property
    def package(self) -> str:
        """The package that it needs."""
        return PACKAGES[self.engine]

    def __str__(self) -> str:
        return f"{self.engine}:{f'{FINETUNE}:' if self.finetuned else ''}{self.what}"


def is_engine(name: str) -> bool:
    """Whether a network's name is one of another program's.

    Examples
    --------
    >>> is_engine("nnunet:2d"), is_engine("3d:unet-plain")
    (True, False)
    """
    return name.partition(":")[0] in PACKAGES


def names() -> list[str]:
    """The engines' names; any task may stand after TotalSegmentator's: totalsegmentator:body."""
    own = [f"nnunet:{what}" for what in NNUNET]
    return [*own, "totalsegmentator", f"totalsegmentator:{FINETUNE}"]
