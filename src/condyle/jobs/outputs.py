"""The one place that writes: files that are whole or absent, and never an input or a device.

No crash, full disk or kill leaves half a file under its name. Libraries that want to write
themselves get a temporary path or give us bytes.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condyle.errors import Cancelled, CondyleError, OutOfMemory, OutputError
from condyle.jobs.tables import table_text

__all__ = [
    "atomic_folder",
    "atomic_write",
    "folder_for",
    "linked",
    "protected",
    "remove_temporaries",
    "require_free",
    "require_new_folder",
    "sha256",
    "written_together",
    "write_bytes",
    "write_csv",
    "write_json",
    "write_text",
]

MARK = ".writing-"
"""Temporary files and folders begin with this, and the machine and process that write them."""

_TOGETHER: contextvars.ContextVar[list[tuple[Path, Path]] | None] = contextvars.ContextVar(
    "together", default=None
)


@dataclass(frozen=True)
class _Inputs:
    """Files that no output may take the place of."""

    files: frozenset[tuple[int, int]] = frozenset()
    """Device and number of each."""
    scans: frozenset[tuple[str, str]] = frozenset()
    """Folder and name, without endings, of each scan."""
    folders: frozenset[str] = frozenset()
    """DICOM folders: all that is in them."""

    def with_paths(self, paths: Iterable[Path]) -> _Inputs:
        """These, and more."""
        files, scans, folders = set(self.files), set(self.scans), set(self.folders)
        for path in paths:
            with contextlib.suppress(OSError, ValueError):
                found, real = path.stat(), path.resolve()
                if stat.S_ISDIR(found.st_mode):
                    folders.add(str(real))
                    continue
                files.add((found.st_dev, found.st_ino))
                if _is_scan(path):
                    scans |= {(str(real.parent), _stem(real)), (_folder(path), _stem(path))}
        return _Inputs(frozenset(files), frozenset(scans), frozenset(folders))

    def holds(self, output: Path) -> bool:
        """Whether an output would take the place of an input, or lie beside it under its name."""
        with contextlib.suppress(OSError, ValueError):
            found = output.stat()
            if (found.st_dev, found.st_ino) in self.files or _folder(output) in self.folders:
                return True
        with contextlib.suppress(OSError, ValueError):
            folder, own = _folder(output), _is_scan(output)
            return own and ((folder, _stem(output)) in self.scans or folder in self.folders)
        return False


_NONE = _Inputs()
_INPUTS: contextvars.ContextVar[_Inputs] = contextvars.ContextVar("inputs", default=_NONE)


def _folder(path: Path) -> str:
    return str(path.parent.resolve())


@contextlib.contextmanager
def protected(inputs: Iterable[Path]) -> Generator[None]:
    """Meanwhile no output of this job may take the place of one of these files."""
    token = _INPUTS.set(_INPUTS.get().with_paths(Path(path) for path in inputs))
    try:
        yield
    finally:
        _INPUTS.reset(token)


def require_free(path: Path) -> None:
    """Raise where a file may not be written: over an input, a device, a folder, a dangling link.

    Raises
    ------
    OutputError
        The sentence names what stands there.
    """
    path = Path(path)
    if _INPUTS.get().holds(path):
        raise OutputError(
            f"{path} is one of the inputs, or would lie beside it under its name: choose another "
            "folder or name for the results"
        )
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise OutputError(f"{path} is a link to nothing: remove it first") from None
        return
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written ({_reason(error)})") from error
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or pipe, not a file"
        raise OutputError(f"{path} is {what}: give the name of a file to write")


SCANS = (
    ".seg.nrrd", ".nii.gz", ".nii.bz2", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".ima",
    ".zip", ".mgz", ".mgh", ".hdr", ".img",
)  # fmt: skip
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
"""The endings of `condyle.io.paths.ENDINGS`, which is above this folder; a test compares them.

A picture may lie beside a scan of its name, but not beside another picture."""


def _is_scan(path: Path) -> bool:
    return path.name.lower().endswith((*SCANS, *PICTURES))


def _stem(path: Path) -> str:
    """A scan's name without its endings, so that leg.nii stands beside leg.nii.gz.

    All pictures have one ending, which is not a scan's.
    """
    name = path.name
    kinds = (("", SCANS), (PICTURES[0], PICTURES))
    for kind, endings in kinds:
        for ending in endings:
            if name.lower().endswith(ending):
                return name[: len(name) - len(ending)] + kind
    return name


def folder_for(path: Path) -> Path:
    """Make the folder that a file lies in, if it is not there; gives back the file's path.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path.parent} cannot be made ({_reason(error)})") from error
    return path


