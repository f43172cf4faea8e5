"""What the scans of a data set are like, and the preparation that suits them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from condyle.config import Plane, Preparation
from condyle.core import Case, Volume
from condyle.errors import DatasetError
from condyle.prepare.intensity import finite
from condyle.prepare.slices import AXIS

__all__ = ["CaseFacts", "Fingerprint", "fingerprint", "looks_like_ct", "settings_for"]

PIXELS_2D = (96, 256)
"""Fewest and most pixels along the longer side of the typical slice that a 2D network sees."""
VOXELS_3D = 160**3
"""Most voxels of the typical scan that a 3D network sees."""
FOREGROUND_SAMPLE = 10_000


@dataclass(frozen=True)
class CaseFacts:
    """What one scan is like, in RAS axes: sides in voxels, spacing in mm, intensities."""

    id: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    orientation: str
    is_ct: bool
    low: float
    high: float


@dataclass(frozen=True)
class Fingerprint:
    """What a data set is like: its cases, and the intensities inside the structures."""

    cases: tuple[CaseFacts, ...]
    foreground_low: float
    foreground_high: float
    foreground_mean: float
    foreground_std: float

    @property
    def is_ct(self) -> bool:
        """Whether every scan looks like CT in Hounsfield units."""
        return all(case.is_ct for case in self.cases)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Median spacing in mm along the RAS axes."""
        x, y, z = np.median([case.spacing for case in self.cases], axis=0)
        return float(x), float(y), float(z)

    @property
    def extent(self) -> NDArray[np.float64]:
        """Median length in mm of the scans along the RAS axes."""
        return np.median([np.multiply(case.shape, case.spacing) for case in self.cases], axis=0)

    def to_dict(self) -> dict[str, Any]:
        """The fingerprint as JSON values."""
        return asdict(self)


def looks_like_ct(volume: Volume) -> bool:
    """Whether a scan is CT: it says so, or it holds whole numbers from about -1000 (air) up."""
    if volume.modality:
        return volume.modality == "CT"
    low, high = float(volume.array.min()), float(volume.array.max())
    return -5000 <= low <= -500 and 100 <= high <= 40000


def fingerprint(cases: Iterable[Case]) -> Fingerprint:
    """Look at each case once; only one is in memory at a time."""
    facts: list[CaseFacts] = []
    inside: list[NDArray[np.float64]] = []
    for case in cases:
        channels, labels = case.pair()
        ras = channels[0].reoriented("RAS")
        array = finite(ras.array, f"case {case.id}")
        low, high = np.percentile(array.reshape(-1)[:: max(1, array.size // 10**6)], (0.5, 99.5))
        facts.append(
            CaseFacts(
                case.id, ras.grid.shape, ras.spacing, channels[0].grid.orientation,
                looks_like_ct(channels[0]), float(low), float(high),
            )
        )  # fmt: skip
        foreground = finite(channels[0].array, case.id)[labels.array > 0]
        if foreground.size:
            step = max(1, foreground.size // FOREGROUND_SAMPLE)
            inside.append(foreground[::step].astype(np.float64))
    if not inside:
        raise DatasetError("no case holds any labelled voxel: there is nothing to learn from")
    values = np.concatenate(inside)
    low, high = np.percentile(values, (0.5, 99.5))
    return Fingerprint(
        tuple(facts), float(low), float(high), float(values.mean()), float(values.std())
    )


def settings_for(
    seen: Fingerprint, spatial: Literal[2, 3], plane: Plane | None = None
) -> Preparation:
    """The preparation that suits a data set.

    CT keeps its scale: one window from the intensities inside the structures, one mean and one
    standard deviation. Other scans are scaled one by one. Slices keep their distance and get
    square pixels; volumes the median spacing, coarser where that would be too many voxels.
    """
    plane = plane or "axial"
    spacing = np.array(seen.spacing)
    if spatial == 2:
        flat = [axis for axis in range(3) if axis != AXIS[plane]]
        pixel = float(spacing[flat].min())
        longest = float(seen.extent[flat].max())
        pixel = min(max(pixel, longest / PIXELS_2D[1]), longest / PIXELS_2D[0])
        spacing[flat] = pixel
        spacing[AXIS[plane]] = 0
    else:
        voxels = float(np.prod(seen.extent / spacing))
        spacing = spacing * max(1.0, (voxels / VOXELS_3D) ** (1 / 3))
    rounded = tuple(float(np.round(s, 4)) for s in spacing)
    ct: dict[str, Any] = {}
    if seen.is_ct:
        ct = {
            "intensity": "ct",
            "window": (round(seen.foreground_low, 2), round(seen.foreground_high, 2)),
            "mean": round(seen.foreground_mean, 3),
            "std": round(max(seen.foreground_std, 1.0), 3),
        }
    return Preparation.model_validate({"plane": plane, "spacing": rounded, **ct})
