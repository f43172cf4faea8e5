"""The one place where a library's exceptions, and geometry that misleads, are turned away."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid
from condyle.errors import CondyleError, GeometryError, MissingFile, UnreadableFile
from condyle.jobs.job import warn

__all__ = [
    "HELD",
    "LPS_TO_RAS",
    "require_all",
    "require_padding",
    "rigid",
    "sane",
    "reading",
    "voxel_bytes",
]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Takes (x, y, z, 1) from DICOM's and ITK's world to ours, and back."""

HELD = (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
)  # fmt: skip
"""What a file's voxels may be: NIfTI, NRRD and MetaImage all hold these."""

PADDING = 1 << 20
"""Bytes of zeros that may stand behind the last voxel."""

CHUNK = 1 << 24
"""Bytes of voxels that a stream is asked for at once."""

SPACINGS_MM = (0.01, 50.0)
SHEAR = 1e-3
"""The largest cosine between two array axes that passes for rounding.

Headers in single precision and published scans stay below 6e-5; a gantry tilt of 0.1 degrees is
1.7e-3.
"""


@contextlib.contextmanager
def reading(path: Path) -> Generator[None]:
    """Whatever goes wrong inside while `path` is read comes out as one of our exceptions."""
    path = Path(path)
    if not path.exists():
        raise MissingFile(f"{path} is not there")
    try:
        yield
    except GeometryError as error:
        if str(path) in str(error):
            raise
        raise GeometryError(f"{path}: {error}") from error
    except CondyleError:
        raise
    except MemoryError as error:
        raise UnreadableFile(f"{path} asks for more memory than this machine has") from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise UnreadableFile(
            f"{path} is damaged, cut short, or not the format that its name says ({reason})"
        ) from error


def rigid(affine: NDArray[np.float64]) -> bool:
    """Whether an affine's axes are at right angles, but for rounding."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= SHEAR)


def sane(grid: Grid, path: Path) -> Grid:
    """The grid itself, if a scan can have it.

    Raises
    ------
    GeometryError
        If its axes are sheared, or a spacing is below 0.01 mm or above 50 mm.
    """
    low, high = SPACINGS_MM
    if min(grid.spacing) < low or max(grid.spacing) > high:
        shown = " x ".join(f"{s:.4g}" for s in grid.spacing)
        raise GeometryError(
            f"{path} claims voxels of {shown} mm; {low} to {high:g} mm is what scans have: "
            "export it again with the right spacing"
        )
    if not rigid(grid.affine):
        raise GeometryError(
            f"{path} has sheared axes, which most tools show wrongly; resample it to a "
            "grid with right angles"
        )
    return grid


def require_padding(path: Path, rest: bytes, padded: bool = True) -> None:
    """Refuse what stands behind the last voxel of a file, unless it is a few zeros.

    The header then promises less than there is, so that its sides or its type are wrong. Where
    not even `padded` may be, zeros are refused too.
    """
    if len(rest) >= PADDING or rest.count(0) < len(rest) or (rest and not padded):
        raise UnreadableFile(
            f"{path} goes on behind the last voxel that its header promises: the size or type in "
            "its header is wrong, or it is not all of one scan"
        )


def voxel_bytes(path: Path, stream: Any, promised: int, padded: bool = True) -> NDArray[np.uint8]:
    """The promised bytes of voxels that follow in a stream; only padding may come behind them.

    Inflated by the stream into their place: never held twice. The stream is read past them, to
    its checksum, but a bomb behind the scan is not inflated.
    """
    held = np.empty(promised, np.uint8)
    left = held.data
    while left and (given := stream.readinto(left[:CHUNK])):
        left = left[given:]
    require_all(path, promised, promised - len(left))
    rest = stream.read(PADDING)
    require_padding(path, rest, padded)
    if rest:
        warn(f"{path} goes on behind its last voxel with {len(rest)} zeros, which were ignored")
    return held


def require_all(path: Path, promised: int, held: int) -> None:
    """Refuse a file that holds fewer bytes of voxels than its header promises."""
    if held < promised:
        raise UnreadableFile(
            f"{path} is cut short: its header promises {promised} bytes of voxels, there are {held}"
        )
