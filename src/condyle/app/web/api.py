"""What the pages' scripts ask: JSON, volumes, pictures, events; ids, never paths."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Header, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from condyle.app.web import review, volumes
from condyle.app.web.catalogue import catalogue
from condyle.app.web.events import events_of
from condyle.app.web.job_folder import OVER
from condyle.app.web.state import State, state_of
from condyle.app.web.uploads import Upload
from condyle.app.web.verbs import request_of
from condyle.errors import ConfigError, MissingFile
from condyle.io import is_dataset, open_dataset, scans_by_name
from condyle.runs.folder import RunFolder
from condyle.runs.record import read_csv

__all__ = ["router"]

router = APIRouter(prefix="/api")

MOST_UPLOADS = 20
BEAT = 0.25
QUIET = 15.0
"""Seconds between looks at a job's events, and until a sign of life where it has none."""


@router.get("/catalogue")
def things(request: Request, kind: str = "") -> list[dict[str, str]]:
    """All that can be chosen; of some kinds alone, parted by spaces."""
    kinds = kind.split()
    found = catalogue(state_of(request).places)
    return [entry.shown() for entry in found if not kinds or entry.kind in kinds]


@router.get("/cases/{identity}")
def cases(request: Request, identity: str) -> list[dict[str, Any]]:
    """What a data set, or a folder of results, holds."""
    path = state_of(request).places.path_of(identity)
    if is_dataset(path):
        return [{"case": c.id, "labelled": c.label is not None} for c in open_dataset(path).cases]
    if path.is_dir():
        return [{"case": name, "labelled": True} for name in scans_by_name([path], labels=True)]
    return []


@router.get("/jobs")
def jobs(request: Request) -> list[dict[str, Any]]:
    """All jobs, the newest first."""
    return state_of(request).queue.summaries()


@router.post("/jobs", status_code=201)
def new_job(request: Request, asked: Annotated[dict[str, Any], Body()]) -> dict[str, str]:
    """Add a job: {"verb": ..., "settings": {...}}; a wrong setting is said at once."""
    state = state_of(request)
    verb, settings = str(asked.get("verb", "")), asked.get("settings")
    if not isinstance(settings, dict):
        raise ConfigError("a job needs a verb and its settings")
    made = request_of(verb, settings, state.places)  # pyright: ignore[reportUnknownArgumentType]
    out = made.model_dump(include={"out"}).get("out")
    title = f"{verb}: {state.places.named(Path(out))}" if out else verb
    fields = made.model_dump(mode="json", include=set(made.given()) | {"out"}, exclude_none=True)
    return {"id": state.queue.add(verb, fields, title).id}


@router.get("/jobs/{identity}")
def job(request: Request, identity: str) -> dict[str, Any]:
    """A job, what came out, and the ids of what it wrote."""
    state = state_of(request)
    found = state.queue.job(identity)
    out = found.request()["settings"].get("out")
    folder = Path(out) if out else None
    if folder is not None and folder.suffix == ".csv":
        folder = folder.parent
    there = folder is not None and folder.exists() and state.places.allows(folder)
    return found.summary() | {
        "result": found.result() if found.state() in OVER else None,
        "out": state.places.id_of(folder) if there and folder is not None else None,
        "report": _report_of(state, folder) if there and folder is not None else None,
    }


def _report_of(state: State, folder: Path) -> str | None:
    for name in ("report.html", "check.html", "features.html"):
        if (folder / name).is_file():
            return state.places.id_of(folder / name)
    return None


@router.post("/jobs/{identity}/cancel")
def cancel(request: Request, identity: str) -> dict[str, str]:
    """End a job; what was finished is kept."""
    queue = state_of(request).queue
    queue.cancel(identity)
    return {"state": queue.job(identity).state()}


@router.post("/jobs/{identity}/retry")
def retry(request: Request, identity: str) -> dict[str, str]:
    """Let a job that is over wait again."""
    queue = state_of(request).queue
    queue.retry(identity)
    return {"state": "waiting"}


@router.get("/jobs/{identity}/log")
def log(request: Request, identity: str) -> Response:
    """All that a job's process said."""
    found = state_of(request).queue.job(identity)
    parts = [p for p in (found.path / "work.log", found.log) if p.is_file()]
    text = "\n".join(part.read_text(encoding="utf-8", errors="replace") for part in parts)
    return Response(text, media_type="text/plain; charset=utf-8")


@router.get("/jobs/{identity}/events")
def events(
    request: Request, identity: str, last_event_id: str = Header(default="0")
) -> StreamingResponse:
    """A job's events as they come; behind the one that the browser had last."""
    found = state_of(request).queue.job(identity)
    number = int(last_event_id) if last_event_id.isdigit() else 0

    async def stream() -> AsyncIterator[str]:
        last, quiet = number, 0.0
        while not await request.is_disconnected():
            over = await asyncio.to_thread(found.state) in OVER
            new = await asyncio.to_thread(events_of, found.events, last)
            for last, event in new:
                yield f"id: {last}\ndata: {json.dumps(event)}\n\n"
            if over and not new:
                state = await asyncio.to_thread(found.state)
                yield f"event: over\ndata: {json.dumps({'state': state})}\n\n"
                return
            quiet = 0.0 if new else quiet + BEAT
            if quiet >= QUIET:
                quiet = 0.0
                yield ": here\n\n"
            await asyncio.sleep(0 if over else BEAT)

    return StreamingResponse(stream(), media_type="text/event-stream")


