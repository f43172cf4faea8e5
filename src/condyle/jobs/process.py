"""Where work runs: this process, started again with the memory settings that suit tensors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["ROOMY", "restart_with_roomy_allocator"]

ROOMY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
"""glibc gives large buffers back after every step otherwise, and gets them again page by page."""


def restart_with_roomy_allocator(arguments: Sequence[str]) -> None:
    """Become `python -m condyle` with settings that glibc reads only at the start; once.

    Does nothing on other systems, and where any of the variables is set already.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in ROOMY):
        return
    command = [sys.executable, "-P", "-m", "condyle", *arguments]
    os.execve(sys.executable, command, os.environ | ROOMY)
