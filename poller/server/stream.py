"""The event stream: Server-Sent Events of everything emitted, in commit order.

Nothing is queued for a client. Its stream reads the store page by page, waits for new events, and
reads the next page only when the client has read the last one. A page is sent in small chunks, and
at most one is buffered for a client that does not read. A client that reads nothing for too long
gets an error and is disconnected; it can reconnect with the last id that it has.

Only events are sent as blocks. Everything else is a comment line without a blank line after it:
widely used clients report each blank line as an event, even without data before it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import anyio
from fastapi import APIRouter, Query
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from poller.engine.event_feed import EventFeed
from poller.log import get_logger
from poller.server.connection import connection_of
from poller.server.control import ClientLimits, Control, InControl
from poller.server.examples import EVENT_STREAM
from poller.server.openapi import problems
from poller.server.problems import CROWDED, GONE, INVALID, STORE, Problem, ProblemKind
from poller.server.queries import KNOWN_PARAMETERS, EventQuery, LastEventId, labels_of
from poller.store.errors import EventsGone, StoreError
from poller.store.events import Cursor, StoredEvent
from poller.text import dump_json
from poller.tracking.delivery import wants_type

log = get_logger()

# a single event may be longer
_CHUNK_CHARACTERS: Final = 64 * 1024
_SLOW_CLIENT: Final = ProblemKind(
    name="slow-client", status=408, title="The client reads no events"
)
_STOPPING: Final = b": the stream ends; reconnect with the last id\n"
_HEADERS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
    (b"x-accel-buffering", b"no"),
]


router = APIRouter(tags=["events"], dependencies=[KNOWN_PARAMETERS])

_STREAM: Final[dict[str, Any]] = {
    "description": "Events in commit order, until one side closes the connection. `id` is the id "
    "of the event, `event` its type, `data` the CloudEvent on one line. A line that begins with "
    "`:` is a comment and shows that the stream is alive; `: last-event-id …` names the last "
    "event that the server has read, even if a filter excludes it. After an error, `event: error` "
    "with problem details comes last.",
    "headers": {
        "Last-Event-ID": {
            "description": "The id after which the stream begins. A client that is disconnected "
            "before its first event can send it, and misses no event. Absent if none was recorded.",
            "schema": {"type": "string"},
        }
    },
    "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EVENT_STREAM}},
}


@router.get(
    "/v1/events",
    response_class=Response,
    summary="Follow everything emitted",
    responses={200: _STREAM, **problems(GONE, INVALID, CROWDED)},
)
async def follow(
    control: InControl,
    query: Annotated[EventQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """Follow from now on, or with `from=oldest` from the oldest stored event.

    With `Last-Event-ID`, which browsers send by themselves, the stream begins after that event.
    """
    wanted = StreamFilter(types=query.type, labels=labels_of(query.label))
    try:
        feed = await EventFeed.start(
            control.store,
            control.daemon.signals,
            after=last_event_id,
            from_oldest=query.start is not None,
            operations=query.operation,
            groups=query.group,
        )
    except EventsGone as error:
        raise _gone(error) from None
    return EventStream(control, wanted, feed)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFilter:
    """Selects events of a feed: of any of these types, with all of these labels."""

    types: Sequence[str] = ()
    labels: Sequence[tuple[str, str]] = ()

    def wants(self, stored: StoredEvent) -> bool:
        """Return whether to send an event; the feed has selected its operation or group."""
        if self.types and not wants_type(self.types, stored.type, final=stored.final):
            return False
        if not self.labels:
            return True
        labels = stored.event.labels
        return all(labels.get(name) == value for name, value in self.labels)


def _gone(error: EventsGone) -> Problem:
    """Make the problem of a stream that would miss events."""
    return Problem(
        GONE,
        str(error),
        hint="connect without Last-Event-ID or with ?from=oldest, then read the present state from "
        "GET /v1/operations and GET /v1/groups; store.retention is how long events are kept",
    )


class EventStream(Response):
    """The answer to one client: runs until it disconnects, or the daemon stops."""

    def __init__(self, control: Control, wanted: StreamFilter, feed: EventFeed) -> None:
        super().__init__()
        self._free_streams = control.free_streams
        self._stopping = control.stopping
        self._troubles = control.troubles
        self._limits = control.limits
        self._wanted = wanted
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the events, unless there are too many streams."""
        try:
            self._free_streams.acquire_nowait()
        except anyio.WouldBlock:
            await _crowded(self._limits).response(scope, receive, send)
            return
        try:
            await self._stream(scope, receive, send)
        finally:
            self._free_streams.release()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*_HEADERS, *_position_header(self._feed.cursor)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_stop_with_client, receive, tasks.cancel_scope)
            last_chunk = await self._pump(scope, send)
            with anyio.move_on_after(self._limits.slow_seconds):
                await send({"type": "http.response.body", "body": last_chunk, "more_body": False})
            tasks.cancel_scope.cancel()

    async def _pump(self, scope: Scope, send: Send) -> bytes:
        """Send events until the stream must end; returns the last chunk."""
        chunks = [_comment(self._feed.cursor.event_id)]
        sent_at = anyio.current_time()
        while True:
            for chunk in chunks:
                if not await self._send(send, chunk):
                    return self._drop(scope)
                sent_at = anyio.current_time()
            ends = self._stopping.is_set()
            try:
                events = await self._feed.read()
            except EventsGone as error:
                return _error(_gone(error))
            except StoreError as error:
                self._troubles.failure(
                    log, "store.unavailable", level="error", error=str(error), loop="stream"
                )
                return _error(Problem(STORE, str(error)))
            self._troubles.success(log, "store.unavailable", "store.recovered", loop="stream")
            chunks = self._render(events)
            if not chunks and not self._feed.has_more:
                if ends:
                    return _STOPPING
                await self._feed.wait(self._limits.heartbeat_seconds)
                if anyio.current_time() - sent_at >= self._limits.heartbeat_seconds:
                    chunks = [_comment(self._feed.cursor.event_id)]

    async def _send(self, send: Send, chunk: bytes) -> bool:
        """Send a chunk; returns False if the client reads nothing for too long."""
        message: Message = {"type": "http.response.body", "body": chunk, "more_body": True}
        with anyio.move_on_after(self._limits.slow_seconds) as scope:
            await send(message)
        return not scope.cancelled_caught

    def _render(self, events: Sequence[StoredEvent]) -> list[bytes]:
        frames = [_frame(event) for event in events if self._wanted.wants(event)]
        return list(_chunked(frames))

    def _drop(self, scope: Scope) -> bytes:
        seconds = self._limits.slow_seconds
        self._troubles.failure(
            log,
            "stream.dropped",
            reason="slow client",
            seconds=seconds,
            last_id=self._feed.cursor.event_id,
        )
        if (connection := connection_of(scope)) is not None:
            connection.close_soon()
        return _error(
            Problem(_SLOW_CLIENT, f"nothing was read for {seconds:g} s", hint="read faster")
        )


