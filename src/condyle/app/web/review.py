"""What a person thinks of label maps: accepted or rejected, structure by structure."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from condyle.app.web.catalogue import catalogue
from condyle.app.web.state import State
from condyle.errors import ConfigError
from condyle.io import is_dataset, open_dataset, scans_by_name
from condyle.io.paths import scan_name
from condyle.jobs.outputs import write_csv
from condyle.runs.record import read_csv

__all__ = ["COLUMNS", "FILE", "cases_of", "judge"]

FILE = "review.csv"
"""Beside the label maps."""

COLUMNS = ("case", "structure", "verdict", "note", "time")

VERDICTS = ("accepted", "rejected", "")

_TURN = threading.Lock()


def cases_of(state: State, path: Path) -> list[dict[str, Any]]:
    """A row a case of a data set, a folder of label maps, or one label map.

    Returns
    -------
    Rows with the keys case, labels, scan (ids; the scan's may be None), labels_case and scan_case
    (where an id stands for many), verdicts (structure -> verdict and note) and doubts.
    """
    places = state.places
    if is_dataset(path):
        whole = places.id_of(path)
        return [
            {"case": case.id, "labels": whole if case.label else None, "scan": whole,
             "labels_case": case.id, "scan_case": case.id, "verdicts": {}, "doubts": []}
            for case in open_dataset(path).cases
        ]  # fmt: skip
    files = scans_by_name([path], labels=True) if path.is_dir() else {scan_name(path): path}
    scans, folder = _scans(state, path), path if path.is_dir() else path.parent
    verdicts, doubts = _verdicts(folder), _doubts(folder)
    rows: list[dict[str, Any]] = []
    for name, file in files.items():
        scan, inside = scans.get(name, (None, ""))
        rows.append({
            "case": name, "labels": places.id_of(file), "labels_case": "",
            "scan": places.id_of(scan) if scan else None, "scan_case": inside,
            "verdicts": verdicts.get(name, {}), "doubts": doubts.get(name, []),
        })  # fmt: skip
    return rows


def judge(path: Path, case: str, structure: str, verdict: str, note: str) -> dict[str, Any]:
    """Keep a verdict in `review.csv`, which is whole at any moment.

    Raises
    ------
    ConfigError
        If the verdict is none, or there is no such case.
    """
    folder = path if path.is_dir() else path.parent
    if verdict not in VERDICTS:
        raise ConfigError(f"a verdict is accepted, rejected or empty, not {verdict!r}")
    names = scans_by_name([path], labels=True) if path.is_dir() else {scan_name(path)}
    if case not in names:
        raise ConfigError(f"there is no case {case!r} here")
    with _TURN:
        file = folder / FILE
        rows = read_csv(file) if file.is_file() else []
        row = {
            "case": case, "structure": structure, "verdict": verdict, "note": note[:2000],
            "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        }  # fmt: skip
        kept = [r for r in rows if (str(r["case"]), str(r["structure"])) != (case, structure)]
        write_csv(file, sorted([*kept, row], key=lambda r: (str(r["case"]), str(r["structure"]))))
    return row


def _verdicts(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Case -> structure -> its verdict and note."""
    file = folder / FILE
    found: dict[str, dict[str, dict[str, str]]] = {}
    for row in read_csv(file) if file.is_file() else []:
        kept = {name: _text(row.get(name)) for name in ("verdict", "note")}
        found.setdefault(str(row["case"]), {})[str(row["structure"])] = kept
    return found


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)  # NaN is not itself


def _doubts(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Case -> what `condyle segment --quality` found doubtful."""
    file = folder / "quality.csv"
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read_csv(file) if file.is_file() else []:
        if _text(row.get("flag")):
            doubt = {"structure": row["structure"], "sentence": _text(row.get("reasons")),
                     "look_at": _text(row.get("look_at"))}  # fmt: skip
            found.setdefault(str(row.get("scan")), []).append(doubt)
    return found


def _scans(state: State, path: Path) -> dict[str, tuple[Path, str]]:
    """Name -> scan: those that the job was given, else whatever has the name."""
    found: dict[str, tuple[Path, str]] = {}
    for entry in catalogue(state.places):
        if entry.kind == "scan" and entry.path != path:
            found.setdefault(scan_name(entry.path), (entry.path, ""))
        elif entry.kind == "dataset":
            for case in open_dataset(entry.path).cases:
                found.setdefault(case.id, (entry.path, case.id))
    for folder in state.places.jobs.glob("*-segment-*"):
        asked = state.queue.job(folder.name).request()["settings"]
        if asked.get("out") == str(path):
            given = [Path(scan) for scan in asked.get("scans", ())]
            if len(given) == 1 and is_dataset(given[0]):
                continue
            named = scans_by_name([scan for scan in given if scan.exists()])
            found |= {name: (scan, "") for name, scan in named.items()}
    return found
