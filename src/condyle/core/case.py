"""One patient's files, and a data set of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from condyle.core.labels import LabelMap, LabelScheme
from condyle.core.lattice import on_grid
from condyle.core.volume import Volume
from condyle.errors import DatasetError, SplitError, UnknownName

__all__ = ["Case", "Dataset", "Fold", "repeated"]


@dataclass(frozen=True)
class Case:
    """One scan of one patient: where its files are, and how to read them when asked.

    Parameters
    ----------
    id : the base name that scan and labels share.
    images : the scan's files, one a channel (or one that holds all channels).
    label : the label map's file, or None where the scan is unlabelled.
    patient : cases of one patient never part between training and test.
    read_images, read_label : put in by `condyle.io.datasets`, so that `core` knows no format.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None
    patient: str
    read_images: Callable[[tuple[Path, ...]], tuple[Volume, ...]]
    read_label: Callable[[Path], LabelMap]

    def channels(self) -> tuple[Volume, ...]:
        """The scan's channels, read from disk, all on one grid."""
        volumes = self.read_images(self.images)
        for other in volumes[1:]:
            volumes[0].grid.require_same(other.grid, f"the channels of case {self.id}")
        return volumes

    def image(self) -> Volume:
        """The scan's first channel, read from disk."""
        return self.channels()[0]

    def labels(self) -> LabelMap:
        """The label map, read from disk; its grid is *not* compared with the scan's here."""
        if self.label is None:
            raise DatasetError(f"case {self.id} has no label map")
        return self.read_label(self.label).require_known(str(self.label.name))

    def pair(self) -> tuple[tuple[Volume, ...], LabelMap]:
        """Channels and label map, which is put on the scan's grid if it lies on its lattice."""
        channels, labels = self.channels(), self.labels()
        what = f"scan and labels of case {self.id}"
        return channels, on_grid(labels, channels[0].grid, what)


@dataclass(frozen=True)
class Fold:
    """Case ids of one split: `train` fits weights, `validation` chooses, `test` only reports.

    nnU-Net's splits have no test part: their validation cases are what is reported.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Every case of the fold."""
        return self.train + self.validation + self.test


@dataclass(frozen=True)
class Dataset:
    """The cases of one data set, the structures their labels hold, and its folds.

    Raises
    ------
    DatasetError
        If there are no cases, or two share an id.
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    scheme: LabelScheme
    folds: tuple[Fold, ...] = ()
    channel_names: tuple[str, ...] = ("image",)

    def __post_init__(self) -> None:
        if not self.cases:
            raise DatasetError(f"{self.root} holds no cases")
        if twice := repeated(case.id for case in self.cases):
            raise DatasetError(f"{self.root} holds more than one case called {', '.join(twice)}")

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, case_id: str) -> Case:
        for case in self.cases:
            if case.id == case_id:
                return case
        raise UnknownName("case", case_id, [case.id for case in self.cases][:20])

    def select(self, ids: Sequence[str]) -> tuple[Case, ...]:
        """The cases of these ids, in this order."""
        by_id = {case.id: case for case in self.cases}
        missing = [i for i in ids if i not in by_id]
        if missing:
            raise SplitError(f"{self.root} has no case {', '.join(missing[:5])}")
        return tuple(by_id[i] for i in ids)

    def labelled(self) -> tuple[Case, ...]:
        """The cases that have a label map."""
        return tuple(case for case in self.cases if case.label is not None)

    def fold(self, number: int) -> Fold:
        """One fold, checked: its cases exist and no patient is on two sides."""
        if not 0 <= number < len(self.folds):
            raise SplitError(f"{self.name} has folds 0 to {len(self.folds) - 1}, not {number}")
        fold = self.folds[number]
        sides = [
            {case.patient for case in self.select(part)}
            for part in (fold.train, fold.validation, fold.test)
        ]
        leaked = (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2])
        if leaked:
            raise SplitError(
                f"fold {number} of {self.name} has patient {min(leaked)} on two sides: "
                "the figures would be too good; put all scans of a patient on one side"
            )
        return fold

    def with_folds(self, folds: Sequence[Fold]) -> Dataset:
        """The same cases, split otherwise."""
        return replace(self, folds=tuple(folds))


def repeated(names: Iterable[str]) -> list[str]:
    """The names that are there more than once, sorted.

    Examples
    --------
    >>> repeated(["tibia", "femur", "tibia"])
    ['tibia']
    """
    return sorted(name for name, count in Counter(names).items() if count > 1)
