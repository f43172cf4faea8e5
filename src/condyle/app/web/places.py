"""What the page may reach: folders of this machine, and ids that say nothing of their paths."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from condyle.errors import ConfigError, MissingFile
from condyle.jobs.outputs import folder_for

__all__ = ["HOME", "Places"]

HOME = ".condyle/page"
"""The folder of a workspace with what the page keeps for itself: all of it can be made anew."""


class Places:
    """The workspace and the other roots, with an opaque id for each path below them.

    Parameters
    ----------
    workspace : where the page writes: uploads, jobs and their results.
    roots : more folders that it may read.

    Raises
    ------
    MissingFile
        If a root is no folder.
    """

    def __init__(self, workspace: Path, roots: Sequence[Path] = ()):
        workspace.mkdir(parents=True, exist_ok=True)
        for root in roots:
            if not root.is_dir():
                raise MissingFile(f"{root} is not a folder: give folders by `roots`")
        self.workspace = workspace.resolve()
        self.roots = (self.workspace, *(root.resolve() for root in roots))
        self.key = _key(self.workspace / HOME / "key")
        self._known: dict[str, Path] = {}

    @property
    def uploads(self) -> Path:
        """Folder of what was uploaded."""
        return self.workspace / "uploads"

    @property
    def jobs(self) -> Path:
        """Folder of a folder a job."""
        return self.workspace / "jobs"

    @property
    def cache(self) -> Path:
        """Folder of versions of scans for the browser."""
        return self.workspace / HOME / "cache"

    def signed(self, text: str) -> str:
        """What only this workspace can make of a text."""
        return hmac.new(self.key, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()

    def allows(self, path: Path) -> bool:
        """Whether a path, links followed, lies in the workspace or a root."""
        real = Path(os.path.realpath(path))
        return any(real == root or real.is_relative_to(root) for root in self.roots)

    def id_of(self, path: Path) -> str:
        """The id of a path that the page may reach.

        Raises
        ------
        MissingFile
            If it may not.
        """
        if not self.allows(path):
            raise MissingFile("that is outside the folders that this page may read")
        absolute = Path(os.path.abspath(path))  # noqa: PTH100  links keep their names
        found = self.signed(str(absolute))[:20]
        self._known[found] = absolute
        return found

    def path_of(self, identity: str) -> Path:
        """The path of an id that was given out since the server started.

        Raises
        ------
        MissingFile
            If there is none, or it is gone, or leads outside by now.
        """
        path = self._known.get(identity)
        if path is None or not path.exists() or not self.allows(path):
            raise MissingFile("that is not there (any more): load the page again")
        return path

    def named(self, path: Path) -> str:
        """Where a path lies, in words without the folders above its root."""
        for root in self.roots:
            if path.is_relative_to(root):
                inside = path.relative_to(root).as_posix()
                above = "" if root == self.workspace else f"{root.name}/"
                return above + (inside if inside != "." else "")
        return path.name

    def new_folder(self, kind: str, name: str) -> Path:
        """A folder for results below the workspace; it need not be there.

        Raises
        ------
        ConfigError
            If the name is not a plain one.
        """
        plain = name.strip()
        good = plain and len(plain) <= 80 and plain.isprintable() and plain[0] not in ".-"
        if not good or any(letter in plain for letter in '/\\:*?"<>|'):
            raise ConfigError(
                f"{name!r} is no name for a folder: use letters, digits, - and _, up to 80",
                setting="out",
            )
        return self.workspace / kind / plain


def _key(path: Path) -> bytes:
    """The workspace's secret; made the first time."""
    if not path.is_file():
        folder_for(path)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(32))
    return bytes.fromhex(path.read_text().strip())
