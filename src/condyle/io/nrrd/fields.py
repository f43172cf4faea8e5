"""What the fields of an NRRD or MetaImage header say of its voxels: how many, of what, and where.

ITK's own readers end the process, or never return, on some damaged headers (NDims = 83, a matrix
of NaN), so the fields are read here and nothing but proved numbers goes further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condyle.errors import GeometryError, UnreadableFile
from condyle.io.nrrd.header import Header

__all__ = ["META_TYPES", "Described", "described"]

TO_LPS = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
"""An NRRD's name of its world -> what turns that to LPS."""

UNITS = ("mm", "millimeter", "millimeters", "")

NRRD_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long",
              "signed long long int", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}  # fmt: skip
META_TYPES = {
    "int8": "MET_CHAR", "uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT",
    "int32": "MET_INT", "uint32": "MET_UINT", "int64": "MET_LONG_LONG", "uint64": "MET_ULONG_LONG",
    "float32": "MET_FLOAT", "float64": "MET_DOUBLE",
}  # fmt: skip
"""Our name of a type -> what the formats call it; MET_LONG is left out: it has 4 bytes or 8."""

SIDE = 1 << 31
TRUTHS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclass(frozen=True, eq=False)
class Described:
    """The voxels that a header promises.

    Parameters
    ----------
    sides : numbers along each axis, the fastest first.
    layered : the axis that counts several numbers a voxel, or None.
    dtype : of each number, in the file's byte order.
    affine : (4, 4) from voxel index to LPS mm.
    in_body : whether the header says how its axes lie in the body.
    """

    sides: tuple[int, ...]
    layered: int | None
    dtype: np.dtype[Any]
    affine: NDArray[np.float64]
    in_body: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return int(np.prod(self.sides, dtype=object)) * self.dtype.itemsize


def described(path: Path, header: Header) -> Described:
    """What a header promises.

    Raises
    ------
    UnreadableFile, GeometryError
        If a field is missing, contradicts another, or is not a number.
    """
    return (_nrrd if "encoding" in header.fields else _meta)(path, header.fields)


def _nrrd(path: Path, fields: dict[str, str]) -> Described:
    for name in ("space units", "units"):
        if any(unit.strip() not in UNITS for unit in fields.get(name, "").split('"')):
            raise GeometryError(f"{path} counts in {fields[name]}; export it in mm")
    sides = _sides(path, "sizes", fields)
    if str(len(sides)) != fields.get("dimension"):
        raise UnreadableFile(
            f"{path} contradicts itself: dimension {fields.get('dimension')!r}, "
            f"sizes {fields.get('sizes')!r}"
        )
    layered, columns = _directions(path, fields, len(sides))
    space = fields.get("space", "").lower()
    affine = np.eye(4)
    affine[:3, :3] = np.transpose(columns)
    if "space origin" in fields:
        affine[:3, 3] = _vector(path, "space origin", fields["space origin"])
    affine[:3] *= np.reshape(TO_LPS.get(space, (1, 1, 1)), (3, 1))
    name = _type_of(path, fields.get("type", "").lower(), lambda held: NRRD_TYPES[held])
    dtype = np.dtype(name)
    if dtype.itemsize > 1:
        order = fields.get("endian", "").lower()
        if order not in ("little", "big"):
            raise UnreadableFile(f"{path} does not say in which order its bytes are (endian)")
        dtype = dtype.newbyteorder("<" if order == "little" else ">")
    return Described(sides, layered, dtype, affine, space in TO_LPS)


def _directions(
    path: Path, fields: dict[str, str], count: int
) -> tuple[int | None, list[list[float]]]:
    """The axis that is none of space's (or None), and the steps in mm along the other three."""
    if "space directions" in fields:
        words = re.findall(r"\([^()]*\)|[^\s()]+", fields["space directions"])
        none = [n for n, word in enumerate(words) if word.lower() == "none"]
        vectors = [word for word in words if word.lower() != "none"]
    else:
        words = fields.get("spacings", "").split()
        none = [n for n, word in enumerate(words) if word.lower() == "nan"]
        steps = np.diag([_number(path, "spacings", w) for w in words if w.lower() != "nan"])
        vectors = [f"({','.join(map(repr, row))})" for row in steps.tolist()]
    if not words:
        raise GeometryError(f"{path} does not say how large its voxels are: export it again")
    if len(words) != count or len(vectors) != 3 or len(none) > 1:
        raise UnreadableFile(f"{path} has {count} dimensions, a scan three; save one volume")
    columns = [_vector(path, "space directions", vector) for vector in vectors]
    return (none[0] if none else None), columns


