"""Events: the stream of all, and sending one again."""

import re
from collections.abc import Collection
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from poller.server import examples
from poller.server.control import Control, reply
from poller.server.described import answer, body, problems
from poller.server.documents import REPLAY, SINK_NAME, ReplayedDocument
from poller.server.invalid import KNOWN_PARAMETERS, invalid
from poller.server.limits import read_json
from poller.server.params import EventId, EventQuery, LastEventId, labels_of
from poller.server.problems import (
    CROWDED,
    GONE,
    INVALID,
    NOT_JSON,
    SLOW_BODY,
    TOO_LARGE,
    UNKNOWN_EVENT,
    UNKNOWN_SINK,
    UNREADABLE,
    Problem,
)
from poller.server.stream import EventStream, StreamFilter, gone
from poller.store.dead_letters import UnknownEvent
from poller.store.events import Cursor

__all__ = ["check_sinks", "event_routes"]

_MOST_SINKS: Final = 100
_SINK_NAME: Final = re.compile(SINK_NAME)

_STREAM: Final[dict[str, Any]] = {
    "description": "Events in commit order, until somebody hangs up. `id` is the event's id, "
    "`event` its type, `data` the CloudEvent on one line. A line that begins with `:` is a comment "
    "and shows that the stream lives; `: last-event-id …` names the last event that was looked at, "
    "wanted or not. `event: error` with problem details comes last, where there was one.",
    "headers": {
        "Last-Event-ID": {
            "description": "The id that the stream begins after: a client that is cut off before "
            "its first event comes back with it and misses none. Absent before the first event.",
            "schema": {"type": "string"},
        }
    },
    "content": {
        "text/event-stream": {"schema": {"type": "string"}, "example": examples.EVENT_STREAM}
    },
}


def event_routes(control: Control) -> APIRouter:
    """Make the routes of events."""
    router = APIRouter(tags=["events"], dependencies=[KNOWN_PARAMETERS])

    @router.get(
        "/v1/events",
        response_class=Response,
        summary="Follow everything emitted",
        description="From now on; with `from=oldest` from the oldest event that is kept; with "
        "`Last-Event-ID`, as browsers send it by themselves, from the one after it.",
        responses={200: _STREAM, **problems(GONE, INVALID, CROWDED)},
    )
    async def follow(
        query: Annotated[EventQuery, Query()],
        last_event_id: LastEventId = None,
    ) -> Response:
        wanted = StreamFilter(
            operations=query.operation, types=query.type, labels=labels_of(query.label)
        )
        if last_event_id:
            mark = await control.store.find_cursor(last_event_id)
            if mark is None:
                raise gone(last_event_id)
            return EventStream(control, wanted, start=mark)
        if query.start is None:
            return EventStream(control, wanted, start=await control.store.last_cursor())
        oldest = Cursor(position=0)
        kept = await control.store.event_page(after=oldest, limit=1)
        return EventStream(control, wanted, start=oldest, pruned_to=kept.pruned_to)

    @router.post(
        "/v1/events/{event_id}/replay",
        status_code=202,
        response_model=ReplayedDocument,
        summary="Send an event again",
        description="To the sinks that are named, or to all that it was recorded for; with a "
        "fresh three days for each. It may come late, under the same id.",
        openapi_extra=body(REPLAY, "replay", "replayToAll", required=False),
        responses={
            **answer(202, "It is on its way again.", "replayed"),
            **problems(
                UNREADABLE, UNKNOWN_EVENT, UNKNOWN_SINK, SLOW_BODY, TOO_LARGE, NOT_JSON, INVALID
            ),
        },
    )
    async def replay(event_id: EventId, request: Request) -> Response:
        document = await read_json(request, control.limits, required=False)
        sinks = _sinks(document)
        await check_sinks(control, sinks or ())
        try:
            sent = await control.daemon.replay(event_id, sinks)
        except UnknownEvent as error:
            raise Problem(UNKNOWN_EVENT, str(error)[:500]) from None
        return reply({"event": event_id, "sinks": sent}, 202)

    return router


def _sinks(document: object) -> list[str] | None:
    """Read the body of a replay; None for all."""
    if document is None:
        return None
    if not isinstance(document, dict) or set(document) - {"sinks"}:
        raise invalid("sinks", 'write {"sinks": ["app"]}, or nothing for all')
    sinks = document.get("sinks")
    if sinks is None:
        return None
    if not isinstance(sinks, list) or not 0 < len(sinks) <= _MOST_SINKS:
        raise invalid("sinks", f"must be a list of 1 to {_MOST_SINKS} names of sinks")
    for name in sinks:
        if not isinstance(name, str) or not _SINK_NAME.fullmatch(name):
            raise invalid("sinks", f"{str(name)[:80]!r} is not the name of a sink, like app")
    return sinks


async def check_sinks(control: Control, sinks: Collection[str]) -> None:
    """Refuse sinks that no settings name and that nothing waits for.

    :raises Problem: naming the first, and those that there are.
    """
    if not sinks:
        return
    known = {report.name for report in await control.store.sinks()}
    unknown = sorted(set(sinks) - known)
    if unknown:
        raise Problem(
            UNKNOWN_SINK,
            f"no settings name the sink {unknown[0]!r}, and nothing waits for it",
            hint=f"there are: {', '.join(sorted(known))}",
        )
