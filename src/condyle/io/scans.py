"""Any scan or label map from its file, and back: one table says which module a path is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelMap, LabelScheme, Volume
from condyle.core.labels import whole_numbers
from condyle.core.relabel import exchanged, numbers_in
from condyle.errors import ConfigError, DatasetError, OutputError, UnreadableFile
from condyle.io import mgh, nifti, pictures
from condyle.io import zip as archive
from condyle.io.dicom import pixels as dicom
from condyle.io.dicom import rtstruct, seg_reader
from condyle.io.dicom import seg_writer as dicomseg
from condyle.io.dicom.frames import Header
from condyle.io.label_names import names_beside
from condyle.io.label_table import storable
from condyle.io.nrrd import image as itk
from condyle.io.nrrd import slicer_segments as segments
from condyle.io.paths import ENDINGS, ending_of, is_dicom, kind_of
from condyle.io.safety import HELD, reading, sane
from condyle.jobs.job import warn
from condyle.jobs.outputs import atomic_write
from condyle.jobs.process import without_python_warnings

__all__ = [
    "names_of",
    "read",
    "read_channels",
    "read_contours",
    "read_labels",
    "sources",
    "write",
    "write_channels",
]

Loaded = tuple[NDArray[Any], Grid, str]


def _load_zip(path: Path, series: str) -> Loaded:
    with archive.unpacked_dicom(path) as folder:
        return dicom.load(folder, series, called=path)


LOADERS: dict[str, Callable[[Path, str], Loaded]] = {
    "nifti": lambda path, _: nifti.load(path),
    "mgh": lambda path, _: mgh.load(path),
    "itk": lambda path, _: itk.load(path),
    "dicom": dicom.load,
    "zip": _load_zip,
    "picture": lambda path, _: pictures.load(path),
}
"""Format -> what gives the array (i, j, k[, volume]), the grid and the modality, of a series."""


def _format_of(path: Path) -> str:
    """The format of what is at a path: a key of `LOADERS`."""
    if path.is_dir():
        return "dicom"
    if ending := ending_of(path):
        return ENDINGS[ending]
    if is_dicom(path):
        return "dicom"
    kind = kind_of(path)
    it_is = f" (it is {kind})" if kind else ""
    raise UnreadableFile(
        f"{path} has no ending that Condyle reads{it_is}: give {', '.join(ENDINGS)} or a DICOM "
        "folder"
    )


def _load(path: Path, series: str = "") -> Loaded:
    """Array, grid and modality, the grid being one that a scan can have."""
    with reading(path):
        kind = _format_of(path)
        if series and kind not in ("dicom", "zip"):
            raise ConfigError(f"{path} is not DICOM: it has no series {series} to choose")
        array, grid, modality = LOADERS[kind](path, series)
        return array, sane(grid, path), modality


def read(path: str | Path, *, volume: int | None = None, series: str = "") -> Volume:
    """One scan, on its own grid in RAS+ mm; CT in Hounsfield units where it comes from DICOM.

    Parameters
    ----------
    path : a .nii, .nii.gz, .hdr (with its .img), .mgz, .nrrd, .nhdr, .mha, .mhd or .dcm file, a
        folder or a .zip of DICOM; or a picture (.png, .jpg, .tif), which has pixels for mm.
    volume : which volume of a file or series that holds several, from 0; of a picture in colour,
        red, green or blue.
    series : which DICOM series of several: its number in the list that the error shows without
        it, or its SeriesInstanceUID.

    Raises
    ------
    MissingFile, UnreadableFile, GeometryError
        If there is no such file, it is damaged or ambiguous, or its geometry would mislead.
    """
    path = Path(path)
    array, grid, modality = _load(path, series)
    count = array.shape[3] if array.ndim == 4 else 1
    if volume is None and count > 1 and grid.is_picture:
        raise UnreadableFile(
            f"{path} is a picture in colour: choose red, green or blue by `volume`, 0 to 2"
        )
    if volume is None and count > 1:
        raise UnreadableFile(
            f"{path} holds {count} volumes: choose one by `volume`, 0 to {count - 1}"
        )
    if not 0 <= (volume or 0) < count:
        raise ConfigError(f"{path} has volumes 0 to {count - 1}, not {volume}")
    if array.ndim == 4:
        array = array[..., volume or 0].copy(order="F")
    return Volume(array, grid, modality)


def read_channels(paths: Sequence[str | Path], *, series: str = "") -> tuple[Volume, ...]:
    """A scan's channels: one file each, or all the volumes of one file that holds several."""
    if not paths:
        raise DatasetError("a scan needs at least one file")
    if len(paths) > 1:
        return tuple(read(path, series=series) for path in paths)
    array, grid, modality = _load(Path(paths[0]), series)
    if array.ndim == 3:
        return (Volume(array, grid, modality),)
    return tuple(Volume(array[..., n], grid, modality) for n in range(array.shape[3]))


