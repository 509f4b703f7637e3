"""What every route works with: the daemon, its store, and how much one client may use."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
from fastapi import Depends, Request
from starlette.responses import JSONResponse

from poller.engine.daemon import Daemon
from poller.store.store import Store
from poller.text import dump_json
from poller.trouble import TroubleLog

Metrics = Callable[[str | None], Awaitable[tuple[bytes, str]]]
"""Takes an `Accept` header; returns the page of metrics and its media type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Bytes, seconds and numbers; the daemon runs with the defaults.

    `head_seconds` is the time for a whole request, `body_seconds` the time for a body that a route
    reads; `slow_seconds` is how long the client of an event stream may read nothing.
    """

    body_bytes: int = 4 * 1024 * 1024
    body_seconds: float = 20.0
    head_seconds: float = 30.0
    keep_alive_seconds: float = 15.0
    connections: int = 512
    streams: int = 64
    slow_seconds: float = 30.0
    heartbeat_seconds: float = 15.0
    stop_seconds: float = 2.0


@dataclass(slots=True, kw_only=True)
class Control:
    """A running daemon and its store.

    Setting `stopping` ends the event streams that began with it. `free_streams` counts how many
    more streams there may be.
    """

    daemon: Daemon
    store: Store
    version: str
    metrics: Metrics | None
    limits: ClientLimits
    stopping: anyio.Event
    free_streams: anyio.Semaphore
    troubles: TroubleLog = field(default_factory=TroubleLog)

    def end_streams(self) -> None:
        """End the event streams after what was recorded so far; clients may reconnect at once."""
        self.stopping.set()
        self.stopping = anyio.Event()
        self.daemon.signals.events.notify()


async def _control(request: Request) -> Control:
    control: Control = request.app.state.control
    return control


InControl = Annotated[Control, Depends(_control)]
"""The parameter through which a route gets the daemon and its store."""


class DocumentResponse(JSONResponse):
    """A JSON answer. It is valid UTF-8 even where the vendor sent half a surrogate pair."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - as the base class declares it
        """Write the document."""
        return dump_json(content).encode()
