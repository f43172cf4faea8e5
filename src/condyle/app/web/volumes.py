"""Scans for the browser: a version that its memory holds, and single slices as pictures."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle._version import __version__
from condyle.core import Grid, LabelMap, Volume
from condyle.core.lattice import on_grid
from condyle.errors import ConfigError
from condyle.io import is_dataset, open_dataset, read, read_labels
from condyle.jobs.outputs import write_bytes

__all__ = ["MOST_VOXELS", "AXES", "Reduced", "labels_at", "nifti_for", "scan_at", "slice_png"]

MOST_VOXELS = 256_000_000
"""A browser's texture holds 2 GB, at 4 bytes a voxel and with room for labels."""

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Plane -> the RAS axis across it."""

CT_WINDOW = (-250.0, 900.0)


@dataclass(frozen=True, eq=False)
class Reduced:
    """A file for the browser.

    Parameters
    ----------
    path : of the file, .nii.gz.
    step : every how many-th voxel it has along each axis; 1 for all.
    """

    path: Path
    step: int


@lru_cache(maxsize=2)
def _canonical(path: Path, mark: int, labels: bool) -> Volume | LabelMap:
    """A scan or label map with axes towards right, front and head; the last two are kept."""
    found = read_labels(path) if labels else read(path)
    return found.reoriented("RAS")


def _mark(path: Path) -> int:
    return path.stat().st_mtime_ns


def scan_at(path: Path, case: str = "") -> Volume:
    """A scan, or the first channel of a case of a data set, towards right, front and head."""
    if case:
        path = _case(path, case).images[0]
    found = _canonical(path, _mark(path), False)
    assert isinstance(found, Volume)
    return found


def labels_at(path: Path, case: str = "") -> LabelMap:
    """A label map, one of a folder of results, or that of a case of a data set; axes as scans'."""
    if is_dataset(path):
        label = _case(path, case).label
        if label is None:
            raise ConfigError(f"case {case} has no label map")
        return _case(path, case).labels().reoriented("RAS")
    if path.is_dir() and case:
        path = _file_of(path, case)
    found = _canonical(path, _mark(path), True)
    assert isinstance(found, LabelMap)
    return found


def _case(path: Path, case: str) -> Any:
    for each in open_dataset(path).cases:
        if each.id == case:
            return each
    raise ConfigError(f"there is no case {case} in this data set")


def _file_of(folder: Path, case: str) -> Path:
    """The label map of a scan in a folder of results."""
    from condyle.io import scans_by_name

    files = scans_by_name([folder], labels=True)
    if case not in files:
        raise ConfigError(f"there is no label map of {case} here")
    return files[case]


def nifti_for(path: Path, case: str, labels: bool, cache: Path, most: int = MOST_VOXELS) -> Reduced:
    """A .nii.gz of a scan or label map that a browser can hold, kept in a folder."""
    thing: Volume | LabelMap = labels_at(path, case) if labels else scan_at(path, case)
    step = step_for(thing.grid.shape, most)
    made_of = f"{__version__}|{path}|{case}|{_mark(path)}|{labels}|{most}"
    name = hashlib.sha256(made_of.encode(errors="surrogateescape")).hexdigest()[:24]
    file = cache / f"{name}.nii.gz"
    if not file.is_file():
        write_bytes(file, _nifti(thing, step))
    return Reduced(file, step)