def _position_header(cursor: Cursor) -> list[tuple[bytes, bytes]]:
    """Send the id to reconnect with, so that even a client that got no event misses none."""
    return [(b"last-event-id", cursor.event_id.encode())] if cursor.event_id else []


def _comment(event_id: str) -> bytes:
    """Show that the stream is alive, and name the last event that was read from the store."""
    return f": last-event-id {event_id}\n".encode() if event_id else b": keep-alive\n"


def _frame(event: StoredEvent) -> str:
    return f"id: {event.id}\nevent: {event.type}\ndata: {event.body}\n\n"


def _chunked(frames: Sequence[str]) -> Iterator[bytes]:
    """Join frames into chunks of a bounded length; a longer frame is a chunk of its own."""
    held: list[str] = []
    length = 0
    for frame in frames:
        if held and length + len(frame) > _CHUNK_CHARACTERS:
            yield "".join(held).encode()
            held, length = [], 0
        held.append(frame)
        length += len(frame)
    if held:
        yield "".join(held).encode()


def _crowded(limits: ClientLimits) -> Problem:
    return Problem(
        CROWDED,
        f"there are {limits.streams} event streams already",
        hint="share one, or try again later",
        headers={"Retry-After": "5"},
    )


def _error(problem: Problem) -> bytes:
    return f"event: error\ndata: {dump_json(problem.document)}\n\n".encode()


async def _stop_with_client(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