def _meta(path: Path, fields: dict[str, str]) -> Described:
    if fields.get("objecttype", "Image").lower() != "image":
        raise UnreadableFile(f"{path} holds a MetaIO {fields['objecttype']}, not an Image")
    if fields.get("ndims") != "3":
        raise UnreadableFile(
            f"{path} has {fields.get('ndims')!r} dimensions, a scan three; save one volume"
        )
    scaled = fields.get("elementtointensityfunctionslope"), fields.get(
        "elementtointensityfunctionoffset")  # fmt: skip
    if scaled[0] not in (None, "1") or scaled[1] not in (None, "0"):
        raise UnreadableFile(f"{path} scales its voxels by {scaled}; export it unscaled")
    sides = _sides(path, "dimsize", fields)
    spacing = _numbers(path, "ElementSpacing", fields.get("elementspacing", ""), 3)
    matrix = _either(fields, "transformmatrix", "rotation", "orientation") or "1 0 0 0 1 0 0 0 1"
    offset = _either(fields, "offset", "position", "origin") or "0 0 0"
    affine = np.eye(4)
    # MetaImage counts a matrix by columns: the three directions, one after the other
    directions = np.reshape(_numbers(path, "TransformMatrix", matrix, 9), (3, 3)).T
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = _numbers(path, "Offset", offset, 3)
    channels = _whole(path, "ElementNumberOfChannels", fields.get("elementnumberofchannels", "1"))
    name = _type_of(path, fields.get("elementtype", ""), lambda held: (META_TYPES[held],))
    order = _either(fields, "binarydatabyteordermsb", "elementbyteordermsb") or "False"
    if order.lower() not in TRUTHS:
        raise UnreadableFile(f"{path} does not say in which order its bytes are ({order!r})")
    dtype = np.dtype(name).newbyteorder(">" if TRUTHS[order.lower()] else "<")
    if len(sides) != 3:
        raise UnreadableFile(f"{path} contradicts itself: NDims 3, DimSize {fields['dimsize']!r}")
    return Described((channels, *sides), 0, dtype, affine)


def _either(fields: dict[str, str], *names: str) -> str | None:
    """The first of a field's names that is there."""
    return next((fields[name] for name in names if name in fields), None)


def _type_of(path: Path, said: str, names: Callable[[str], Sequence[str]]) -> str:
    """Our name of the type that a header says."""
    for held in META_TYPES:
        if said in names(held):
            return held
    raise UnreadableFile(
        f"{path} holds voxels of type {said!r}, not plain numbers; save it as short or float"
    )


def _sides(path: Path, name: str, fields: dict[str, str]) -> tuple[int, ...]:
    return tuple(_whole(path, name, word) for word in fields.get(name, "").split())


def _whole(path: Path, name: str, word: str) -> int:
    """A count from 1 to 2³¹."""
    if not re.fullmatch(r"\d{1,10}", word, re.ASCII) or not 1 <= int(word) < SIDE:
        raise UnreadableFile(
            f"{path} has {word[:40]!r} for {name}, which is not a whole number above 0"
        )
    return int(word)


def _number(path: Path, name: str, word: str) -> float:
    """A finite number."""
    try:
        number = float(word)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise GeometryError(f"{path} has {word[:40]!r} for {name}, which is not a number")
    return number


def _numbers(path: Path, name: str, text: str, count: int) -> list[float]:
    words = text.split()
    if len(words) != count:
        raise GeometryError(f"{path} has {text[:80]!r} for {name}, which takes {count} numbers")
    return [_number(path, name, word) for word in words]


def _vector(path: Path, name: str, text: str) -> list[float]:
    """The numbers of '(x,y,z)'."""
    found = re.fullmatch(r"\(([^()]*)\)", text)
    if not found:
        raise GeometryError(f"{path} has {text[:80]!r} for {name}, which is not (x,y,z)")
    return _numbers(path, name, found[1].replace(",", " "), 3)
