"""Disks that are really full, not said to be: small file systems in memory."""

import os
import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def small_disk(folder, size):
    """Meanwhile a new folder is a disk of so many bytes ("64k", "16m"), lost at the end."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("this system has no mount")
    if done.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # lazily: weights that were read from there may be mapped into memory still
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Leave no byte of a disk free; gives back the file that takes them all."""
    filler = folder / "filler"
    stat = os.statvfs(folder)
    filler.write_bytes(bytes(stat.f_bavail * stat.f_frsize))
    return filler
