"""The pages: HTML that is made here, and filled by `api` where it changes."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from jinja2 import ChoiceLoader, Environment, PackageLoader

from condyle._version import __version__
from condyle.app.web.catalogue import catalogue
from condyle.app.web.forms import fields_of
from condyle.app.web.gate import REPORT_POLICY
from condyle.app.web.places import Places
from condyle.app.web.state import state_of
from condyle.config import presets
from condyle.errors import CondyleError, MissingFile
from condyle.report import parts
from condyle.runs.folder import RunFolder
from condyle.runs.record import read_csv

__all__ = ["PANELS", "router"]

PANELS: dict[str, tuple[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "data": ("Data", (
        ("import", "Prepare training data",
         ("scans", "masks", "scheme", "overlap", "area", "split", "out")),
        ("check", "Check a data set", ("dataset", "out", "fix")),
    )),
    "train": ("Train", (
        ("plan", "Plan", ("dataset", "network", "config", "budget")),
        ("train", "Train a network",
         ("dataset", "network", "config", "budget", "epochs", "fold", "out")),
    )),
    "segment": ("Segment", (
        ("segment", "Segment scans", ("run", "scans", "format", "near_slice", "area", "out")),
    )),
    "review": ("Review", (
        ("refine", "Clean label maps", ("labelmaps", "keep_largest", "fill_holes", "min_mm3",
                                        "slice_ratio", "smooth_mm", "out")),
        ("mesh", "Surfaces", ("labelmaps", "format", "error_mm", "out")),
        ("evaluate", "Score against the truth", ("predictions", "labels", "out")),
    )),
    "compare": ("Compare", (
        ("compare", "Compare networks", ("config", "dataset", "budget", "epochs", "out")),
    )),
    "features": ("Features", (
        ("features", "Compare regions", ("scan", "labelmap", "encoder", "regions", "out")),
    )),
    "runs": ("Runs", ()),
    "jobs": ("Jobs", ()),
    "machine": ("Machine", ()),
}  # fmt: skip
"""Path -> title, and its forms: a verb, a heading, and the fields that stand first."""

router = APIRouter()


@cache
def environment() -> Environment:
    """The page's templates, over those of the reports."""
    own = parts.templates().overlay(
        loader=ChoiceLoader([PackageLoader("condyle.app.web"), PackageLoader("condyle.report")])
    )
    values: dict[str, Any] = own.globals  # pyright: ignore[reportAssignmentType]
    values["panels"] = {path: title for path, (title, _) in PANELS.items()}
    values["version"] = __version__
    values["has_viewer"] = has_viewer()
    return own


def has_viewer() -> bool:
    """Whether NiiVue is here: a checkout without Node has not built it."""
    return resources.files("condyle.app.web").joinpath("static/vendor/niivue.js").is_file()


def shown(template: str, **given: Any) -> HTMLResponse:
    """A page."""
    return HTMLResponse(environment().get_template(template).render(**given))


@router.get("/")
def start() -> HTMLResponse:
    """The first page."""
    return shown("start.html", here="")


@router.get("/look")
def look() -> HTMLResponse:
    """A scan, its labels, and what one thinks of them."""
    return shown("look.html", here="review", title="Look and review")


@router.get("/results/{identity}")
def results(request: Request, identity: str) -> HTMLResponse:
    """What a job has written: label maps to look at, files to save."""
    places = state_of(request).places
    path = places.path_of(identity)
    files = sorted(p.name for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    inside = [entry.shown() for entry in catalogue(places) if entry.path.is_relative_to(path)]
    return shown(
        "results.html", here="jobs", title=places.named(path), identity=identity, files=files,
        things=inside,
    )  # fmt: skip


@router.get("/{panel}")
def panel(request: Request, panel: str) -> Response:
    """A panel."""
    if panel not in PANELS:
        raise MissingFile("there is no such page")
    title, forms = PANELS[panel]
    more: dict[str, Any] = {}
    if panel == "machine":
        from condyle.workflows.doctor import doctor_rows

        more["rows"] = doctor_rows()
    if panel == "train":
        more["presets"] = presets()
    made = [
        (verb, heading, {name: fields_of(verb)[name] for name in first},
         {n: f for n, f in fields_of(verb).items() if n not in first})
        for verb, heading, first in forms
    ]  # fmt: skip
    return shown(f"{panel}.html", here=panel, title=title, forms=made, **more)


@router.get("/jobs/{identity}")
def job(request: Request, identity: str) -> HTMLResponse:
    """A job: what it does, says and gives."""
    found = state_of(request).queue.job(identity)
    asked = found.request()
    places = state_of(request).places
    settings = {name: _in_words(value, places) for name, value in asked["settings"].items()}
    return shown("job.html", here="jobs", job=found.summary(), settings=settings)


def _in_words(value: Any, places: Places) -> str:
    """A setting as it was asked for; paths from the workspace or root on."""
    if isinstance(value, list):
        return ", ".join(_in_words(each, places) for each in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str) and value.startswith("/"):
        return places.named(Path(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@router.get("/runs/{identity}")
def run(request: Request, identity: str) -> HTMLResponse:
    """A run: its record, curves, scores and pictures."""
    places = state_of(request).places
    folder = RunFolder(places.path_of(identity))
    settings: dict[str, Any] = {}
    try:
        settings = folder.experiment().model_dump(mode="json", exclude_none=True)
        settings.pop("dataset", None)
    except CondyleError:
        pass  # a segmenter's own folder, or one that is damaged
    summary = read_csv(folder.summary) if folder.summary.is_file() else []
    pictures = [p.name for p in (folder.slices, folder.curves) if p.is_file()]
    return shown(
        "run.html", here="runs", identity=identity, name=places.named(folder.path),
        blocks=parts.settings(settings), summary=summary, pictures=pictures,
        has_report=folder.report.is_file(), is_finished=folder.is_finished,
    )  # fmt: skip


@router.get("/reports/{identity}")
def report(request: Request, identity: str) -> Response:
    """The page that a verb has written, apart from this one."""
    path = state_of(request).places.path_of(identity)
    for file in (path / "report.html", path / "check.html", path):
        if file.suffix == ".html" and file.is_file():
            headers = {"Content-Security-Policy": REPORT_POLICY}
            return FileResponse(file, media_type="text/html", headers=headers)
    raise MissingFile("there is no report here")
