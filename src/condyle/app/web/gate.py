"""Who may ask: this machine's browser with the link's token, and no other site."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from condyle.app.web.places import Places

__all__ = ["Gate"]

COOKIE = "condyle"

SAFE = ("GET", "HEAD")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; form-action 'self'; base-uri 'none'; "
    "frame-src 'self'; frame-ancestors 'self'"
)
REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'self'"
)
"""Of reports, whose styles stand in them: they run apart, and can ask for nothing."""

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Next = Callable[[Request], Awaitable[Response]]


class Gate:
    """What stands before all pages.

    Parameters
    ----------
    port : on which the server listens; other hosts and ports in a request are refused.
    """

    def __init__(self, places: Places, port: int):
        self.token = secrets.token_urlsafe(24)
        self.session = places.signed("session")
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self.used = False

    async def __call__(self, request: Request, go_on: Next) -> Response:
        """The answer to a request, with headers that keep the page to itself."""
        refused = self._refused(request)
        answer = refused or await go_on(request)
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        answer.headers.setdefault("Content-Security-Policy", POLICY)
        return answer

    def _refused(self, request: Request) -> Response | None:
        """Why a request is not answered; None if it is."""
        if request.headers.get("host", "") not in self.hosts:
            return PlainTextResponse("this page is only for this machine", 421)
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site", "same-origin")
        if request.method not in SAFE and (
            (origin is not None and urlsplit(origin).netloc != request.headers["host"])
            or site not in ("same-origin", "none")
        ):
            return PlainTextResponse("another site may not ask for that", 403)
        if request.url.path == "/login":
            return self._login(request.query_params.get("token", ""))
        if not hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), self.session.encode()):
            return PlainTextResponse(
                "open the link that `condyle serve` has printed; each is good for one browser", 401
            )
        return None

    def _login(self, token: str) -> Response:
        """The cookie, for whoever has the link; it works once."""
        if self.used or not hmac.compare_digest(token.encode(), self.token.encode()):
            return PlainTextResponse(
                "this link has been used or is an old one: `condyle serve` prints a new one", 401
            )
        self.used = True
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self.session, httponly=True, samesite="strict", path="/")
        return answer
