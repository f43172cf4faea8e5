"""What all answers of one server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import Request

from condyle.app.web.places import Places
from condyle.app.web.queue import Queue
from condyle.app.web.uploads import Upload

__all__ = ["State", "state_of"]


@dataclass
class State:
    """A server's folders, jobs, and uploads under way."""

    places: Places
    queue: Queue
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])


def state_of(request: Request) -> State:
    """The state of the server that a request reached."""
    return request.app.state.condyle
