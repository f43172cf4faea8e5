"""Rules of anatomy that a segmentation must keep, their numbers taken from the training labels.

They catch gross errors for nothing: a bone in two pieces, a left one on the right, half its
volume, one that ends where the scan ends although none did in training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from condyle.core import LabelMap, LabelScheme
from condyle.errors import DatasetError

__all__ = ["Anatomy", "Build", "Figures", "figures"]

MARGIN = 1.25
"""How many times smaller or larger than all volumes of the training set a volume may be."""

SPECK = 0.02
"""A part counts from this share of its structure's volume on."""

RARE = 0.05
"""What at most this share of the training labels do breaks a rule."""


@dataclass(frozen=True)
class Figures:
    """One structure in one label map: all that the rules ask for.

    Parameters
    ----------
    volume_mm3 : its volume.
    parts : its connected parts (by face, edge or corner), specks aside.
    cut : whether it touches the border of the scan.
    x_mm : the world coordinate of its centre from left to right.
    """

    volume_mm3: float
    parts: int
    cut: bool
    x_mm: float


@dataclass(frozen=True)
class Build:
    """What the training labels say of one structure.

    Parameters
    ----------
    share : of the training label maps that hold it, 0 to 1.
    smallest, median, largest : volumes in mm³ where it is there.
    parts : the most parts it had, but for at most `RARE` of the label maps.
    cut : share of the label maps with it where it touches the border of the scan.
    """

    share: float
    smallest: float
    median: float
    largest: float
    parts: int
    cut: float


def figures(labels: LabelMap) -> dict[str, Figures]:
    """Structure -> its figures, for the structures that are there."""
    ras = labels.reoriented("RAS")
    boxes = find_objects(ras.array)
    found: dict[str, Figures] = {}
    for structure in labels.scheme.labels:
        box = boxes[structure.id - 1] if structure.id <= len(boxes) else None
        if box is None:
            continue
        mask = ras.array[box] == structure.id
        sizes = _sizes(mask)
        voxels = int(sizes.sum())
        ends = zip(box, ras.grid.shape, strict=True)
        middle = [float(c.mean()) + s.start for c, s in zip(np.nonzero(mask), box, strict=True)]
        found[structure.name] = Figures(
            volume_mm3=voxels * ras.grid.voxel_volume,
            parts=int(np.count_nonzero(sizes >= SPECK * voxels)),
            cut=any(s.start == 0 or s.stop == n for s, n in ends),
            x_mm=float(ras.grid.index_to_world(middle)[0]),
        )
    return found


def _sizes(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Voxels of each connected part of a mask."""
    import cc3d

    # Padded, as cc3d 4.1 fails on masks of one voxel along two axes.
    parts: Any = cc3d.connected_components(np.pad(mask, 1), connectivity=26)
    return np.bincount(parts.ravel())[1:]


@dataclass(frozen=True)
class Anatomy:
    """What the structures of a training set are like, and which rules a segmentation breaks.

    Parameters
    ----------
    structures : name -> what the training labels say of it; those that no label map holds lack.
    sides : left and right pairs of which the first lay left of the second in every training scan.
    scans : how many label maps it comes from.
    """

    structures: dict[str, Build]
    sides: tuple[tuple[str, str], ...]
    scans: int

    @classmethod
    def of(cls, label_maps: Iterable[LabelMap], scheme: LabelScheme) -> Self:
        """The rules of training label maps.

        Raises
        ------
        DatasetError
            If there is none.
        """
        rows = [figures(labels) for labels in label_maps]
        if not rows:
            raise DatasetError("rules of anatomy need the label map of a training case or more")
        structures: dict[str, Build] = {}
        for name in scheme.names:
            mine = [row[name] for row in rows if name in row]
            if not mine:
                continue
            volumes = [x.volume_mm3 for x in mine]
            structures[name] = Build(
                share=len(mine) / len(rows),
                smallest=min(volumes),
                median=float(np.median(volumes)),
                largest=max(volumes),
                parts=int(np.quantile([x.parts for x in mine], 1 - RARE, method="higher")),
                cut=float(np.mean([x.cut for x in mine])),
            )
        return cls(structures, _sides(rows, scheme), len(rows))

    def broken(self, labels: LabelMap) -> dict[str, list[str]]:
        """Structure -> a sentence for each rule that is broken; [] where none is."""
        found = figures(labels)
        said = {name: self._of_one(name, found.get(name)) for name in labels.scheme.names}
        for left, right in self.sides:
            if left in found and right in found and found[left].x_mm > found[right].x_mm:
                for name in (left, right):
                    said[name].append(f"{left} lies to the right of {right}")
        return said

    def _of_one(self, name: str, found: Figures | None) -> list[str]:
        build = self.structures.get(name)
        if build is None:
            return [f"{name} was found, and no training scan has it"] if found else []
        if found is None:
            return [f"{name} was not found, and every training scan has it"] * (build.share == 1)
        said: list[str] = []
        if found.parts > build.parts:
            said.append(f"{name} is in {found.parts} parts; in training in {build.parts} at most")
        volume, low, high = found.volume_mm3, build.smallest / MARGIN, build.largest * MARGIN
        if not low <= volume <= high:
            said.append(
                f"{name} has {_cm3(volume)} cm³; in training it had "
                f"{_cm3(build.smallest)} to {_cm3(build.largest)} cm³"
            )
        if found.cut and build.cut <= RARE:
            said.append(f"{name} ends at the border of the scan: a part of it may be missing")
        return said

    def volume_ratio(self, labels: LabelMap) -> dict[str, float]:
        """Structure -> |ln| of its volume over the training median; nan where it is absent."""
        voxels = np.bincount(labels.array.ravel(), minlength=max(labels.scheme.ids) + 1)
        found: dict[str, float] = {}
        for structure in labels.scheme.labels:
            volume = float(voxels[structure.id]) * labels.grid.voxel_volume
            build = self.structures.get(structure.name)
            apart = float("nan")
            if build is not None and volume > 0:
                apart = abs(float(np.log(volume / build.median)))
            found[structure.name] = apart
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Self:
        """The rules of what `to_dict` gave."""
        structures = {name: Build(**row) for name, row in found["structures"].items()}
        sides = tuple((left, right) for left, right in found["sides"])
        return cls(structures, sides, found["scans"])


def _sides(rows: list[dict[str, Figures]], scheme: LabelScheme) -> tuple[tuple[str, str], ...]:
    """Left and right pairs that lay in one order from left to right in every scan that has both."""
    found: list[tuple[str, str]] = []
    for one, other in scheme.mirrored().items():
        a, b = scheme[one].name, scheme[other].name
        both = [(row[a].x_mm, row[b].x_mm) for row in rows if a in row and b in row]
        if a != b and both and all(x < y for x, y in both):
            found.append((a, b))
    return tuple(found)


def _cm3(mm3: float) -> str:
    return f"{mm3 / 1000:.3g}"
