"""The server of the page: on this machine alone, for whoever has its link."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import AsyncGenerator
from importlib import resources

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from filelock import FileLock, Timeout

from condyle.app.web import api, pages
from condyle.app.web.gate import Gate
from condyle.app.web.places import HOME, Places
from condyle.app.web.queue import Queue
from condyle.app.web.state import State
from condyle.config.requests import ServeRequest
from condyle.errors import CondyleError, ConfigError, MissingFile
from condyle.jobs.job import Job, shown, verb
from condyle.jobs.outputs import folder_for

__all__ = ["app_for", "serve"]

HOST = "127.0.0.1"


def app_for(places: Places, port: int) -> tuple[FastAPI, Gate]:
    """The application over some folders, and what guards it."""
    queue, gate = Queue(places), Gate(places, port)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        queue.start()
        yield
        queue.stop()

    app = FastAPI(
        title="Condyle", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    app.state.condyle = State(places, queue)
    app.middleware("http")(gate)
    static = resources.files("condyle.app.web") / "static"
    app.mount("/static", StaticFiles(directory=str(static)), name="static")
    app.include_router(api.router)
    app.include_router(pages.router)

    @app.exception_handler(CondyleError)
    def said(request: Request, error: CondyleError) -> Response:  # pyright: ignore[reportUnusedFunction]
        return _answer(request, places, error)

    @app.exception_handler(RequestValidationError)
    def unclear(request: Request, error: RequestValidationError) -> Response:  # pyright: ignore[reportUnusedFunction]
        wrong = ", ".join(str(each["loc"][-1]) for each in error.errors())
        return JSONResponse({"sentence": shown(f"this is not understood: {wrong}")}, 422)

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> Response:  # pyright: ignore[reportUnusedFunction]
        logging.getLogger("condyle").exception("a request failed")
        kind = type(error).__name__
        return JSONResponse({"sentence": f"this is a bug in Condyle ({kind}); see its log"}, 500)

    return app, gate


def _answer(request: Request, places: Places, error: CondyleError) -> Response:
    """An error as its sentence, without the folders of this machine."""
    sentence = str(error)
    for root in places.roots:
        sentence = sentence.replace(f"{root}/", "").replace(str(root), root.name)
    code = 404 if isinstance(error, MissingFile) else 422
    if request.url.path.startswith("/api/"):
        setting = str(getattr(error, "setting", "") or "")
        return JSONResponse({"sentence": shown(sentence), "setting": setting}, code)
    page = pages.shown("error.html", here="", sentence=shown(sentence))
    page.status_code = code
    return page


@verb
def serve(request: ServeRequest, job: Job) -> None:
    """Serve the page until it is stopped; the job is told the link.

    Raises
    ------
    ConfigError
        If another server has the workspace, or the port is taken.
    """
    places = Places(request.workspace, request.roots)
    lock = FileLock(folder_for(places.workspace / HOME / "lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"another `condyle serve` has {request.workspace}: use its link, or another workspace"
        ) from error
    with lock, contextlib.closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, request.port))
            listener.listen(128)  # whoever opens the link at once waits, and is not refused
        except OSError as error:
            raise ConfigError(
                f"port {request.port} is taken: give another `port`", setting="port"
            ) from error
        port = int(listener.getsockname()[1])
        app, gate = app_for(places, port)
        job.inform(f"open http://{HOST}:{port}/login?token={gate.token}")
        if not pages.has_viewer():
            job.inform(NO_VIEWER)
        settings = uvicorn.Config(app, log_level="warning", server_header=False, access_log=False)
        uvicorn.Server(settings).run(sockets=[listener])


NO_VIEWER = (
    "NiiVue, which draws volumes, is not built here: slices are drawn by the server (in a "
    "checkout, `make page` builds it where Node is installed)"
)
