"""NIfTI, read and written by nibabel: SimpleITK takes truncated files without an error."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelScheme
from condyle.errors import GeometryError, UnreadableFile
from condyle.io.label_table import CODE, named_in, table
from condyle.io.safety import GZIP_RATIO, HELD, rigid, voxel_bytes
from condyle.jobs.job import warn

__all__ = ["load", "load_labels", "names_in", "save"]


UNITS_MM = {"mm": 1.0, "unknown": 1.0, "micron": 1e-3, "meter": 1e3}


def load(path: Path) -> tuple[NDArray[Any], Grid, str]:
    """The array (i, j, k) or (i, j, k, volume), its grid, and '' (a NIfTI names no modality)."""
    array, grid, _ = _loaded(path)
    return array, grid, ""


def load_labels(path: Path) -> tuple[NDArray[Any], Grid, LabelScheme | None]:
    """The same, with the names that the header gives its labels, if it does."""
    array, grid, header = _loaded(path)
    return array, grid, named_in(header.extensions, path)


def names_in(path: Path) -> LabelScheme | None:
    """The names that a header gives its labels; no voxel is read."""
    with _opened(path) as stream:
        return named_in(_image(path, stream).header.extensions, path)


def _loaded(path: Path) -> tuple[NDArray[Any], Grid, Any]:
    with _opened(path) as stream:
        image = _image(path, stream)
        header = image.header
        shape = _shape(header, path)
        _require_bytes(header, path)
        array = _values(image, stream, path).reshape(shape, order="F")
    i, j, k = shape[:3]
    return array, Grid((i, j, k), _affine(header, shape, path)), header


def save(
    path: Path, array: NDArray[Any], grid: Grid, scheme: LabelScheme | None = None
) -> None:
    """Write an array as it is: no scaling, sform and (where it can hold the affine) qform, mm.

    The names of labels go into an extension of the header.
    """
    import nibabel as nib
    from isal import igzip

    # the sides of NIfTI-1 are 16-bit numbers
    kind = nib.Nifti1Image if max(grid.shape) < 1 << 15 else nib.Nifti2Image
    image = kind(array, grid.affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    if scheme is not None:
        names = nib.nifti1.Nifti1Extension(CODE, table(scheme))
        image.header.extensions.append(names)
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine if rigid(grid.affine) else None, code=int(rigid(grid.affine)))
    with path.open("wb") as stream:
        if not path.name.lower().endswith(".gz"):
            image.to_stream(stream)
            return
        # no name and no time in the file: the same scan gives the same bytes
        with igzip.IGzipFile("", "wb", 3, cast(Any, stream), mtime=0) as packed:
            image.to_stream(packed)


@contextlib.contextmanager
def _opened(path: Path) -> Generator[BinaryIO]:
    """The bytes of a .nii, or of a .nii.gz inflated as they are asked for."""
    with path.open("rb") as stream:
        if not path.name.lower().endswith(".gz"):
            yield stream
            return
        from isal import igzip

        with igzip.IGzipFile(fileobj=cast(Any, stream), mode="rb") as packed:
            yield cast(BinaryIO, packed)


def _image(path: Path, stream: BinaryIO) -> Any:
    """The image, its header read and its voxels still in the stream."""
    import nibabel as nib

    start = stream.read(540)
    stream.seek(0)
    kinds = ((nib.Nifti1Image, start[344:348], b"n+1\0"), (nib.Nifti2Image, start[4:8], b"n+2\0"))
    for kind, found, magic in kinds:
        if found == magic:
            # a memory map would die with the file
            files = {"image": nib.FileHolder(fileobj=cast(Any, stream))}
            stored = kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)
            _require_numbers(stored, path)
            return kind.from_file_map(files, mmap=False)
    if start[344:348] == b"ni1\0":
        raise UnreadableFile(f"{path} is one half of a .hdr/.img pair; convert the pair to .nii.gz")
    raise UnreadableFile(f"{path} is not a NIfTI file, whatever its name says")


def _require_numbers(stored: Any, path: Path) -> None:
    """Refuse a spacing or a scaling that is not a number: nibabel takes 1 instead, in silence."""
    spacing = np.array(stored["pixdim"][1:4], dtype=float)
    placed = 1 <= int(stored["sform_code"]) <= 5
    if not np.isfinite(spacing).all() or (not placed and (spacing <= 0).any()):
        raise GeometryError(f"{path} has no spacing: its header says {spacing.tolist()}")
    # NaN, like 0, is how some tools say that nothing is scaled
    if np.isinf((stored["scl_slope"], stored["scl_inter"])).any():
        raise UnreadableFile(f"{path} scales its voxels by infinity: export it again")


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    """(i, j, k), or (i, j, k, volumes), without the sides of 1 that some tools add."""
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise UnreadableFile(f"{path} holds an array of {shape}: a scan has three dimensions")
    return shape


def _require_bytes(header: Any, path: Path) -> None:
    """Refuse, before memory is taken, what is not plain numbers or more than the file can hold."""
    dtype = header.get_data_dtype()
    if dtype.name not in HELD:
        kind = "colours" if dtype.fields else str(dtype)
        raise UnreadableFile(f"{path} holds {kind}, not a plain number a voxel; export it as grey")
    promised = int(np.prod(header.get_data_shape(), dtype=object)) * dtype.itemsize
    packed = path.name.lower().endswith(".gz")
    possible = path.stat().st_size * (GZIP_RATIO if packed else 1)
    if header.get_data_offset() + promised > possible:
        raise UnreadableFile(
            f"{path} is cut short: its header promises {promised} bytes of voxels, "
            f"the file can hold {possible} at most"
        )


def _values(image: Any, stream: BinaryIO, path: Path) -> NDArray[Any]:
    """The voxels: integers as stored where nothing scales them, else floats that hold them."""
    dtype = image.dataobj.dtype
    promised = int(np.prod(image.shape, dtype=object)) * dtype.itemsize
    stream.seek(image.dataobj.offset)
    stored = voxel_bytes(path, stream, promised).view(dtype).reshape(image.shape, order="F")
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    slope, inter = float(image.dataobj.slope), float(image.dataobj.inter)
    if (slope, inter) == (1.0, 0.0):
        return stored
    if not np.isfinite((slope, inter)).all():
        raise UnreadableFile(f"{path} scales its voxels by {slope:g} and {inter:g}")
    small = stored.dtype.itemsize <= 2 or stored.dtype == np.float32
    scaled = np.empty(stored.shape, np.float32 if small else np.float64, order="F")
    for k in range(stored.shape[-1]):
        scaled[..., k] = stored[..., k] * np.float64(slope) + inter
    return scaled


def _affine(header: Any, shape: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    """The affine to RAS+ mm: the sform, else the qform, else the spacing alone with a warning."""
    sform, sform_code = header.get_sform(coded=True)
    qform_code = int(header["qform_code"])
    scale = UNITS_MM[header.get_xyzt_units()[0]]
    if sform_code:
        affine = np.array(sform, dtype=float)
        if qform_code:
            _require_agreement(affine, header, shape, scale, path)
    elif qform_code:
        affine = np.array(header.get_qform(), dtype=float)
    else:
        warn(
            f"{path} does not say how the scan is oriented (qform and sform codes are 0): LAS is "
            "taken, as nibabel and FSL do; the spacing is right, but left and right may be swapped"
        )
        affine = np.array(header.get_base_affine(), dtype=float)
    if not np.isfinite(affine).all():
        raise GeometryError(f"{path} has an affine that is not finite: {affine[:3].tolist()}")
    affine[:3] *= scale
    return affine


def _require_agreement(
    sform: NDArray[np.float64], header: Any, shape: tuple[int, ...], scale: float, path: Path
) -> None:
    """Refuse a header whose two geometries disagree: half of all tools would use the other one.

    A tenth of a voxel passes, and what a qform cannot hold: its quaternion's b, c, d are single
    precision, so a = sqrt(1 - b² - c² - d²) is lost as it nears 0 (turns of half a circle, as of
    slightly oblique LPS scans). Measured over random turns: up to 1.1e-3 of the scan's diagonal.
    """
    qform = np.array(header.get_qform(), dtype=float)
    if not np.isfinite(qform).all() or not np.isfinite(sform).all():
        raise GeometryError(f"{path} has a qform or sform that is not finite")
    mine, other = Grid(shape[:3], sform), Grid(shape[:3], qform)  # type: ignore[arg-type]
    a = float(header.get_qform_quaternion()[0])
    diagonal = float(np.linalg.norm(np.array(mine.spacing) * mine.shape))
    noise = diagonal * min(1.2e-3, 4e-7 / max(a, 1e-9)) + 1e-6 * float(np.abs(sform[:3, 3]).max())
    apart = mine.distance_to(other)
    if apart > 0.1 * min(mine.spacing) + noise:
        raise GeometryError(
            f"{path} has two geometries, {apart * scale:.3g} mm apart (qform and sform "
            "disagree): find out which is right and write it to both"
        )
