"""RTSTRUCT: the contours of radiotherapy, read as masks on the grid of their scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelScheme
from condyle.core.case import repeated
from condyle.core.labels import Colour, default_colour, whole_numbers
from condyle.errors import GeometryError, GridMismatch, LabelError, OverlapError, UnreadableFile
from condyle.io.dicom.contours import filled
from condyle.io.dicom.frames import Header
from condyle.io.dicom.geometry import stacked
from condyle.io.dicom.series import elements, find_series, speaking_of
from condyle.io.safety import LPS_TO_RAS
from condyle.jobs.job import warn

__all__ = ["MODALITY", "Region", "load", "masks", "names_in", "regions"]

MODALITY = "RTSTRUCT"

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""The kinds of contour that surround something; points and open lines do not."""

OFF_PLANE = 0.3
"""A contour lies on a slice when it is as near to its middle, in slices."""


@dataclass(frozen=True, eq=False)
class Region:
    """One region of interest (ROI).

    Parameters
    ----------
    number : within the file.
    contours : (n, 3) corners each, in RAS+ mm.
    """

    number: int
    name: str
    colour: Colour
    contours: tuple[NDArray[np.float64], ...]


def regions(file: Path, data: Header) -> list[Region]:
    """The regions of an RTSTRUCT that surround something, in the order of the file.

    Raises
    ------
    UnreadableFile
        If the file is damaged, or no region has a contour.
    LabelError
        If two regions have one name.
    """
    with speaking_of(file):
        names = {
            int(item.ROINumber): str(item.get("ROIName") or f"ROI_{item.ROINumber}").strip()
            for item in data.get("StructureSetROISequence") or ()
        }
        found: list[Region] = []
        for item in data.get("ROIContourSequence") or ():
            number = int(item.ReferencedROINumber)
            contours = tuple(_corners(line) for line in item.get("ContourSequence") or ()
                             if str(line.get("ContourGeometricType")) in CLOSED)  # fmt: skip
            if contours and number in names:
                colour = _colour(item) or default_colour(number)
                found.append(Region(number, names[number], colour, contours))
    if not found:
        raise UnreadableFile(f"{file} is an RTSTRUCT without contours: nothing is drawn in it")
    if twice := repeated(region.name for region in found):
        raise LabelError(f"{file} has several regions called {', '.join(twice)}; rename them")
    return found


def _corners(line: Header) -> NDArray[np.float64]:
    values = np.array([float(value) for value in line.ContourData])
    return values.reshape(-1, 3) @ LPS_TO_RAS[:3, :3]


def _colour(item: Header) -> Colour | None:
    parts = [int(part) for part in item.get("ROIDisplayColor") or ()]
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else None


def names_in(file: Path) -> LabelScheme:
    """The scheme of the regions of an RTSTRUCT."""
    return _scheme(regions(file, elements(file)))


def _scheme(found: Sequence[Region]) -> LabelScheme:
    """The names and colours; a region's number is its label, where all are positive."""
    numbered = all(region.number > 0 for region in found)
    ids = {r.name: r.number if numbered else n for n, r in enumerate(found, 1)}
    return LabelScheme.of(ids, {region.name: region.colour for region in found})


def grid_of(path: Path, file: Path, data: Header, scan: Grid | None) -> Grid:
    """The grid that the contours were drawn on: the scan's, if it is given or lies beside them.

    Raises
    ------
    GeometryError
        If it is neither.
    """
    if scan is not None:
        return scan
    drawn_on = _series_of(data)
    folder = path if path.is_dir() else file.parent
    for one in find_series(folder)[0]:
        if one.uid in drawn_on:
            stack = stacked(folder, one.frames)
            rows, columns = one.frames[0].shape
            return Grid((columns, rows, len(stack.volumes[0])), LPS_TO_RAS @ stack.affine)
    raise GeometryError(
        f"{file} is an RTSTRUCT: contours, which become masks on the slices of their scan. Give it "
        "with its scan (condyle import SCAN --masks RTSTRUCT), or put it into the scan's folder"
    )


