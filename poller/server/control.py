"""What routes work with: the daemon, its store, and the limits of clients."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol

import anyio
from fastapi import Depends, Request
from starlette.responses import JSONResponse

from poller.engine.daemon import Daemon
from poller.server.refresh import Refreshed
from poller.store.counts import EndCounts
from poller.store.dead_letters import DeadLetterCursor, ReplayedPage, Selection
from poller.store.store import Store
from poller.text import dump_json
from poller.trouble import TroubleLog

_COUNTED: Final = 2.0

Metrics = Callable[[str | None], Awaitable[tuple[bytes, str]]]
"""Takes an `Accept` header; returns the metrics page and its media type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Limits in bytes, seconds and numbers; the daemon runs with the defaults.

    `head_seconds` limits a whole request, `body_seconds` a body that a route reads; `slow_seconds`
    is how long the client of an event stream may read nothing.
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

    Setting `stopping` ends the event streams that use it. `free_streams` counts how many more
    streams may be opened.
    """

    daemon: Daemon
    store: Store
    version: str
    metrics: Metrics | None
    limits: ClientLimits
    stopping: anyio.Event
    free_streams: anyio.Semaphore
    troubles: TroubleLog = field(default_factory=TroubleLog)
    end_counts: Refreshed[EndCounts] = field(init=False)
    """Shared by all pages, since each requests it every few seconds."""

    def __post_init__(self) -> None:
        self.end_counts = Refreshed(self.store.counts.ends, seconds=_COUNTED)

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


class Replayer(Protocol):
    """Sends events again: a daemon at once, a store alone once a daemon runs on it."""

    async def replay_event(self, event_id: str, to: Sequence[str] | None) -> list[str]:
        """Send one stored event again, to these sinks or to all of its sinks; returns the sinks.

        :raises UnknownEvent: where it is not stored any more.
        """

    async def replay_dead_letters(
        self, selection: Selection, *, after: DeadLetterCursor | None = None
    ) -> ReplayedPage:
        """Send dead letters after the cursor again, as many as one transaction may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkControl:
    """What the routes of sinks and dead letters work with; they need no running daemon.

    `closed_sinks` returns the sinks that were closed in this process, and get no more events.
    """

    store: Store
    replayer: Replayer
    closed_sinks: Callable[[], Collection[str]]


async def _sink_control(request: Request) -> SinkControl:
    control: SinkControl = request.app.state.sinks
    return control


InSinkControl = Annotated[SinkControl, Depends(_sink_control)]
"""The parameter through which a route gets a `SinkControl`."""


class DocumentResponse(JSONResponse):
    """A JSON answer. It is valid UTF-8 even if the vendor sent half of a surrogate pair."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - as the base class declares it
        """Write the document."""
        return dump_json(content).encode()
