"""FreeSurfer's MGH and MGZ, whose header is read by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid
from condyle.errors import GeometryError, UnreadableFile
from condyle.io.paths import not_a, unpacked
from condyle.io.safety import require_all
from condyle.jobs.job import warn

__all__ = ["load"]

START = 284
"""The byte where voxels begin; scan parameters and tags may follow them."""

TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}
"""The code of a type -> how its numbers are stored."""

CHUNK = 1 << 24


def load(path: Path) -> tuple[NDArray[Any], Grid, str]:
    """The array (i, j, k) or (i, j, k, volume), its grid, and '' (MGH names no modality)."""
    from nibabel.freesurfer.mghformat import MGHHeader

    with unpacked(path) as (stream, possible):
        start = stream.read(START)
        if len(start) < START or start[:4] != b"\0\0\0\1":
            raise not_a(path, "an MGH file")
        header: Any = MGHHeader(start, check=False)
        sides = tuple(int(side) for side in header["dims"])
        if min(sides) < 1:
            shown = " x ".join(map(str, sides))
            raise UnreadableFile(f"{path} says that it has {shown} voxels: its header is damaged")
        if int(header["type"]) not in TYPES:
            raise UnreadableFile(f"{path} holds voxels of an unknown type ({int(header['type'])})")
        dtype = np.dtype(TYPES[int(header["type"])])
        promised = int(np.prod(sides, dtype=object)) * dtype.itemsize
        require_all(path, promised, possible - START)
        held = np.empty(promised, np.uint8)
        left = held.data
        while left and (given := stream.readinto(left[:CHUNK])):  # type: ignore[attr-defined]
            left = left[given:]
        require_all(path, promised, promised - len(left))
        while stream.read(CHUNK):  # to the checksum
            pass
    array = held.view(dtype).reshape(sides, order="F")
    array = array.astype(dtype.newbyteorder("="), copy=False)
    array = array[..., 0] if sides[3] == 1 else array
    return array, Grid((sides[0], sides[1], sides[2]), _affine(header, path)), ""


def _affine(header: Any, path: Path) -> NDArray[np.float64]:
    """The affine to RAS+ mm."""
    if int(header["goodRASFlag"]) <= 0:
        warn(
            f"{path} does not say how the scan is oriented: FreeSurfer's usual orientation (LIA) "
            "is taken; the spacing is right, but left and right may be swapped"
        )
    steps = np.array(header["delta"], dtype=float)
    if not np.isfinite(steps).all() or (steps <= 0).any():
        raise GeometryError(f"{path} has no spacing: its header says {steps.tolist()}")
    affine = np.array(header.get_affine(), dtype=float)
    if not np.isfinite(affine).all():
        raise GeometryError(f"{path} has an affine that is not finite: {affine[:3].tolist()}")
    return affine