def read_labels(
    path: str | Path,
    scheme: LabelScheme | Mapping[str, int] | str | None = None,
    *,
    scan: Grid | None = None,
) -> LabelMap:
    """A label map, on its own grid: whole numbers, whatever type the file keeps them in.

    Without a scheme, the names are those in the file (.seg.nrrd, DICOM-SEG, RTSTRUCT, or a folder
    or zip that holds one, and NIfTI of Condyle or TotalSegmentator), or those that lie beside it
    in labels.json or a data set's dataset.json; numbers without a name become label_1, label_2, ...
    Segments in several layers are joined where none overlap.

    Parameters
    ----------
    scheme : what the numbers stand for: a scheme, {"tibia": 1, "femur": 2}, or knee or lower-limb.
        Where the file has names of its own that are in it, they decide.
    scan : the grid of its scan, where that is known: a DICOM-SEG without its empty slices may not
        say how far its slices lie apart, and the contours of an RTSTRUCT become masks on it, unless
        the scan lies in its folder. Other label maps stay on their own grids.

    Raises
    ------
    LabelError
        If a value is not a whole number from 0 to 65535, or segments overlap.
    ConfigError
        If the scheme is neither a scheme nor a table.
    """
    path, scheme = Path(path), None if scheme is None else LabelScheme.given(scheme)
    with reading(path):
        kind = _format_of(path)
        if kind in ("dicom", "zip"):
            numbers, grid, found = _load_dicomseg(path, kind, scheme, scan)
        elif kind == "itk":
            numbers, grid, found = segments.load_labels(path, scheme)
        else:
            numbers, grid, found = _load_numbers(path, kind, scheme)
        if found is None:
            bare = LabelMap.of(numbers, grid)
            beside = names_beside(path)
            found = bare.scheme if beside is None else _extended(beside, bare.present(), path)
        return LabelMap(numbers, sane(grid, path), found)


def names_of(path: Path) -> LabelScheme | None:
    """The names of a label map, in its file or beside it; None where it has numbers alone.

    Its numbers are read only where the format has its names among them.
    """
    with reading(path):
        kind = _format_of(path)
        if kind == "dicom":
            return seg_reader.names_in(path)
        own = nifti.names_in(path) if kind == "nifti" else None
        if own is None and kind in ("itk", "zip", "picture"):
            own = read_labels(path).scheme
            own = None if own.has_bare_numbers else own
        return own or names_beside(path)


def _load_numbers(
    path: Path, kind: str, scheme: LabelScheme | None
) -> tuple[NDArray[Any], Grid, LabelScheme | None]:
    """The label numbers of a format that need not name them, and their scheme if it does."""
    own: LabelScheme | None = None
    if kind == "picture":
        array, grid, own = pictures.load_labels(path, scheme or names_beside(path))
    else:
        array, grid, _ = LOADERS[kind](path, "")
    if array.ndim != 3:
        raise UnreadableFile(f"{path} holds {array.shape[3]} volumes; a label map is one")
    numbers = whole_numbers(array, str(path))
    own = nifti.names_in(path) if kind == "nifti" else own
    if own is None:
        return numbers, grid, scheme
    present = [int(number) for number in np.unique(numbers) if number]
    if scheme is None:
        beside = names_beside(path)  # may name structures that this one scan lacks
        if beside is not None and own.to_dict().items() <= beside.to_dict().items():
            own = _recoloured(beside, own)
        return numbers, grid, own.extended(present)
    new_of = numbers_in(own, present, scheme, str(path))
    if all(number == new for number, new in new_of.items()):
        return numbers, grid, scheme
    return whole_numbers(exchanged(numbers, new_of), str(path)), grid, scheme


