"""NIfTI and Analyze, by nibabel: SimpleITK takes truncated files without an error.

A header is believed where it can be true. What contradicts itself, or the size of its file, is
refused: nibabel would read the header as voxels, or voxels of another type.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from condyle.core import Grid, LabelScheme
from condyle.errors import GeometryError, UnreadableFile
from condyle.io.label_table import CODE, named_in, table
from condyle.io.paths import not_a, unpacked
from condyle.io.safety import HELD, rigid, voxel_bytes
from condyle.jobs.job import warn

__all__ = ["free_text", "load", "names_in", "save"]


UNITS_MM = {"mm": 1.0, "unknown": 1.0, "micron": 1e-3, "meter": 1e3}

EXTENSIONS = 1 << 24
"""Bytes of header extensions that are looked through."""

BLANK = ("descrip", "aux_file", "intent_name", "db_name")
"""Free text of a NIfTI-1 header; NIfTI-2 has no db_name."""


@dataclass(frozen=True, eq=False)
class _Stored:
    """A header, and where its voxels are.

    Parameters
    ----------
    header : nibabel's, of NIfTI-1, NIfTI-2 or Analyze.
    voxels, start : the file that holds the voxels, and the byte where they begin.
    exact : whether nothing, not even zeros, may stand behind the voxels: what the header says of
        their place is doubtful.
    extensions : the code and the bytes of each of the header's extensions.
    """

    header: Any
    voxels: Path
    start: int
    exact: bool = False
    extensions: tuple[tuple[int, bytes], ...] = ()

    @property
    def is_analyze(self) -> bool:
        """Whether it is Analyze 7.5, which does not say how the scan is oriented."""
        return "qform_code" not in self.header


def load(path: Path) -> tuple[NDArray[Any], Grid, str]:
    """The array (i, j, k) or (i, j, k, volume), its grid, and '' (a NIfTI names no modality)."""
    stored = _stored(path)
    shape = _shape(stored.header, path)
    array = _values(stored, path).reshape(shape, order="F")
    i, j, k = shape[:3]
    return array, Grid((i, j, k), _affine(stored, shape, path)), ""


def names_in(path: Path) -> LabelScheme | None:
    """The names that a header gives its labels, if it does; no voxel is read."""
    return named_in((content for _, content in _stored(path).extensions), path)


def free_text(path: Path) -> tuple[str, ...]:
    """The names (never the values) of header fields and extensions that hold free text, sorted."""
    stored = _stored(path)
    header = stored.header
    found = [name for name in BLANK if name in header and bytes(header[name]).strip(b"\0 ")]
    return tuple(sorted([*found, *(f"extension {code}" for code, _ in stored.extensions)]))


def save(path: Path, array: NDArray[Any], grid: Grid, scheme: LabelScheme | None = None) -> None:
    """Write an array as it is: no scaling, sform and (where it can hold the affine) qform, mm.

    The names of labels go into an extension of the header.
    """
    import nibabel as nib
    from isal import igzip
    from nibabel.nifti1 import Nifti1Extension

    # the sides of NIfTI-1 are 16-bit numbers
    kind = nib.Nifti1Image if max(grid.shape) < 1 << 15 else nib.Nifti2Image
    image = kind(array, grid.affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    if scheme is not None:
        image.header.extensions.append(Nifti1Extension(CODE, table(scheme)))
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine if rigid(grid.affine) else None, code=int(rigid(grid.affine)))
    with path.open("wb") as stream:
        if not path.name.lower().endswith(".gz"):
            image.to_stream(stream)
            return
        # no name and no time in the file: the same scan gives the same bytes
        with igzip.IGzipFile("", "wb", 3, cast(Any, stream), mtime=0) as packed:
            image.to_stream(packed)


def _stored(path: Path) -> _Stored:
    """The header of a .nii, or of a pair of .hdr and .img, whichever of the two is named."""
    paired = path.name.lower().endswith((".hdr", ".img"))
    file = _half(path, ".hdr") if paired else path
    with unpacked(file) as (stream, _):
        start = stream.read(544)
        header, is_single = _header(file, start, paired)
        stream.seek(0)
        stream.read(_end(header))
        extensions, end = _extensions(stream, header)
    said = float(header["vox_offset"])
    if not paired and not is_single:
        raise UnreadableFile(
            f"{path} says that it is one half of a pair: call it .hdr, with its .img beside it"
        )
    if paired:
        if not (np.isfinite(said) and said >= 0 and said.is_integer()):
            raise UnreadableFile(f"{path} says that its voxels begin at byte {said:g}")
        return _Stored(header, _half(path, ".img"), int(said), extensions=extensions)
    first = _end(header) + 4
    if np.isfinite(said) and said >= first and said.is_integer():
        return _Stored(header, path, int(said), end > said, extensions)
    if extensions or not (np.isfinite(said) and said < first):
        raise UnreadableFile(
            f"{path} says that its voxels begin at byte {said:g}, which cannot be: its header "
            f"ends at byte {first}; export it again"
        )
    warn(
        f"{path} says that its voxels begin at byte {said:g}, inside its header: they were read "
        f"from byte {first} on, where the header ends"
    )
    return _Stored(header, path, first, exact=True)


def _half(path: Path, ending: str) -> Path:
    """The file of a pair that has this ending, in the case of letters that the other has."""
    ending = ending.upper() if path.suffix.isupper() else ending
    file = path.with_suffix(ending)
    if not file.is_file():
        raise UnreadableFile(f"{path} is one half of a pair, and {file.name} is not beside it")
    return file


def _end(header: Any) -> int:
    """The byte where a header's fixed part ends."""
    return int(header.sizeof_hdr)


