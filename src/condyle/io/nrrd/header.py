"""Where the voxels of an NRRD or MetaImage file lie, and those voxels, proved to be all there.

SimpleITK reads a compressed MetaImage with a damaged stream, and an NRRD whose checksum is cut
off, without a word; here the bytes are counted, and the checksum is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from condyle.errors import UnreadableFile
from condyle.io.paths import GZIP_RATIO, not_a
from condyle.io.safety import require_all, require_padding, voxel_bytes
from condyle.jobs.job import warn

__all__ = ["Header", "read_header", "voxels"]

HEADER_BYTES = 1 << 22
CHUNK = 1 << 20
PACKINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}


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
            raise not_a(path, "an NRRD file")
        stream.readline()
        for line in _lines(stream):
            name, mark, value = line.partition(":=")
            into = keys if mark and ": " not in name else fields
            if into is fields:
                name, _, value = line.partition(":")
            _note(path, into, name.strip() if into is keys else name.strip().lower(), value)
        start = stream.tell()
    encoding = fields.get("encoding", "").lower()
    if encoding not in PACKINGS:
        raise UnreadableFile(f"{path} is encoded as {encoding!r}; save it as raw or gzip")
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    if int(fields.get("line skip", fields.get("lineskip", "0"))) or (
        skip and PACKINGS[encoding] != "raw"
    ):
        raise UnreadableFile(f"{path} skips lines before its voxels; save it without")
    detached = fields.get("data file", fields.get("datafile"))
    if detached is None:
        start = start + skip if skip >= 0 else skip
        return Header(fields, keys, path, start, PACKINGS[encoding])
    return Header(fields, keys, _beside(path, detached), skip, PACKINGS[encoding])


def _meta(path: Path) -> Header:
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        for line in _lines(stream):
            name, mark, value = line.partition("=")
            if not mark:
                raise not_a(path, "a MetaImage file")
            _note(path, fields, name.strip().lower(), value)
            if name.strip().lower() == "elementdatafile":
                break
        start = stream.tell()
    if "elementdatafile" not in fields:
        raise not_a(path, "a MetaImage file with an ElementDataFile")
    if fields.get("binarydata", "true").lower() != "true":
        raise UnreadableFile(f"{path} stores its voxels as text; save it as binary")
    packing = "zlib" if fields.get("compresseddata", "false").lower() == "true" else "raw"
    if fields["elementdatafile"].upper() == "LOCAL":
        return Header(fields, {}, path, start, packing)
    skip = int(fields.get("headersize", "0"))
    return Header(fields, {}, _beside(path, fields["elementdatafile"]), skip, packing)


PARSERS: dict[str, Callable[[Path], Header]] = {"nrrd": _nrrd, "meta": _meta}


def _lines(stream: BinaryIO) -> Generator[str]:
    """The lines of a header, to the first empty one; comments are ignored."""
    while raw := stream.readline(HEADER_BYTES):
        if stream.tell() > HEADER_BYTES:
            raise UnreadableFile(f"{stream.name} has no end of its header")
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            return
        if not line.startswith("#"):
            yield line


def _note(path: Path, fields: dict[str, str], name: str, value: str) -> None:
    """Keep a field; one that is there twice makes a header that each tool reads differently."""
    if name in fields:
        raise UnreadableFile(f"{path} has {name[:40]!r} twice in its header; export it again")
    fields[name] = value.strip()


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


def voxels(path: Path, header: Header, promised: int) -> NDArray[np.uint8]:
    """The promised bytes of voxels; refused unless all are there, and nothing but padding behind.

    No more memory is taken than the promise, and the promise is held against the file's size first.
    """
    size = header.data.stat().st_size
    # -1 means that the voxels are the file's last bytes
    start = size - promised if header.start == -1 and header.packing == "raw" else header.start
    possible = max(0, size - start) * (1 if header.packing == "raw" else GZIP_RATIO)
    if start < 0 or promised > possible:
        raise UnreadableFile(
            f"{path} is cut short: its header promises {promised} bytes of voxels, there are "
            f"{possible} at most"
        )
    with header.data.open("rb") as stream:
        stream.seek(start)
        return OPENED[header.packing](path, stream, promised)


def _gunzipped(path: Path, stream: BinaryIO, promised: int) -> NDArray[np.uint8]:
    from isal import igzip

    with igzip.IGzipFile(fileobj=stream, mode="rb") as packed:
        return voxel_bytes(path, packed, promised)


def _unzipped(path: Path, stream: BinaryIO, promised: int) -> NDArray[np.uint8]:
    """The bytes that a zlib stream holds; its checksum proved."""
    from isal import isal_zlib

    held, given, behind = np.empty(promised, np.uint8), 0, b""
    # the types of isal_zlib are those of zlib
    inflate = cast(Any, isal_zlib).decompressobj()
    while not inflate.eof and (chunk := inflate.unconsumed_tail or stream.read(CHUNK)):
        part = inflate.decompress(chunk, CHUNK)
        fitting = min(len(part), promised - given)
        held.data[given : given + fitting] = part[:fitting]
        given += fitting
        behind += part[fitting:]
        require_padding(path, behind)
    if not inflate.eof:
        raise zlib.error("the compressed voxels end before their checksum")
    require_all(path, promised, given)
    if behind:
        warn(f"{path} goes on behind its last voxel with {len(behind)} zeros, which were ignored")
    return held


OPENED: dict[str, Callable[[Path, BinaryIO, int], NDArray[np.uint8]]] = {
    "raw": voxel_bytes,
    "gzip": _gunzipped,
    "zlib": _unzipped,
}
