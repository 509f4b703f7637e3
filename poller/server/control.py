"""What every route works with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import anyio
from starlette.responses import Response

from poller.engine.daemon import Daemon
from poller.server.limits import Limits
from poller.store.store import Store
from poller.text import dump_json
from poller.trouble import TroubleLog

__all__ = ["Control", "Metrics", "reply"]

Metrics = Callable[[str | None], Awaitable[tuple[bytes, str]]]
"""Takes an `Accept` header; returns the page of metrics and its media type."""

JSON: Final = "application/json"


@dataclass(slots=True, kw_only=True)
class Control:
    """A running daemon and its store.

    `stopping` ends the event streams that began with it; `places` is how many more there may be.
    """

    daemon: Daemon
    store: Store
    version: str
    metrics: Metrics | None
    limits: Limits
    stopping: anyio.Event
    places: anyio.Semaphore
    troubles: TroubleLog = field(default_factory=TroubleLog)

    def end_streams(self) -> None:
        """End the event streams with what was recorded so far; clients may come back at once."""
        self.stopping.set()
        self.stopping = anyio.Event()
        self.daemon.signals.events.notify()


def reply(document: object, status: int = 200) -> Response:
    """Answer JSON, also where the vendor sent half a surrogate pair."""
    return Response(dump_json(document), status_code=status, media_type=JSON)
