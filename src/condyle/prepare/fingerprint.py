"""What the scans of a data set are like, and the preparation that suits them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from condyle.config import Planes, Preparation
from condyle.core import Case, Volume
from condyle.errors import DatasetError
from condyle.prepare.intensity import finite, sample
from condyle.prepare.slices import axis_of, plane_across

__all__ = ["CaseFacts", "Fingerprint", "fingerprint", "looks_like_ct", "settings_for"]

PIXELS_2D = (96, 256)
"""Fewest and most pixels along the longer side of the typical slice that a 2D network sees."""
VOXELS_3D = 160**3
"""Most voxels of the typical scan that a 3D network sees."""
FOREGROUND_SAMPLE = 10_000
"""Voxels of a case that stand for its structures, so that large ones do not drown small ones."""
WIDER = 0.1
"""Part of the range inside the structures by which the CT window reaches further at either end."""

Three = tuple[float, float, float]


@dataclass(frozen=True)
class CaseFacts:
    """What one case is like.

    Parameters
    ----------
    id : of the case.
    shape, spacing : voxels and mm along the RAS axes.
    orientation : of the array as it is stored.
    is_ct : whether all its channels look like CT.
    intensities : percentiles 0.5, 50 and 99.5 of the scan's first channel.
    foreground : the same inside the structures; None if no voxel is labelled.
    foreground_mean, foreground_std : inside the structures; None if no voxel is labelled.
    volumes : cm³ of each structure; 0 where it is absent.
    modality : of its first channel, by its file; '' where that does not say.
    is_picture : whether it is a picture, whose spacing is in pixels.
    """

    id: str
    shape: tuple[int, int, int]
    spacing: Three
    orientation: str
    is_ct: bool
    intensities: Three
    foreground: Three | None
    foreground_mean: float | None
    foreground_std: float | None
    volumes: dict[str, float]
    modality: str = ""
    is_picture: bool = False


@dataclass(frozen=True)
class Fingerprint:
    """What a data set is like: its cases, and the intensities inside the structures of all."""

    cases: tuple[CaseFacts, ...]
    foreground: Three
    foreground_mean: float
    foreground_std: float

    @property
    def is_ct(self) -> bool:
        """Whether every scan looks like CT in Hounsfield units."""
        return all(case.is_ct for case in self.cases)

    @property
    def spacing(self) -> Three:
        """Median spacing in mm along the RAS axes."""
        return _three(np.median([case.spacing for case in self.cases], axis=0))

    @property
    def shape(self) -> Three:
        """Median number of voxels along the RAS axes."""
        return _three(np.median([case.shape for case in self.cases], axis=0))

    @property
    def extent(self) -> Three:
        """Median length in mm of the scans along the RAS axes."""
        lengths = [np.multiply(case.shape, case.spacing) for case in self.cases]
        return _three(np.median(lengths, axis=0))

    def to_dict(self) -> dict[str, Any]:
        """The fingerprint and its medians as JSON values."""
        medians = {"spacing": self.spacing, "shape": self.shape, "extent": self.extent}
        return {"is_ct": self.is_ct, **medians, **asdict(self)}


def looks_like_ct(volume: Volume) -> bool:
    """Whether a scan is CT in Hounsfield units: it says so, or its numbers are those of CT.

    Without a word from the file, CT is whole numbers that reach down to air (-900 or less) and up
    to bone, where half of what is not gas is fat, water or muscle (-300 to 300). The last tells it
    from MR phase images, which reach from -4096 to 4095.
    """
    if volume.modality:
        return volume.modality == "CT"
    some = sample(volume.array)
    some = some[np.isfinite(some)]
    body = some[some > -500]
    if not body.size or not -5000 <= some.min() <= -900 or not 100 <= some.max() <= 40000:
        return False
    soft = np.count_nonzero(np.abs(body.astype(np.float32)) <= 300)
    return bool(2 * soft >= body.size and (some == np.rint(some)).all())


def fingerprint(cases: Iterable[Case]) -> Fingerprint:
    """What the labelled cases are like; each is read once, and only one is in memory at a time.

    Raises
    ------
    DatasetError
        If no case holds a labelled voxel.
    """
    facts: list[CaseFacts] = []
    inside: list[NDArray[np.float64]] = []
    for case in cases:
        seen, foreground = _facts(case)
        facts.append(seen)
        inside.append(foreground)
    values = np.concatenate(inside) if inside else np.empty(0)
    if not values.size:
        raise DatasetError("no case has labelled voxels: there is nothing to learn from")
    return Fingerprint(
        tuple(facts), _percentiles(values), float(values.mean()), float(values.std())
    )


def _facts(case: Case) -> tuple[CaseFacts, NDArray[np.float64]]:
    """What one case is like, and some of the intensities inside its structures."""
    channels, labels = case.pair()
    first = channels[0]
    array = finite(first.array, f"case {case.id}")
    structures = labels.within(labels.known())
    foreground = sample(array[structures.array > 0], FOREGROUND_SAMPLE).astype(np.float64)
    known = foreground.size > 0
    grid = first.reoriented("RAS").grid
    numbers, counts = np.unique(labels.array, return_counts=True)
    voxels = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    facts = CaseFacts(
        id=case.id,
        shape=grid.shape,
        spacing=grid.spacing,
        orientation=first.grid.orientation,
        is_ct=all(looks_like_ct(channel) for channel in channels),
        modality=first.modality,
        is_picture=grid.is_picture,
        intensities=_percentiles(sample(array)),
        foreground=_percentiles(foreground) if known else None,
        foreground_mean=float(foreground.mean()) if known else None,
        foreground_std=float(foreground.std()) if known else None,
        volumes={
            x.name: voxels.get(x.id, 0) * grid.voxel_volume / 1000 for x in labels.scheme.labels
        },
    )
    return facts, foreground


def _three(values: NDArray[Any]) -> Three:
    a, b, c = (float(v) for v in values)
    return a, b, c


def _percentiles(values: NDArray[Any]) -> Three:
    """Percentiles 0.5, 50 and 99.5."""
    return _three(np.percentile(values, (0.5, 50, 99.5)))


def settings_for(
    seen: Fingerprint, spatial: Literal[2, 3], plane: Planes | None = None
) -> Preparation:
    """The preparation that suits a data set.

    CT keeps its scale: one window from the intensities inside the structures and a little more,
    one mean and one standard deviation. Other scans are scaled one by one. Slices keep their
    distance and get square pixels, 96 to 256 along the typical scan's longer side: encoders
    pretrained on photographs like many. Volumes get the median spacing, coarser where that would
    be too many voxels.

    Parameters
    ----------
    spatial : 2 for slices, 3 for volumes.
    plane : of the slices; None: the one in which the scans were acquired. For all three, pixels
        are square in each of them.
    """
    if spatial == 2:
        plane = plane or plane_across(seen.spacing)
    through = axis_of(plane) if plane and plane != "all" else None
    spacing, extent = np.array(seen.spacing), np.array(seen.extent)
    if spatial == 2:
        flat = [axis for axis in range(3) if axis != through]
        longest = float(extent[flat].max())
        fewest, most = PIXELS_2D
        spacing[flat] = min(max(spacing[flat].min(), longest / most), longest / fewest)
        if through is not None:
            spacing[through] = 0
    else:
        voxels = float(np.prod(extent / spacing))
        spacing *= max(1.0, (voxels / VOXELS_3D) ** (1 / 3))
    ct: dict[str, Any] = {}
    if seen.is_ct:
        low, _, high = seen.foreground
        more = WIDER * (high - low)
        ct = {
            "intensity": "ct",
            "window": (round(low - more, 2), round(high + more + 0.01, 2)),
            "mean": round(seen.foreground_mean, 3),
            "std": round(max(seen.foreground_std, 1.0), 3),
        }
    rounded = tuple(round(float(s), 4) for s in spacing)
    return Preparation.model_validate({"plane": plane, "spacing": rounded, **ct})