def _recoloured(names: LabelScheme, own: LabelScheme) -> LabelScheme:
    """Names that lie beside a file, in the colours that the file has for them."""
    labels = tuple(own[one.id] if one.id in own.ids else one for one in names.labels)
    return LabelScheme(labels, names.ignore)


def _extended(names: LabelScheme, present: Sequence[int], path: Path) -> LabelScheme:
    """Names that lie beside a file, with numbers that they lack, which is said."""
    strangers = sorted(set(present) - set(names.to_dict().values()))
    if strangers:
        warn(
            f"{path} holds labels {strangers[:8]} that the names beside it do not know: they are "
            f"called label_{strangers[0]}, ..."
        )
    return names.extended(strangers)


def _load_dicomseg(
    path: Path, kind: str, scheme: LabelScheme | None, scan: Grid | None
) -> tuple[NDArray[Any], Grid, LabelScheme]:
    if kind == "dicom":
        return dicomseg.load(path, scheme, scan)
    with archive.unpacked_dicom(path) as folder:
        return dicomseg.load(folder, scheme, scan)


def read_contours(path: str | Path, scan: Grid) -> dict[str, LabelMap] | None:
    """Name -> mask on the scan's grid of each region of an RTSTRUCT; regions may overlap.

    None for everything that is no RTSTRUCT.
    """
    path = Path(path)
    with reading(path), without_python_warnings():  # the headers of others
        if _format_of(path) != "dicom":
            return None
        file, modality = seg_reader.only_labels(path)
        if modality != rtstruct.MODALITY:
            return None
        found, grid = rtstruct.masks(path, file, scan)
    return {
        name: LabelMap(mask.astype(np.uint8), grid, LabelScheme.of({name: 1}))
        for name, mask in found.items()
    }


def sources(path: str | Path, *, series: str = "") -> list[Header]:
    """The headers of the DICOM images that `read` makes a scan of, in the order of axis k.

    They are what DICOM-SEG and RTSTRUCT refer to; a multi-frame file gives one.

    Raises
    ------
    ConfigError, UnreadableFile, GeometryError
        If there is no DICOM, or its images are not the scan's slices (4D, or tilted).
    """
    path = Path(path)
    with reading(path):
        kind = _format_of(path)
        if kind == "dicom":
            return dicom.sources(path, series)
        if kind == "zip":
            with archive.unpacked_dicom(path) as folder:
                return dicom.sources(folder, series, called=path)
        raise ConfigError(
            f"{path} is not DICOM, so DICOM-SEG and RTSTRUCT cannot refer to it: choose `format` "
            "nifti"
        )


def write(thing: Volume | LabelMap, path: str | Path) -> Path:
    """Write a scan or a label map, whole or not at all, in the format of the path's ending.

    The file is read back before it takes its place: values bit by bit, corners to 0.001 mm.

    Parameters
    ----------
    path : ends in .nii, .nii.gz, .nrrd, .mha, .mhd (with a .raw beside it), or, for label maps
        with their names and colours, .seg.nrrd. NIfTI and NRRD keep names and colours too. What
        lies on a picture is written as .png, and nothing else is.

    Raises
    ------
    ConfigError
        If the format cannot hold the numbers, or the ending is none of these.
    OutputError
        If the disk is full or the folder cannot be written; what was there is there still.
    """
    path = Path(path)
    ending = ending_of(path)
    if ending not in SAVERS:
        raise ConfigError(f"cannot write {path.name}: end it in {', '.join(SAVERS)}")
    if thing.grid.is_picture:
        return _write_picture(thing, path)
    if ending == ".png":
        raise ConfigError(
            f"cannot write {path.name}: a PNG has no millimetres; condyle show draws slices, and "
            ".nii.gz keeps all"
        )
    if ending == ".seg.nrrd" and not isinstance(thing, LabelMap):
        raise ConfigError(f"cannot write {path.name}: a .seg.nrrd holds a label map, not a scan")
    if thing.array.dtype.name not in HELD:
        raise ConfigError(
            f"cannot write {path.name}: no file format stores {thing.array.dtype}; convert the "
            "array to "
            f"one of {', '.join(HELD)}"
        )
    thing = thing.with_array(thing.array.astype(thing.array.dtype.newbyteorder("="), copy=False))
    try:
        with atomic_write(path, lambda written: _require_equal(written, thing)) as temporary:
            SAVERS[ending](thing, temporary, path)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise OutputError(f"{path} could not be written ({str(error).strip()})") from error
    return path