def _header(file: Path, start: bytes, paired: bool) -> tuple[Any, bool]:
    """Nibabel's header, and whether its voxels are in the same file."""
    import nibabel as nib
    from nibabel.spm2analyze import Spm2AnalyzeImage

    kinds: tuple[tuple[Any, bytes, bool], ...] = (
        (nib.Nifti1Image, start[344:348], True), (nib.Nifti2Image, start[4:8], True),
        (nib.Nifti1Pair, start[344:348], False), (nib.Nifti2Pair, start[4:8], False),
    )  # fmt: skip
    marks = (b"n+1\0", b"n+2\0", b"ni1\0", b"ni2\0")
    for (image, found, single), mark in zip(kinds, marks, strict=True):
        if found == mark:
            return _trusted(file, start, image.header_class), single
    order = _order(start)
    if paired and order and len(start) >= 348:
        return _trusted(file, start, Spm2AnalyzeImage.header_class), False
    raise not_a(file, "a NIfTI file" if not paired else "a header of NIfTI or Analyze")


def _order(start: bytes) -> str:
    """The byte order of a header, by its own size at its beginning; '' if that is none."""
    size = start[:4]
    orders = (("<", "little"), (">", "big"))
    return next((o for o, name in orders if int.from_bytes(size, name) in (348, 540)), "")  # type: ignore[arg-type]


def _trusted(file: Path, start: bytes, kind: Any) -> Any:
    """The header in these bytes, whose sizes and types can be true."""
    block = start[: kind.sizeof_hdr]
    order = _order(start) or None
    header = kind(block, endianness=order, check=False)
    count = int(header["dim"][0])
    sides = [int(side) for side in header["dim"][1 : max(1, min(count, 7)) + 1]]
    if not 1 <= count <= 7 or min(sides) < 1:
        said = f"{count} dimensions" if not 1 <= count <= 7 else " x ".join(map(str, sides))
        raise UnreadableFile(
            f"{file} says that it has {said}{'' if 'dim' in said else ' voxels'}: its header is "
            "damaged, export it again"
        )
    held, bits = header.get_data_dtype().itemsize * 8, int(header["bitpix"])
    if bits not in (0, held):
        raise UnreadableFile(
            f"{file} contradicts itself: its voxels are {header.get_data_dtype()}, of {held} bits, "
            f"and have {bits} bits; export it again"
        )
    _require_numbers(header, file)
    offset = header["vox_offset"].copy()
    header["vox_offset"] = 0  # nibabel refuses some that cannot be, and takes others
    header.check_fix(error_level=40)
    header["vox_offset"] = offset
    return header


def _extensions(stream: BinaryIO, header: Any) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """Code and bytes of the extensions that follow a header, and the byte where they end."""
    end = _end(header) + 4
    if "qform_code" not in header or stream.read(4)[:1] in (b"", b"\0"):
        return (), end
    found: list[tuple[int, bytes]] = []
    order = "little" if header.endianness == "<" else "big"
    while True:
        start = stream.read(8)
        size, code = (int.from_bytes(part, order) for part in (start[:4], start[4:]))
        if len(start) < 8 or size < 16 or size % 16 or size > EXTENSIONS:
            return tuple(found), end
        content = stream.read(size - 8)
        if len(content) < size - 8:
            return tuple(found), end
        found.append((code, content))
        end += size
        if 0 < float(header["vox_offset"]) <= end:
            return tuple(found), end


