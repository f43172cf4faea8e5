"""Files that a browser sends: under names of our own, with limits, zips unpacked with care."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from condyle.app.web.places import Places
from condyle.errors import UnreadableFile
from condyle.io.paths import ENDINGS
from condyle.io.zip import unpacked
from condyle.jobs.outputs import folder_for

__all__ = ["MOST_BYTES", "MOST_FILES", "Upload"]

MOST_BYTES = 8 << 30
MOST_FILES = 20_000
UNPACKED = 16 << 30


class Upload:
    """The files of one upload: a scan, several, the files of a DICOM folder, or a zip.

    Parameters
    ----------
    name : what the browser calls the whole; it becomes the folder's name as far as it is plain.
    """

    def __init__(self, places: Places, name: str):
        plain = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name).strip(" ._")[:60]
        self.folder = places.uploads / f"{plain or 'upload'}-{secrets.token_hex(3)}"
        self.bytes = self.files = 0

    async def add(self, name: str, parts: AsyncIterator[bytes]) -> Path:
        """Write a file as it comes; a zip is unpacked into a folder.

        Raises
        ------
        UnreadableFile
            If there are too many files or bytes, or a zip is damaged or would leave its folder.
        """
        self.files += 1
        if self.files > MOST_FILES:
            raise UnreadableFile(f"more than {MOST_FILES} files at once: upload fewer")
        ending = next((e for e in ENDINGS if name.lower().endswith(e)), "")
        target = self.folder / f"{_plain(name, ending)}{ending}"
        while target.exists():
            target = self.folder / f"{secrets.token_hex(4)}{ending}"
        folder_for(target)
        with target.open("xb") as stream:
            async for part in parts:
                self.bytes += len(part)
                if self.bytes > MOST_BYTES:
                    raise UnreadableFile(f"more than {MOST_BYTES >> 30} GB at once: upload less")
                stream.write(part)
        if ending == ".zip":
            target = _unpack(target)
        return target

    def discard(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _plain(name: str, ending: str) -> str:
    """A file's base name as far as it is plain: never a folder, a hidden file or an ending."""
    base = name.replace("\\", "/").rpartition("/")[2]
    base = base[: len(base) - len(ending)] if ending else base
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in base)[:80].strip("_")
    return plain or secrets.token_hex(4)


def _unpack(path: Path) -> Path:
    """The folder with a zip's files, beside where it was."""
    target = path.with_suffix("")
    try:
        with unpacked(path, size=UNPACKED) as folder:
            shutil.move(str(folder), target)
            folder.mkdir()  # which the end of the block removes
    finally:
        path.unlink()
    return target