@router.get("/history/{identity}")
def history(request: Request, identity: str) -> list[dict[str, Any]]:
    """A row an epoch of a run, as far as it is."""
    file = RunFolder(state_of(request).places.path_of(identity)).history
    rows = read_csv(file) if file.is_file() else []
    return [
        {name: None if isinstance(value, float) and value != value else value
         for name, value in row.items()}
        for row in rows
    ]  # fmt: skip


@router.get("/volumes/{identity}.nii.gz")
def volume(
    request: Request, identity: str, case: str = "", labels: bool = False,
    if_none_match: str = Header(default=""),
) -> Response:  # fmt: skip
    """A scan or label map that a browser can hold."""
    places = state_of(request).places
    made = volumes.nifti_for(places.path_of(identity), case, labels, places.cache)
    tag = f'"{made.path.name.partition(".")[0]}"'
    headers = {"ETag": tag, "X-Condyle-Step": str(made.step), "Cache-Control": "no-cache"}
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    return FileResponse(made.path, media_type="application/gzip", headers=headers)


@router.get("/scans/{identity}")
def scan(request: Request, identity: str, case: str = "", labels: bool = False) -> dict[str, Any]:
    """What a scan (or label map) is: shape, spacing and first voxel towards right, front, head."""
    path = state_of(request).places.path_of(identity)
    found = volumes.labels_at(path, case) if labels else volumes.scan_at(path, case)
    return {
        "shape": list(found.grid.shape),
        "spacing": [round(float(s), 4) for s in found.grid.spacing],
        "affine": found.grid.affine.tolist(),
        "inverse": np.linalg.inv(found.grid.affine).tolist(),
        "modality": getattr(found, "modality", ""),
        "step": volumes.step_for(found.grid.shape),
    }


@router.get("/labels/{identity}")
def labels(request: Request, identity: str, case: str = "") -> list[dict[str, Any]]:
    """The structures of a label map: number, name, colour, volume in cm³, its middle in mm."""
    found = volumes.labels_at(state_of(request).places.path_of(identity), case)
    return volumes.structures_of(found)


@router.get("/slices/{identity}.png")
def slice_picture(
    request: Request, identity: str, plane: str = "axial", index: int | None = None,
    labels: str = "", case: str = "", label_case: str = "", low: float | None = None,
    high: float | None = None, only: str = "both",
) -> Response:  # fmt: skip
    """A slice drawn here: at full resolution, and for browsers that cannot draw volumes."""
    places = state_of(request).places
    shown = volumes.scan_at(places.path_of(identity), case)
    over = volumes.labels_at(places.path_of(labels), label_case or case) if labels else None
    window = (low, high) if low is not None and high is not None else None
    png = volumes.slice_png(shown, plane, index, over, window, only)
    return Response(png, media_type="image/png")


@router.get("/review/{identity}")
def reviewed(request: Request, identity: str) -> list[dict[str, Any]]:
    """The cases of a folder of label maps: each with its scan, verdicts and doubts."""
    state = state_of(request)
    return review.cases_of(state, state.places.path_of(identity))


@router.put("/review/{identity}")
def judge(
    request: Request, identity: str, asked: Annotated[dict[str, Any], Body()]
) -> dict[str, Any]:
    """Keep a verdict on a structure of a case: accepted, rejected or '', and a note."""
    path = state_of(request).places.path_of(identity)
    return review.judge(path, *(str(asked.get(name, "")) for name in review.COLUMNS[:4]))


@router.post("/uploads", status_code=201)
def begin_upload(request: Request, asked: Annotated[dict[str, Any], Body()]) -> dict[str, str]:
    """Begin an upload; its files follow."""
    state = state_of(request)
    if len(state.uploads) >= MOST_UPLOADS:
        state.uploads.pop(next(iter(state.uploads))).discard()
    identity = secrets.token_hex(8)
    state.uploads[identity] = Upload(state.places, str(asked.get("name", "")))
    return {"id": identity}


def _upload(request: Request, identity: str) -> Upload:
    if identity not in state_of(request).uploads:
        raise MissingFile("there is no such upload: begin it again")
    return state_of(request).uploads[identity]


@router.put("/uploads/{identity}")
async def upload_file(request: Request, identity: str, name: str) -> dict[str, int]:
    """One file of an upload, as the body."""
    upload = _upload(request, identity)
    try:
        await upload.add(name, request.stream())
    except Exception:
        upload.discard()
        state_of(request).uploads.pop(identity, None)
        raise
    return {"files": upload.files, "bytes": upload.bytes}


@router.post("/uploads/{identity}/end")
def end_upload(request: Request, identity: str) -> list[dict[str, str]]:
    """End an upload; what was found in it."""
    state = state_of(request)
    upload = _upload(request, identity)
    state.uploads.pop(identity)
    inside = [e for e in catalogue(state.places) if e.path.is_relative_to(upload.folder)]
    if not inside:
        upload.discard()
        raise ConfigError(
            "there is no scan, label map or data set in what was uploaded: give DICOM (a folder or "
            "a zip), .nii.gz, .nrrd or .mha"
        )
    return [entry.shown() for entry in inside]


@router.get("/files/{identity}/{name}")
def file(request: Request, identity: str, name: str) -> Response:
    """A file that lies in a folder of results, to save."""
    places = state_of(request).places
    path = places.path_of(identity) / name
    if name in (".", "..") or not path.is_file() or not places.allows(path):
        raise MissingFile("there is no such file")
    kind = "image/png" if path.suffix == ".png" else "application/octet-stream"
    return FileResponse(path, media_type=kind, filename=None if kind == "image/png" else name)
