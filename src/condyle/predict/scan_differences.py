"""How a scan differs from those that a network was trained on: modality, intensities, voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from condyle.core import Volume
from condyle.predict.training_record import TrainingRecord
from condyle.prepare.fingerprint import looks_like_ct
from condyle.prepare.intensity import sample

__all__ = ["differences"]

NAMES = {"CT": "CT", "MR": "MR", "PT": "PET", "NM": "NM", "US": "ultrasound"}
"""Modality as DICOM writes it -> as people say it; of other ones nothing is concluded."""
BELOW_WATER = -100.0
"""HU that CT of a body goes below: fat and air do."""
OTHER_SCALE = 20.0
"""How many times the range of intensities must be wider or narrower before it is another scale."""
TENFOLD = 9.0
"""How many times voxels or a scan must be longer or shorter: ten times, but for rounding."""
AXES = ("from left to right", "from back to front", "from feet to head")


def differences(trained: TrainingRecord, scan: Volume) -> list[str]:
    """What makes a scan unlike those that a network was trained on, a phrase each; [] if nothing.

    Only what can hardly be by chance is said: another modality by header or by intensities,
    another scale of intensities, and spacings or lengths that are ten times off.

    Parameters
    ----------
    trained : what is known of the training; what is not known is not compared.
    scan : its first channel.
    """
    if trained.pictures is not None and trained.pictures != scan.grid.is_picture:
        kinds = ("a scan with millimetres", "a picture of pixels")
        return [f"it is {kinds[not trained.pictures]}, and those were {kinds[trained.pictures]}"]
    return [*(_of_modality(trained, scan) or _of_intensities(trained, scan)),
            *_of_voxels(trained, scan)]  # fmt: skip


def _of_modality(trained: TrainingRecord, scan: Volume) -> list[str]:
    known = trained.modality or ("CT" if trained.hounsfield else "")
    said = NAMES.get(scan.modality)
    if said and known and scan.modality != known:
        return [f"it is {said} by its header, and those were {NAMES.get(known, known)}"]
    if said == "CT" and not known and trained.hounsfield is False:
        return ["it is CT by its header, and those were not"]
    return []


def _of_intensities(trained: TrainingRecord, scan: Volume) -> list[str]:
    some = sample(scan.array)
    some = some[np.isfinite(some)]
    if not some.size or trained.hounsfield is None:
        return []
    least, low, high = (float(v) for v in np.percentile(some, (0, 0.5, 99.5)))
    if not trained.hounsfield:
        other = trained.modality != "CT" and not scan.modality
        if other and looks_like_ct(replace(scan, modality="")):
            return [f"its intensities ({low:.4g} to {high:.4g}) are those of CT, which those "
                    "were not"]  # fmt: skip
        return []
    if least >= 0 and (trained.lowest is None or trained.lowest[1] < BELOW_WATER):
        return [f"none of its intensities ({low:.4g} to {high:.4g}) is below 0, as fat and air are "
                "in Hounsfield units: it is no CT, or on another scale"]  # fmt: skip
    if trained.lowest is None or trained.highest is None:
        return []
    narrowest = trained.highest[0] - trained.lowest[1]
    widest = trained.highest[1] - trained.lowest[0]
    if high - low < narrowest / OTHER_SCALE or high - low > widest * OTHER_SCALE:
        return [f"its intensities reach from {low:.4g} to {high:.4g}, and theirs from "
                f"{trained.lowest[0]:.4g} to {trained.highest[1]:.4g}"]  # fmt: skip
    return []


def _of_voxels(trained: TrainingRecord, scan: Volume) -> list[str]:
    grid = scan.grid.turned(scan.grid.turn_to("RAS"))
    lengths = [n * side for n, side in zip(grid.shape, grid.spacing, strict=True)]
    far = _far(grid.spacing, trained.spacing)
    if far:
        return [f"its voxels are {found:.3g} mm long {where}, and theirs {known} mm"
                for where, found, known in far]  # fmt: skip
    return [f"it is {found:.4g} mm long {where}, and those were {known} mm"
            for where, found, known in _far(lengths, trained.extent)]  # fmt: skip


def _far(
    found: Sequence[float], known: tuple[Sequence[float], Sequence[float]] | None
) -> list[tuple[str, float, str]]:
    """Axis, what was found and what is known, where these are about ten times apart."""
    if known is None:
        return []
    return [
        (where, mine, f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}")
        for where, mine, low, high in zip(AXES, found, *known, strict=True)
        if mine >= TENFOLD * high or mine <= low / TENFOLD
    ]
