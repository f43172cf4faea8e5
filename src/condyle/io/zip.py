"""A zip of DICOM files, unpacked where it can do no harm."""

from __future__ import annotations

import contextlib
import re
import stat
import tempfile
import zipfile
from collections.abc import Generator
from pathlib import Path

from condyle.errors import CondyleError, UnreadableFile
from condyle.io.paths import ENDINGS, ending_of, is_dicom, is_hidden, not_a

__all__ = ["unpacked", "unpacked_dicom"]

ENTRIES = 50_000
BYTES = 16 << 30
CHUNK = 1 << 20


@contextlib.contextmanager
def unpacked(path: Path, entries: int = ENTRIES, size: int = BYTES) -> Generator[Path]:
    """A temporary folder with a zip's files, gone after the block.

    Names that leave the folder, links, encrypted files, and more files or bytes than a scan has
    are refused; bytes are counted as they are inflated, whatever the zip says of them.
    """
    if not zipfile.is_zipfile(path):
        raise not_a(path, "a zip archive")
    with tempfile.TemporaryDirectory(prefix="condyle-") as folder, zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > entries:
            raise UnreadableFile(f"{path} holds {len(infos)} files; a scan has {entries} at most")
        left = size
        for info in infos:
            target = Path(folder) / _safe_name(path, info)
            hidden = any(map(is_hidden, map(Path, target.relative_to(folder).parts)))
            if hidden or info.is_dir() or info.orig_filename.endswith("\\"):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            left -= _inflate(archive, info, target, left)
            if left < 0:
                raise UnreadableFile(f"{path} inflates to over {size >> 20} MiB; unpack it first")
        try:
            yield Path(folder)
        except CondyleError as error:
            # the user knows the zip, not our temporary folder
            message = str(error).replace(f"{folder}/", f"{path}/").replace(folder, str(path))
            raise type(error)(message) from error


@contextlib.contextmanager
def unpacked_dicom(path: Path) -> Generator[Path]:
    """A temporary folder with the files of a zip of DICOM; refused where it holds other scans."""
    with unpacked(path) as folder:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        others = [f for f in files if ENDINGS.get(ending_of(f), "") in ("nifti", "mgh", "itk")]
        if others and not any(is_dicom(file) for file in files if file not in others):
            raise UnreadableFile(
                f"{path} holds {others[0].name} and no DICOM, and only DICOM is read from a zip: "
                "unpack it and give the file or the folder"
            )
        yield folder


def _safe_name(path: Path, info: zipfile.ZipInfo) -> str:
    r"""The entry's name, if it stays inside the folder and is a plain file's.

    Old programs of Windows part folders by \, against the rules of the format.
    """
    name = info.orig_filename.replace("\\", "/")
    if (
        re.match(r"^(/|[A-Za-z]:)", name)
        or "\0" in name
        or ".." in name.split("/")
        or stat.S_ISLNK(info.external_attr >> 16)
    ):
        raise UnreadableFile(
            f"{path} holds {name!r}, which points outside its folder; not unpacked"
        )
    if info.flag_bits & 1:
        raise UnreadableFile(f"{path} is encrypted; unpack it and give the folder")
    return name


def _inflate(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Inflate one entry to a file that is not there yet; how many bytes it gave."""
    given = 0
    with archive.open(info) as source, target.open("xb") as sink:
        while given <= left and (chunk := source.read(CHUNK)):
            given += len(chunk)
            sink.write(chunk)
    return given