def step_for(shape: tuple[int, int, int], most: int = MOST_VOXELS) -> int:
    """Every how many-th voxel along each axis a browser can hold."""
    step = 1
    while math.prod(-(-n // step) for n in shape) > most:
        step += 1
    return step


def _nifti(thing: Volume | LabelMap, step: int) -> bytes:
    import nibabel

    array = np.asarray(thing.array)[::step, ::step, ::step]
    affine = np.array(thing.grid.affine)
    affine[:3, :3] *= step
    if array.dtype.kind in "iub" and array.dtype.itemsize > 2:
        array = array.astype(np.int32)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype == bool or array.dtype == np.int8:
        array = array.astype(np.uint8 if array.dtype == bool else np.int16)
    image: Any = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    if isinstance(thing, LabelMap):
        image.header.set_intent("label")  # only these does NiiVue draw as outlines
    else:
        image.header["cal_min"], image.header["cal_max"] = _window(thing)
    return gzip.compress(image.to_bytes(), compresslevel=1)


def slice_png(
    scan: Volume,
    plane: str,
    index: int | None,
    labels: LabelMap | None = None,
    window: tuple[float, float] | None = None,
    only: str = "both",
) -> bytes:
    """A slice as PNG, one pixel a voxel, stretched to true proportions; right on the left, head up.

    Parameters
    ----------
    index : of the slice, from the patient's left, back or feet; the middle one if None.
    only : 'scan', 'labels', or 'both': the labels over the scan.

    Raises
    ------
    ConfigError
        If there is no such plane or slice.
    """
    from PIL import Image

    if plane not in AXES:
        raise ConfigError(f"there is no plane {plane!r}: {', '.join(AXES)}")
    axis = AXES[plane]
    count = scan.grid.shape[axis]
    index = count // 2 if index is None else index
    if not 0 <= index < count:
        raise ConfigError(f"the {plane} slices are 0 to {count - 1}, not {index}")
    grey = _upright(np.take(scan.array, index, axis), axis).astype(np.float32)
    low, high = window or _window(scan)
    shade = np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * (only != "labels")
    colour = np.repeat(shade[..., None] * 255, 3, axis=2)
    if labels is not None and only != "scan":
        numbers = on_grid(labels, scan.grid, "the label map").array
        colour = _painted(colour, _upright(np.take(numbers, index, axis), axis), labels, only)
    image = Image.fromarray(colour.astype(np.uint8))
    image = image.resize(_size(scan.grid, axis), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _upright(plane: NDArray[Any], axis: int) -> NDArray[Any]:
    """Rows from head or front down, columns from the patient's right (or front) on."""
    return np.flip(plane.T, axis=(0, 1))


def _size(grid: Grid, axis: int) -> tuple[int, int]:
    """Columns and rows in square pixels of the smaller spacing."""
    (a, b), (n, m) = (np.delete(each, axis) for each in (grid.spacing, grid.shape))
    fine = min(a, b)
    return max(1, round(n * a / fine)), max(1, round(m * b / fine))


def _window(scan: Volume) -> tuple[float, float]:
    """What is shown from black to white: bone and soft tissue, or between percentiles."""
    if scan.modality == "CT":
        return CT_WINDOW
    low, high = np.percentile(scan.array[::4, ::4, ::4], (1, 99.5))
    return float(low), float(high)


def _painted(
    colour: NDArray[np.float32], numbers: NDArray[Any], labels: LabelMap, only: str
) -> NDArray[np.float32]:
    share = 1.0 if only == "labels" else 0.5
    for label in labels.scheme.entries:
        inside = numbers == label.id
        if inside.any():
            colour[inside] = (1 - share) * colour[inside] + share * np.array(label.colour)
    return colour


def structures_of(labels: LabelMap) -> list[dict[str, Any]]:
    """The structures that a label map holds: number, name, colour, volume in cm³, middle in mm."""
    found: list[dict[str, Any]] = []
    for label in labels.scheme.entries:
        inside = np.nonzero(labels.array == label.id)
        if len(inside[0]):
            middle = labels.grid.index_to_world(np.array([np.median(axis) for axis in inside]))
            found.append({
                "number": label.id, "name": label.name, "colour": list(label.colour),
                "cm3": round(len(inside[0]) * float(np.prod(labels.grid.spacing)) / 1000, 2),
                "middle": [round(float(x), 2) for x in middle],
            })  # fmt: skip
    return found