def write_channels(channels: Sequence[Volume], path: Path) -> Path:
    """Write the channels of a picture, one or three of 8 bits, as one PNG."""
    if len(channels) == 1:
        return write(channels[0], path)
    array = np.stack([channel.array for channel in channels], axis=-1)
    if array.shape[-1] != len(pictures.COLOURS) or array.dtype != np.uint8:
        raise ConfigError(
            f"cannot write {path.name}: a picture has one channel, or three of 8 bits, not "
            f"{array.shape[-1]} of {array.dtype}"
        )
    grid = channels[0].grid
    with atomic_write(path, lambda written: _require_pixels(written, array)) as temporary:
        pictures.save_colours(temporary, array, grid)
    return path


def _write_picture(thing: Volume | LabelMap, path: Path) -> Path:
    """Write what lies on a picture's pixels: label numbers with their colours, or grey ones."""
    if path.suffix.lower() != ".png":
        raise ConfigError(
            f"cannot write {path.name}: a picture has no millimetres, which that format needs: "
            "end it in .png"
        )
    if isinstance(thing, LabelMap):
        numbers = whole_numbers(thing.array, path.name)
        with atomic_write(path, lambda written: _require_pixels(written, numbers, True)) as to:
            pictures.save_labels(to, numbers, thing.grid, _names_of(thing))
        return path
    if thing.array.dtype.name not in ("uint8", "uint16"):
        raise ConfigError(
            f"cannot write {path.name}: a PNG holds whole numbers of 8 or 16 bits, not "
            f"{thing.array.dtype}"
        )
    with atomic_write(path, lambda written: _require_pixels(written, thing.array)) as to:
        pictures.save(to, thing.array, thing.grid)
    return path


def _require_pixels(written: Path, array: NDArray[Any], labels: bool = False) -> None:
    """Raise unless a picture just written holds the same numbers."""
    found = pictures.load_labels(written)[0] if labels else pictures.load(written)[0]
    if not np.array_equal(found, array):
        raise OutputError(f"{written.name} did not read back as it was written")


SAVERS: dict[str, Callable[[Any, Path, Path], None]] = {
    ".nii.gz": lambda thing, to, _: nifti.save(to, thing.array, thing.grid, _names_of(thing)),
    ".nii": lambda thing, to, _: nifti.save(to, thing.array, thing.grid, _names_of(thing)),
    ".nrrd": lambda thing, to, _: itk.save(
        to, thing.array, thing.grid, segments.slicer_keys(thing) if _names_of(thing) else None
    ),
    ".seg.nrrd": lambda thing, to, _: itk.save(
        to, thing.array, thing.grid, segments.slicer_keys(thing)
    ),
    ".mha": lambda thing, to, _: itk.save(to, thing.array, thing.grid),
    ".mhd": lambda thing, to, final: itk.save_detached(to, thing.array, thing.grid, final),
    ".png": lambda thing, to, _: pictures.save(to, thing.array, thing.grid),
}
"""Ending -> what writes a thing to the second path, which will become the third."""


def _names_of(thing: Volume | LabelMap) -> LabelScheme | None:
    """The names that go into a file: those of a label map that has more than numbers."""
    if isinstance(thing, LabelMap) and not thing.scheme.has_bare_numbers:
        return thing.scheme
    return None


def _require_equal(written: Path, thing: Volume | LabelMap) -> None:
    """Raise unless a file just written holds the same numbers and names on the same grid."""
    with reading(written):
        array, grid, _ = LOADERS[_format_of(written)](written, "")
        may_be_nan = np.issubdtype(array.dtype, np.floating)
        # slice by slice: comparing all at once takes half as much memory again
        same = (array.dtype, array.shape) == (thing.array.dtype, thing.array.shape) and all(
            np.array_equal(array[..., k], thing.array[..., k], equal_nan=may_be_nan)
            for k in range(array.shape[-1])
        )
        # NIfTI's header holds positions in single precision
        far = float(np.abs(thing.grid.corners()).max())
        if _format_of(written) == "nifti" and (names := _names_of(thing)) is not None:
            same = same and nifti.names_in(written) == storable(names)
        if not same or not grid.same_as(thing.grid, max(1e-3, 1e-6 * far)):
            raise OutputError(f"{written.name} did not read back as it was written")
