"""The process that work runs in: its memory settings, and what Python itself shows of warnings."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager

__all__ = ["ROOMY", "restart_with_roomy_allocator", "without_python_warnings"]

_TURN = threading.RLock()

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


@contextmanager
def without_python_warnings(message: str = "") -> Generator[None]:
    """Meanwhile what libraries warn of, by a message like this, is not shown.

    What is shown is one setting of the process: threads take turns to change it, lest one puts
    back what another has set.
    """
    with _TURN, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=message)
        yield