def _require_numbers(stored: Any, path: Path) -> None:
    """Refuse a spacing or a scaling that is not a number: nibabel takes 1 instead, in silence."""
    spacing = np.array(stored["pixdim"][1:4], dtype=float)
    placed = "sform_code" in stored and 1 <= int(stored["sform_code"]) <= 5
    if not np.isfinite(spacing).all() or (not placed and (spacing <= 0).any()):
        raise GeometryError(f"{path} has no spacing: its header says {spacing.tolist()}")
    # NaN, like 0, is how some tools say that nothing is scaled
    scaling = [float(stored[name]) for name in ("scl_slope", "scl_inter") if name in stored]
    if np.isinf(scaling).any():
        raise UnreadableFile(f"{path} scales its voxels by infinity: export it again")


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    """(i, j, k), or (i, j, k, volumes), without the sides of 1 that some tools add."""
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4):
        raise UnreadableFile(f"{path} holds an array of {shape}: a scan has three dimensions")
    return shape


def _require_bytes(stored: _Stored, path: Path, possible: int) -> int:
    """The bytes of voxels that a header promises.

    Refused, before memory is taken, if they cannot be there, or are not plain numbers.
    """
    dtype = stored.header.get_data_dtype()
    if dtype.name not in HELD:
        kind = "colours" if dtype.fields else str(dtype)
        raise UnreadableFile(f"{path} holds {kind}, not a plain number a voxel; export it as grey")
    promised = int(np.prod(stored.header.get_data_shape(), dtype=object)) * dtype.itemsize
    if stored.start + promised > possible:
        raise UnreadableFile(
            f"{path} is cut short: its header promises {promised} bytes of voxels, "
            f"the file can hold {possible} at most"
        )
    return promised


def _values(stored: _Stored, path: Path) -> NDArray[Any]:
    """The voxels: integers as stored where nothing scales them, else floats that hold them."""
    header = stored.header
    with unpacked(stored.voxels) as (stream, possible):
        promised = _require_bytes(stored, path, possible)
        stream.seek(stored.start)
        held = voxel_bytes(path, stream, promised, padded=not stored.exact)
    voxels = held.view(header.get_data_dtype()).reshape(header.get_data_shape(), order="F")
    voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
    scaling = header.get_slope_inter()
    slope, inter = (float(d if n is None else n) for n, d in zip(scaling, (1, 0), strict=True))
    if (slope, inter) == (1.0, 0.0):
        return voxels
    if not np.isfinite((slope, inter)).all():
        raise UnreadableFile(f"{path} scales its voxels by {slope:g} and {inter:g}")
    small = voxels.dtype.itemsize <= 2 or voxels.dtype == np.float32
    scaled = np.empty(voxels.shape, np.float32 if small else np.float64, order="F")
    for k in range(voxels.shape[-1]):
        scaled[..., k] = voxels[..., k] * np.float64(slope) + inter
    return scaled


def _affine(stored: _Stored, shape: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    """The affine to RAS+ mm: the sform, else the qform, else the spacing alone with a warning."""
    header = stored.header
    if stored.is_analyze:
        return _affine_of_analyze(path)
    sform, sform_code = header.get_sform(coded=True)
    qform_code = int(header["qform_code"])
    scale = _unit(header, path)
    if sform_code:
        affine = np.array(sform, dtype=float)
        if qform_code:
            _require_agreement(affine, header, shape, scale, path)
    elif qform_code:
        affine = _qform(header, path)
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


def _affine_of_analyze(path: Path) -> NDArray[np.float64]:
    """The affine of an Analyze pair: from SPM's .mat beside it, else the spacing with a warning."""
    import nibabel as nib

    if not path.with_suffix(".mat").is_file():
        warn(
            f"{path} is Analyze, which does not say how a scan is oriented: LAS is taken, as "
            "nibabel and SPM do; the spacing is right, but left and right may be swapped"
        )
    image: Any = nib.load(path)
    return np.array(image.affine, dtype=float)


def _unit(header: Any, path: Path) -> float:
    """The millimetres of the header's unit."""
    try:
        return UNITS_MM[header.get_xyzt_units()[0]]
    except KeyError as error:
        raise GeometryError(f"{path} names no unit that a scan has: export it in mm") from error


def _qform(header: Any, path: Path) -> NDArray[np.float64]:
    """The affine of the header's quaternion."""
    from nibabel.spatialimages import HeaderDataError

    try:
        return np.array(header.get_qform(), dtype=float)
    except (ValueError, HeaderDataError) as error:
        raise GeometryError(
            f"{path} has a qform that is no rotation ({error}): export it again"
        ) from error


def _require_agreement(
    sform: NDArray[np.float64], header: Any, shape: tuple[int, ...], scale: float, path: Path
) -> None:
    """Refuse a header whose two geometries disagree: half of all tools would use the other one.

    A tenth of a voxel passes, and what a qform cannot hold: its quaternion's b, c, d are single
    precision, so a = sqrt(1 - b² - c² - d²) is lost as it nears 0 (turns of half a circle, as of
    slightly oblique LPS scans). Measured over random turns: up to 1.1e-3 of the scan's diagonal.
    """
    qform = _qform(header, path)
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