def _series_of(data: Header) -> set[str]:
    """The SeriesInstanceUIDs that the contours were drawn on."""
    found: set[str] = set()
    for place in data.get("ReferencedFrameOfReferenceSequence") or ():
        for study in place.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                found.add(str(series.get("SeriesInstanceUID")))
    return found


def masks(path: Path, file: Path, scan: Grid | None) -> tuple[dict[str, NDArray[np.bool_]], Grid]:
    """Name -> mask (i, j, k) of each region, and their grid; regions may overlap."""
    data = elements(file)
    found = regions(file, data)
    grid = grid_of(path, file, data, scan)
    return {region.name: _mask(region, grid, file) for region in found}, grid


def load(
    path: Path, file: Path, scheme: LabelScheme | None, scan: Grid | None
) -> tuple[NDArray[Any], Grid, LabelScheme]:
    """The label numbers (i, j, k), their grid and their scheme.

    Parameters
    ----------
    path : that was given: the file, or a folder with it and perhaps with its scan.
    scheme : one that knows all regions decides the numbers.
    scan : the grid of the scan, where that is known.

    Raises
    ------
    OverlapError
        If two regions claim a voxel.
    GeometryError, GridMismatch
        If the scan is not known, or the contours do not lie on its slices.
    """
    data = elements(file)
    found = regions(file, data)
    own = _scheme(found)
    known = scheme is not None and {region.name for region in found} <= set(scheme.to_dict())
    ids = (scheme if scheme is not None and known else own).to_dict()
    grid = grid_of(path, file, data, scan)
    return _joined(file, found, ids, grid), grid, scheme if scheme is not None and known else own


def _joined(
    file: Path, found: Sequence[Region], ids: Mapping[str, int], grid: Grid
) -> NDArray[np.uint8 | np.uint16]:
    """One label map of all regions; refused if two claim a voxel."""
    numbers = np.zeros(grid.shape, np.uint16, order="F")
    shared: dict[str, int] = {}
    for region in found:
        mask = _mask(region, grid, file)
        if count := int(np.count_nonzero(numbers[mask])):
            others = [r.name for r in found if (numbers[mask] == ids[r.name]).any()]
            shared[f"{region.name} with {' and '.join(others)}"] = count
        numbers[mask] = ids[region.name]
    if shared:
        raise OverlapError(
            f"{file} holds regions that overlap ({'; '.join(shared)}) in {sum(shared.values())} "
            "voxels, and a label map gives a voxel one label: import it with its scan as masks, "
            "and say by `overlap` who gets them"
        )
    return whole_numbers(numbers, str(file))


def _mask(region: Region, grid: Grid, file: Path) -> NDArray[np.bool_]:
    """Where a region is: in each slice, the pixels inside an odd number of its contours."""
    placed = [grid.world_to_index(corners) for corners in region.contours]
    extents = np.max([np.ptp(corners, axis=0) for corners in placed], axis=0)
    axis = int(np.argmin(extents))
    away = max(float(np.abs(c[:, axis] - np.round(c[:, axis].mean())).max()) for c in placed)
    if away > OFF_PLANE:
        raise GridMismatch(
            f"the contours of {region.name} in {file} do not lie on the slices of the scan (up to "
            f"{away:.1f} slices beside them): give the scan that they were drawn on"
        )
    slices: dict[int, list[NDArray[np.float64]]] = {}
    outside = 0
    for corners in placed:
        k = round(float(corners[:, axis].mean()))
        if 0 <= k < grid.shape[axis]:
            slices.setdefault(k, []).append(np.delete(corners, axis, axis=1))
        else:
            outside += 1
    if outside:
        warn(f"{file}: {outside} of {len(placed)} contours of {region.name} lie outside the scan")
    if slices and len(slices) < (spanned := max(slices) - min(slices) + 1):
        warn(f"{file}: {region.name} is drawn in {len(slices)} of the {spanned} slices it spans")
    mask = np.zeros(grid.shape, bool, order="F")
    layers = np.moveaxis(mask, axis, 0)
    for k, contours in slices.items():
        layers[k] = filled(contours, (layers.shape[1], layers.shape[2]))
    return mask
