"""What is kept of backends from one batch to the next: in the user's cache folder, never elsewhere.

All of it can be made again: a cache that is full, damaged or read-only costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch

from condyle.errors import OutputError, UnreadableFile
from condyle.jobs.job import note
from condyle.jobs.outputs import write_text
from condyle.predict.runtimes.benchmark import BackendBenchmark
from condyle.predict.runtimes.openvino import CARD, Graph, version

__all__ = ["FOLDER", "BackendCache", "user_cache"]


FOLDER = "CONDYLE_CACHE"
"""The environment variable that names the folder."""
MOST_GRAPHS = 32
"""Converted networks that are kept; the oldest go first."""


def user_cache() -> Path:
    """The folder for what Condyle can make again, on this system; it need not be there.

    $CONDYLE_CACHE names another one: on a cluster, a disk of the node itself.
    """
    if chosen := os.environ.get(FOLDER):
        return Path(chosen)
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "condyle"
    home = os.path.expanduser("~")  # noqa: PTH111  Path.home raises where there is none
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home) / "condyle"
    return Path(home, "Library/Caches" if sys.platform == "darwin" else ".cache", "condyle")


class BackendCache:
    """Benchmarks, and networks converted for OpenVINO, by the SHA-256 of their weights.

    Parameters
    ----------
    folder : None: that of the user, `user_cache`.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder or user_cache()

    def benchmarks(self, key: Mapping[str, Any]) -> dict[str, BackendBenchmark]:
        """What was measured before under a key: machine, versions, weights; empty if nothing."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            kept = json.loads(self._of_benchmarks(key).read_text(encoding="utf-8"))
            if kept["key"] == key:
                return {row["name"]: BackendBenchmark(**row) for row in kept["benchmarks"]}
        return {}

    def keep_benchmarks(
        self, key: Mapping[str, Any], benchmarks: Mapping[str, BackendBenchmark]
    ) -> None:
        """Keep what was measured, if that is possible."""
        rows = [asdict(each) for each in benchmarks.values()]
        text = json.dumps({"key": key, "benchmarks": rows}, indent=2)
        try:
            write_text(self._of_benchmarks(key), text + "\n")
        except OutputError as error:
            note(f"benchmarks are not cached: {error}")

    def graph(self, weights: str) -> Graph | None:
        """The network of these weights, converted for OpenVINO before; None if it was not."""
        with suppress(UnreadableFile, OSError):
            return Graph.read(self._of_graph(weights), weights)
        return None

    def keep_graph(self, weights: str, graph: Graph) -> None:
        """Keep a converted network, if that is possible."""
        try:
            graph.save(self._of_graph(weights), {"weights": weights})
        except OutputError as error:
            note(f"the network converted for OpenVINO is not cached: {error}")
        with suppress(OSError):
            self._drop_oldest()

    def _of_benchmarks(self, key: Mapping[str, Any]) -> Path:
        return self.folder / "benchmarks" / f"{_short_hash(key)}.json"

    def _of_graph(self, weights: str) -> Path:
        made_by = {"weights": weights, "openvino": version(), "torch": torch.__version__}
        return self.folder / "openvino" / _short_hash(made_by)

    def _drop_oldest(self) -> None:
        cards = (self.folder / "openvino").glob(f"*/{CARD}")
        newest_first = sorted(cards, key=lambda card: card.stat().st_mtime, reverse=True)
        for card in newest_first[MOST_GRAPHS:]:
            rmtree(card.parent, ignore_errors=True)


def _short_hash(key: Mapping[str, Any]) -> str:
    """A file name for a key."""
    text = json.dumps(key, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
