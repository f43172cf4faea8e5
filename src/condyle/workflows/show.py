"""Slices of a scan beside its labels, and labels in 3D, as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condyle.config.choices import Plane
from condyle.config.requests import ShowRequest
from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.core.lattice import on_grid
from condyle.errors import ConfigError, LabelError
from condyle.io import is_dataset, open_dataset, read, read_channels, read_labels
from condyle.io.exchange import channels_of
from condyle.io.labelmaps import label_files
from condyle.io.pictures import is_picture
from condyle.jobs.job import Job, verb
from condyle.prepare.slices import axis_of, ends
from condyle.report.drawing import Drawing, require_png
from condyle.report.slice_pictures import Slices

__all__ = ["Shown", "show", "show_scan"]

MOST = 400
"""Slices of a sheet."""
COUNTED: dict[Plane, str] = {
    "axial": "from the feet", "coronal": "from the back", "sagittal": "from the patient's left",
}  # fmt: skip
NO_SLICES = "surfaces have no slices"


@dataclass(frozen=True)
class Shown:
    """The picture that was written; the plane, and the slices that it shows."""

    picture: Path
    plane: Plane
    slices: tuple[int, ...]


def show(
    scan: Any = None,
    labels: LabelMap | str | Path | None = None,
    truth: LabelMap | str | Path | None = None,
    *,
    slice: int | None = None,
    plane: Plane = "axial",
    every: int | None = None,
    ends: int | None = None,
    structure: str = "",
    window: tuple[float, float] | None = None,
    grid: Grid | None = None,
    surface: bool = False,
) -> Drawing:
    """A picture of a slice beside its labels, of many slices, or of labels in 3D.

    A notebook shows it; `.write("slice.png")` keeps it.

    Parameters
    ----------
    scan : a path, a `Volume`, an image of nibabel or SimpleITK, or an array with `grid`; None for
        labels alone.
    labels, truth : label maps on the scan's grid, or their paths. With a truth, the labels are
        shown beside it, and where they differ.
    slice : which one, from 0 at the feet, back or patient's left; None: that with the most labels.
    plane : axial, coronal or sagittal.
    every : a sheet of every so many slices that hold labels.
    ends : a sheet of the first and last so many slices that hold a structure.
    structure : only this one.
    window : the intensities shown as black and as white.
    surface : surfaces instead of slices.

    Raises
    ------
    ConfigError
        If there is no such slice, or nothing to show.
    GridMismatch
        If labels are not on the scan's grid.

    Examples
    --------
    >>> import numpy as np
    >>> scan, labels = np.zeros((40, 40, 9)), np.zeros((40, 40, 9), np.uint8)
    >>> labels[10:20, 10:20, 4:6] = 1
    >>> grid = Grid.regular(scan.shape, spacing=(1, 1, 4))
    >>> picture = show(Volume(scan, grid), LabelMap(labels, grid, LabelScheme.given("knee")))
    >>> picture._repr_png_()[1:4]
    b'PNG'
    """
    named, found = _both(labels, truth)
    if surface:
        return _surfaces(named, found, structure)
    channels = () if scan is None else channels_of(scan, grid)
    slices = _slices(channels, named, found, structure, plane, window)
    if every is None and ends is None:
        return slices.one(_at(slices, slice))
    return slices.sheet(_numbers(slices, every, ends))


@verb
def show_scan(request: ShowRequest, job: Job) -> Shown:
    """Write the picture that is asked for, as a PNG.

    Raises
    ------
    ConfigError
        If there is no such slice or case, or a setting does not apply.
    """
    require_png(request.out)
    _refuse(request)
    if request.surface:
        labels, truth = _labels_for_surfaces(request)
        picture, at = _surfaces(labels, truth, request.structure), ()
    else:
        scan, labels, truth = _read(request)
        slices = _slices(scan, labels, truth, request.structure, request.plane, request.window)
        if request.every is None and request.ends is None:
            at = (_at(slices, request.slice),)
            picture = slices.one(at[0])
        else:
            at = _numbers(slices, request.every, request.ends)
            picture = slices.sheet(at)
    return Shown(picture.write(request.out), request.plane, at)


def _refuse(request: ShowRequest) -> None:
    """Raise where settings do not go together."""
    if request.slice is not None:
        request.refuse(dict.fromkeys(("every", "ends"), "`slice` shows one slice"))
    if request.surface:
        names = ("slice", "plane", "every", "ends", "window", "volume", "series")
        request.refuse(dict.fromkeys(names, NO_SLICES))
    if request.labelmap is None and not request.case and not request.surface:
        request.refuse(dict.fromkeys(("ends", "structure"), "there is no label map"))
    if request.case:
        reason = "a data set says which files a case has"
        request.refuse(dict.fromkeys(("truth", "volume", "series"), reason))
    if request.case and not is_dataset(request.scan):
        raise ConfigError(f"{request.scan} is no data set, so it has no `case` {request.case}")
    if not request.case and request.scan.is_dir() and is_dataset(request.scan):
        names = [case.id for case in open_dataset(request.scan)]
        raise ConfigError(
            f"{request.scan} is a data set: choose one of its cases by `case`, such as {names[0]}",
            setting="case",
        )


def _read(
    request: ShowRequest,
) -> tuple[tuple[Volume, ...], LabelMap | None, LabelMap | None]:
    """The scan, the labels and the truth that a request names."""
    if request.case:
        case = open_dataset(request.scan)[request.case]
        own = case.labels() if case.label is not None else None
        if request.labelmap is None:
            return case.channels(), own, None
        if own is None:
            return case.channels(), _prediction(request, None), None
        return case.channels(), _prediction(request, own.scheme), own
    if is_picture(request.scan) and request.volume is None:
        scan = read_channels([request.scan])
    else:
        scan = (read(request.scan, volume=request.volume, series=request.series),)
    return scan, *_both(request.labelmap, request.truth)


def _labels_for_surfaces(request: ShowRequest) -> tuple[LabelMap | None, LabelMap | None]:
    if request.case:
        return _read(request)[1:]
    if request.labelmap is None:
        return _labels(request.scan), None
    return _both(request.labelmap, request.truth)


def _prediction(request: ShowRequest, scheme: LabelScheme | None) -> LabelMap | None:
    """The prediction for a case of a data set."""
    path = request.labelmap
    assert path is not None
    if path.is_dir():
        files = label_files([path])
        if request.case in files:
            path = files[request.case]
    return _labels(path, scheme)


def _both(
    labels: LabelMap | str | Path | None, truth: LabelMap | str | Path | None
) -> tuple[LabelMap | None, LabelMap | None]:
    """Labels and truth, under the names of either where the other has bare numbers."""
    found = _labels(truth)
    named = _labels(labels, found.scheme if found and not found.scheme.has_bare_numbers else None)
    if named and found and found.scheme.has_bare_numbers:
        found = found.with_scheme(named.scheme.extended(found.present()))
    return named, found


def _labels(
    given: LabelMap | str | Path | None, scheme: LabelScheme | None = None
) -> LabelMap | None:
    return read_labels(given, scheme) if isinstance(given, str | Path) else given


def _slices(
    scan: Sequence[Volume],
    labels: LabelMap | None,
    truth: LabelMap | None,
    structure: str,
    plane: Plane,
    window: tuple[float, float] | None,
) -> Slices:
    axis_of(plane)
    if not scan and labels is None:
        raise ConfigError("there is nothing to show: give a scan, or labels")
    if labels is None and truth is not None:
        raise ConfigError("a truth is shown beside labels: give `labelmap`, too")
    if window is not None and window[0] >= window[1]:
        raise ConfigError(
            f"`window` must rise, from what is black to what is white, not {window[0]:g} to "
            f"{window[1]:g}", setting="window",
        )  # fmt: skip
    if scan and scan[0].grid.is_picture and plane != "axial":
        raise ConfigError(
            f"`plane` {plane} cannot be used: a picture has one slice, which is axial",
            setting="plane",
        )
    labels, truth = _alone([labels, truth], structure)
    return Slices.of(scan, labels, truth, plane, window=window)


def _alone(maps: Sequence[LabelMap | None], structure: str) -> list[LabelMap | None]:
    """Label maps with one structure alone; as they are where none is named."""
    if not structure:
        return list(maps)
    known = [m for m in maps if m is not None and structure in m.scheme.names]
    if not known:
        for m in filter(None, maps):
            _ = m.scheme[structure]  # raises, and names those that there are
    return [
        m if m is None else m.within(m.mask(structure)) if m in known else m.emptied() for m in maps
    ]


def _at(slices: Slices, number: int | None) -> int:
    """The slice that is meant."""
    if number is None:
        return slices.largest()
    if not 0 <= number < len(slices):
        plane: Any = slices.plane
        raise ConfigError(
            f"there is no {plane} slice {number}: the scan has slices 0 to {len(slices) - 1}, "
            f"counted {COUNTED[plane]}", setting="slice",
        )  # fmt: skip
    return number


def _numbers(slices: Slices, every: int | None, last: int | None) -> tuple[int, ...]:
    """The slices of a sheet."""
    held = slices.filled()
    if last is not None:
        filled = [m.within(m.known()).array > 0 for m in slices.maps[:1]]
        held = ends(filled[0], last, slices.axis) if filled else held
    if not len(held):
        raise LabelError("no slice holds a label: leave out `every` and `ends`")
    chosen = held[:: every or 1]
    if len(chosen) > MOST:
        need = -(-len(held) // MOST)
        raise ConfigError(
            f"{len(chosen)} slices are more than the {MOST} that a sheet can show: give `every` "
            f"{need} or more", setting="every",
        )  # fmt: skip
    return tuple(int(number) for number in chosen)


def _surfaces(labels: LabelMap | None, truth: LabelMap | None, structure: str) -> Drawing:
    from condyle.mesh import surfaces  # slices need none of it
    from condyle.report import figures

    if labels is None:
        raise ConfigError("there is nothing to show: give a label map")
    labels, truth = _alone([labels, truth], structure)
    assert labels is not None
    found = surfaces(labels)
    if truth is None:
        return Drawing(figures.surfaces(found))
    return Drawing(figures.distances(found, surfaces(on_grid(truth, labels.grid, "both"))))
