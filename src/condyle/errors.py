"""Every exception that Condyle raises.

CondyleError                     the root: a sentence, and the setting that is at fault
├── MissingFile        (FileNotFoundError)  a path that is not there
├── UnreadableFile     (OSError)            a file that is not a scan, is cut short, or is damaged
├── GeometryError      (ValueError)         a grid that cannot exist, or that would mislead
├── GridMismatch       (ValueError)         two things that should share a grid and do not
│   └── OutsideGrid                         labels beyond the scan that they belong to
├── LabelError         (ValueError)         labels that are not whole numbers, unknown, or lost
│   └── OverlapError                        masks that claim the same voxel
├── DatasetError       (ValueError)         a folder that is not a data set, or an empty one
│   └── SplitError                          folds that leak, miss cases, or do not exist
├── ConfigError        (ValueError)         a setting that cannot be
│   └── UnknownName    (LookupError)        a name that is in no table
├── WeightsError       (OSError)            weights that are missing, damaged, or of another shape
│   └── DamagedWeights                      weights whose bytes are not those that are known
├── OutputError        (OSError)            a result that could not be written whole
├── MissingExtra       (ImportError)        an optional library that is not installed
├── EngineFailed       (RuntimeError)       another program that failed
├── TrainingFailed     (RuntimeError)       training that cannot go on
│   └── OutOfMemory    (MemoryError)        a batch that does not fit into memory
├── TrainingPaused     (RuntimeError)       training that was asked to stop; its state is kept
├── WorkerDied         (RuntimeError)       a process that was killed over a task, again and again
└── Cancelled          (RuntimeError)       a job that was asked to end
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

__all__ = [
    "Cancelled",
    "CondyleError",
    "ConfigError",
    "DamagedWeights",
    "DatasetError",
    "EngineFailed",
    "GeometryError",
    "GridMismatch",
    "LabelError",
    "MissingExtra",
    "MissingFile",
    "OutOfMemory",
    "OutputError",
    "OutsideGrid",
    "OverlapError",
    "SplitError",
    "TrainingFailed",
    "TrainingPaused",
    "UnknownName",
    "UnreadableFile",
    "WeightsError",
    "WorkerDied",
]


class CondyleError(Exception):
    """A sentence for the user: what is wrong, where, and what to do.

    Settings are named between backticks, as in Python and TOML (`near_slice`, `training.rate`);
    the command line turns those of its verb into flags, a page into fields.

    Parameters
    ----------
    message : the sentence.
    setting : the name of the setting at fault, with its sections, if one is.
    hint : what to do, where the sentence does not say it.

    Examples
    --------
    >>> error = ConfigError("`budget` and `epochs` exclude each other", setting="budget")
    >>> error.setting
    'budget'
    """

    def __init__(self, message: object = "", *, setting: str = "", hint: str = ""):
        super().__init__(f"{message}: {hint}" if hint else message)
        self.setting, self.hint = setting, hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes, whatever it takes to make one."""
        return _remade, (type(self), self.args), self.__dict__

    @property
    def message(self) -> str:
        """The whole sentence."""
        return str(self)


def _remade(kind: type[CondyleError], args: tuple[Any, ...]) -> CondyleError:
    made = kind.__new__(kind)
    made.args = args
    return made


class MissingFile(CondyleError, FileNotFoundError):
    """A path that is not there."""


class UnreadableFile(CondyleError, OSError):
    """A file that is not a scan, is cut short, or is damaged."""


class GeometryError(CondyleError, ValueError):
    """A grid that cannot exist, or that would mislead."""


class GridMismatch(CondyleError, ValueError):
    """Two things that should share a grid and do not."""


class OutsideGrid(GridMismatch):
    """Labels beyond the scan that they belong to."""


class LabelError(CondyleError, ValueError):
    """Labels that are not whole numbers, unknown, or lost."""


class OverlapError(LabelError):
    """Masks that claim the same voxel under the policy ``error``."""


class DatasetError(CondyleError, ValueError):
    """A folder that is not a data set, or an empty one."""


class SplitError(DatasetError):
    """Folds that leak, miss cases, or do not exist."""


class ConfigError(CondyleError, ValueError):
    """A setting that cannot be."""


class UnknownName(ConfigError, LookupError):
    """A name that is in no table.

    Examples
    --------
    >>> print(UnknownName("plane", "axail", ["axial", "sagittal", "coronal"]))
    unknown plane 'axail': did you mean 'axial'? Known: axial, sagittal, coronal
    """

    def __init__(self, kind: str, name: object, valid: Iterable[object]):
        known = [str(v) for v in valid]
        if len(known) > MANY:
            near = [*(word for word in known if str(name).lower() in word.lower()),
                    *get_close_matches(str(name), known, n=3), *known]  # fmt: skip
            likely = ", ".join(list(dict.fromkeys(near))[:3])
            super().__init__(f"unknown {kind} {name!r}: did you mean one of {likely}?")
            return
        close = get_close_matches(str(name), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}Known: {', '.join(known)}")


MANY = 40
"""Of so many names only the three nearest are said."""


class WeightsError(CondyleError, OSError):
    """Weights that are missing, damaged, or of another shape."""


class DamagedWeights(WeightsError):
    """Weights whose bytes are not those that are known."""


class OutputError(CondyleError, OSError):
    """A result that could not be written whole; what was there before is untouched."""


class MissingExtra(CondyleError, ImportError):
    """An optional library that is not installed."""


class EngineFailed(CondyleError, RuntimeError):
    """Another program, such as nnU-Net, that crashed, hung or was killed."""


class TrainingFailed(CondyleError, RuntimeError):
    """Training that cannot go on; the last good checkpoint is kept."""


class OutOfMemory(TrainingFailed, MemoryError):
    """A batch that does not fit into memory."""


class TrainingPaused(CondyleError, RuntimeError):
    """Training that a signal asked to stop; its state is in the last checkpoint."""


class WorkerDied(CondyleError, RuntimeError):
    """A process that was killed over a task, again and again."""


class Cancelled(CondyleError, RuntimeError):
    """A job that was asked to end; what was finished is kept."""