def _reason(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def _temporary(path: Path) -> Path:
    """A hidden name beside a path, short whatever the path's, with the same endings."""
    endings = re.search(r"((?:\.\w{1,8}){0,2})$", path.name)
    own = f"{_machine()}-{os.getpid():x}-{secrets.token_hex(4)}"
    return path.with_name(f"{MARK}{own}{endings[1] if endings else ''}")


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


@contextlib.contextmanager
def atomic_write(path: Path, check: Callable[[Path], object] | None = None) -> Generator[Path]:
    """A temporary path beside `path` to write to; it takes its place only when all went well.

    The temporary file has the same endings, so that writers that look at them work. After the
    block it is flushed to disk, read back by `check` (which raises if it is not right), and
    renamed over `path`. On any failure the temporary file is removed and what stood at `path`
    before stands there still.

    Raises
    ------
    OutputError
        If `path` is an input or no place for a file, the disk is full, the folder cannot be
        written, the writer fails in any way, or the check fails.
    """
    path = Path(path)
    if not path.name:
        raise OutputError(f"{str(path)!r} is not the name of a file to write")
    require_free(path)
    temporary = _temporary(path)
    try:
        folder_for(path)
        yield temporary
        _flush(temporary)
        if check is not None:
            check(temporary)
        together = _TOGETHER.get()
        if together is None:
            _put(temporary, path)
        else:
            together.append((temporary, path))
    except (OutputError, Cancelled, OutOfMemory, MemoryError):
        _remove(temporary)
        raise
    except CondyleError as error:
        _remove(temporary)
        raise OutputError(f"{path} was not written: {error}") from error
    except Exception as error:  # a library's writer raises its own kinds
        _remove(temporary)
        raise OutputError(
            f"{path} could not be written ({_reason(error)}); what stood there is unchanged"
        ) from error
    except BaseException:
        _remove(temporary)
        raise


def _put(temporary: Path, path: Path) -> None:
    os.replace(temporary, path)  # noqa: PTH105  Path.replace is the same call, less known as atomic
    _flush(path.parent)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def written_together(manifest: Path | None = None) -> Generator[None]:
    """Files written in the block take their places at its end, all of them; after an error, none.

    Parameters
    ----------
    manifest : the file that says what is whole; it is removed before the first of the others is
        put in its place, so that what a crash leaves between is not believed.
    """
    waiting: list[tuple[Path, Path]] = []
    token = _TOGETHER.set(waiting)
    try:
        yield
    except BaseException:
        for temporary, _ in waiting:
            _remove(temporary)
        raise
    finally:
        _TOGETHER.reset(token)
    done: list[str] = []
    where = manifest
    try:
        if manifest is not None and waiting:
            manifest.unlink(missing_ok=True)
        for temporary, where in waiting:
            _put(temporary, where)
            done.append(where.name)
    except OSError as error:
        for temporary, _ in waiting[len(done) :]:
            _remove(temporary)
        kept = f"; written anew were {', '.join(done)}" if done else "; nothing was changed"
        raise OutputError(f"{where} could not be written ({_reason(error)}){kept}") from error


@contextlib.contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """A hidden folder to fill; it takes the place of `path`, which is new or empty, at the end.

    Raises
    ------
    OutputError
        If `path` holds something already, or the folder cannot be made or moved.
    """
    path = Path(path)
    if not path.name:
        path = path.resolve()
    building = _temporary(path).with_suffix("")
    try:
        require_new_folder(path)
        building.mkdir(parents=True)
        yield building
        if path.is_dir():
            path.rmdir()
        _put(building, path)
    except CondyleError:
        raise
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path} could not be written ({_reason(error)}); nothing was changed"
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def require_new_folder(path: Path) -> None:
    """Raise `OutputError` unless a path is free for a folder: nothing is there, or it is empty."""
    if not path.resolve().name or path.is_symlink() or path.is_file():
        raise OutputError(f"{path} is not a new folder: choose another")
    if path.is_dir() and any(path.iterdir()):
        raise OutputError(f"{path} is not empty: choose a new folder")


def remove_temporaries(folder: Path) -> None:
    """Remove what processes of this machine that are gone left half written in a folder."""
    with contextlib.suppress(OSError):
        for path in Path(folder).iterdir():
            owner = re.match(rf"{re.escape(MARK)}(\w+)-([0-9a-f]+)-", path.name)
            if owner is None or owner[1] != _machine() or _is_alive(int(owner[2], 16)):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                _remove(path)


def _is_alive(process: int) -> bool:
    """Whether a process runs; one that was killed and that nobody has asked for yet does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    with contextlib.suppress(OSError, IndexError):
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[0] not in ("Z", "X")
    return True


def _flush(path: Path) -> None:
    """Ask the system to put a file, or a folder's list of names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all; gives back its path.

    It is UTF-8; bytes of file names that are not are written as backslash, u and four digits.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return Path(path)


def write_json(path: Path, tree: Any) -> Path:
    """Write JSON that people can read too; gives back the path."""
    return write_text(path, json.dumps(tree, indent=2, default=_as_json) + "\n")


def _as_json(value: Any) -> Any:
    """What JSON has no word for: paths as text, numbers of numpy as numbers."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownVariableType]
    return str(value)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file, whole and read back, or not at all; gives back its path."""

    def check(written: Path) -> None:
        if written.read_bytes() != content:
            raise OutputError(f"{path} was not written: the disk gave back other bytes")

    with atomic_write(path, check) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def linked(path: Path, other: Path) -> None:
    """Give a file a second name, in the place of what stands there; a copy where links cannot be.

    Raises
    ------
    OutputError
        If the folder cannot be written, or the disk is full.
    """
    with atomic_write(other) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # some file systems have no links
            shutil.copyfile(path, temporary)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write a table, as `table_text` has it; gives back the path."""
    return write_text(path, table_text(rows))
