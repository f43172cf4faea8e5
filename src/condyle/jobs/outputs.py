"""Files that are whole or absent: no crash, full disk or kill leaves half of one behind."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

from safetensors import SafetensorError

from condyle.errors import CondyleError, OutputError

__all__ = ["Manifest", "sha256", "whole_or_absent", "write_bytes", "write_text"]


@contextlib.contextmanager
def whole_or_absent(path: Path, check: Callable[[Path], object] | None = None) -> Generator[Path]:
    """A temporary path beside `path` to write to; it takes its place only when all went well.

    The temporary file has the same endings, so that writers that look at them work. After the
    block it is flushed to disk, read back by `check` (which raises if it is not right), and
    renamed over `path`. On any failure the temporary file is removed and what stood at `path`
    before stands there still.

    Raises
    ------
    OutputError
        If the disk is full, the folder cannot be written, or the check fails.
    """
    path = Path(path)
    stem, dot, endings = path.name.partition(".")
    temporary = path.with_name(f".{stem[:100]}-{secrets.token_hex(4)}{dot}{endings}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        if check is not None:
            check(temporary)
        os.replace(temporary, path)  # noqa: PTH105  Path.replace is the same call, less known as atomic
        _flush(path.parent)
    except OutputError:
        raise
    except CondyleError as error:
        raise OutputError(f"{path} was not written: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path} could not be written ({reason}); nothing was changed") from error
    except SafetensorError as error:  # in its own kind of error, it says what the system said
        raise OutputError(f"{path} could not be written ({error}); nothing was changed") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _flush(path: Path) -> None:
    """Ask the system to put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> Path:
    """Write a text file (UTF-8), whole or not at all; gives back its path."""
    with whole_or_absent(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file, whole and read back, or not at all; gives back its path."""

    def check(written: Path) -> None:
        if written.read_bytes() != content:
            raise OutputError(f"{path} was not written: the disk gave back other bytes")

    with whole_or_absent(path, check) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Manifest:
    """The list of finished outputs of a folder: one JSON line each, with the file's SHA-256.

    "Done" means that the manifest names the file and its bytes still have that hash; that a
    file exists means nothing.
    """

    def __init__(self, folder: Path):
        self.path = Path(folder) / "manifest.jsonl"

    def add(self, key: str, path: Path) -> None:
        """Note that the output `key` is whole, at `path`."""
        row = {
            "key": key,
            "path": os.path.relpath(path, self.path.parent),
            "sha256": sha256(path),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def rows(self) -> dict[str, dict[str, str]]:
        """Key -> last row, less a last line that a crash cut short."""
        found: dict[str, dict[str, str]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError, KeyError):
                    row = json.loads(line)
                    found[row["key"]] = row
        return found

    def holds(self, key: str) -> bool:
        """Whether the output `key` was finished and its file still has the bytes it had then."""
        row = self.rows().get(key)
        if row is None:
            return False
        path = self.path.parent / row["path"]
        return path.is_file() and sha256(path) == row["sha256"]
