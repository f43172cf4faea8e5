"""Where the voxels of an NRRD or MetaImage file lie, and the proof that they are all there.

SimpleITK reads a compressed MetaImage with a damaged stream, and an NRRD whose checksum is cut
off, without a word; so the bytes are counted, and inflated once, before it may read them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from condyle.errors import GeometryError, UnreadableFile

__all__ = ["Header", "read_header", "require_payload"]

HEADER_BYTES = 1 << 22
CHUNK = 1 << 20
PACKINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}
UNITS = ("mm", "millimeter", "millimeters", "")


@dataclass(frozen=True)
class Header:
    """A file's header: its fields, its free key-value pairs, and where and how voxels are kept.

    Parameters
    ----------
    fields : field name in lower case -> value.
    keys : the free pairs of an NRRD, in which 3D Slicer keeps its segments.
    data, start : the file that holds the voxels, and the byte where they begin (-1: count back
        from its end).
    packing : raw, gzip or zlib.
    """

    fields: dict[str, str]
    keys: dict[str, str]
    data: Path
    start: int
    packing: str


def read_header(path: Path) -> Header:
    """The header of an .nrrd, .nhdr, .mha or .mhd file."""
    kind = "meta" if path.name.lower().endswith((".mha", ".mhd")) else "nrrd"
    return PARSERS[kind](path)


def _nrrd(path: Path) -> Header:
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    with path.open("rb") as stream:
        if not stream.read(8).startswith(b"NRRD000"):
            raise UnreadableFile(f"{path} is no NRRD file, whatever its name says")
        stream.readline()
        for line in _lines(stream):
            name, mark, value = line.partition(":=")
            into = keys if mark and ": " not in name else fields
            if into is fields:
                name, _, value = line.partition(":")
            into[name.strip() if into is keys else name.strip().lower()] = value.strip()
        start = stream.tell()
    encoding = fields.get("encoding", "").lower()
    if encoding not in PACKINGS:
        raise UnreadableFile(f"{path} is encoded as {encoding!r}; save it as raw or gzip")
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    if int(fields.get("line skip", fields.get("lineskip", "0"))) or (
        skip and PACKINGS[encoding] != "raw"
    ):
        raise UnreadableFile(f"{path} skips lines before its voxels; save it without")
    units = [u.strip() for u in fields.get("space units", "").split('"')]
    if any(unit not in UNITS for unit in units):
        raise GeometryError(f"{path} counts in {fields['space units']}; export it in mm")
    detached = fields.get("data file", fields.get("datafile"))
    if detached is None:
        return Header(fields, keys, path, start + skip, PACKINGS[encoding])
    return Header(fields, keys, _beside(path, detached), skip, PACKINGS[encoding])


def _meta(path: Path) -> Header:
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        for line in _lines(stream):
            name, mark, value = line.partition("=")
            if not mark:
                raise UnreadableFile(f"{path} is no MetaImage file, whatever its name says")
            fields[name.strip().lower()] = value.strip()
            if name.strip().lower() == "elementdatafile":
                break
        start = stream.tell()
    if "elementdatafile" not in fields:
        raise UnreadableFile(f"{path} is no MetaImage file: it names no ElementDataFile")
    if fields.get("binarydata", "true").lower() != "true":
        raise UnreadableFile(f"{path} keeps its voxels as text; save it as binary")
    packing = "zlib" if fields.get("compresseddata", "false").lower() == "true" else "raw"
    if fields["elementdatafile"].upper() == "LOCAL":
        return Header(fields, {}, path, start, packing)
    skip = int(fields.get("headersize", "0"))
    return Header(fields, {}, _beside(path, fields["elementdatafile"]), skip, packing)


PARSERS: dict[str, Callable[[Path], Header]] = {"nrrd": _nrrd, "meta": _meta}


def _lines(stream: BinaryIO) -> Generator[str]:
    """The lines of a header, to the first empty one; comments are passed over."""
    while raw := stream.readline(HEADER_BYTES):
        if stream.tell() > HEADER_BYTES:
            raise UnreadableFile(f"{stream.name} has no end of its header")
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            return
        if not line.startswith("#"):
            yield line


def _beside(path: Path, name: str) -> Path:
    """The file of voxels that a header names; it must lie in the header's own folder."""
    if name.split()[0].upper() == "LIST" or "%" in name:
        raise UnreadableFile(f"{path} is spread over several files; save it as one")
    data = path.parent / name
    if not data.resolve().is_relative_to(path.parent.resolve()):
        raise UnreadableFile(f"{path} keeps its voxels outside its own folder, in {name}")
    if not data.is_file():
        raise UnreadableFile(f"{path} keeps its voxels in {name}, which is not beside it")
    return data


def require_payload(path: Path, header: Header, promised: int) -> None:
    """Raise `UnreadableFile` unless all promised bytes of voxels are there and inflate whole."""
    if header.packing == "raw":
        held = header.data.stat().st_size - max(header.start, 0)
    else:
        if promised > 1032 * header.data.stat().st_size:
            raise UnreadableFile(f"{path} is cut short: it cannot hold {promised} bytes of voxels")
        held = INFLATE[header.packing](header, promised)
    if held < promised:
        raise UnreadableFile(
            f"{path} is cut short: its header promises {promised} bytes of voxels, there are {held}"
        )


def _gunzipped(header: Header, promised: int) -> int:
    """How many bytes a gzip stream holds (one chunk past the promise at most); checksum proved."""
    from isal import igzip

    held = 0
    with header.data.open("rb") as stream:
        stream.seek(header.start)
        with igzip.IGzipFile(fileobj=stream, mode="rb") as packed:
            while held <= promised and (chunk := packed.read(CHUNK)):
                held += len(chunk)
    return held


def _unzipped(header: Header, promised: int) -> int:
    """How many bytes a zlib stream holds; its checksum proved."""
    from isal import isal_zlib

    held = 0
    # the types of isal_zlib are those of zlib
    inflate = cast(Any, isal_zlib).decompressobj()
    with header.data.open("rb") as stream:
        stream.seek(header.start)
        while not inflate.eof and (chunk := stream.read(CHUNK)):
            while chunk and not inflate.eof and held <= promised:
                held += len(inflate.decompress(chunk, 16 * CHUNK))
                chunk = inflate.unconsumed_tail
    if not inflate.eof:
        raise zlib.error("the compressed voxels end before their checksum")
    return held


INFLATE: dict[str, Callable[[Header, int], int]] = {"gzip": _gunzipped, "zlib": _unzipped}
