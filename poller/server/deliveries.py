"""The routes of sinks: their state, dead letters, and replay."""

from collections.abc import Collection
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from poller.server.bodies import DeadLetterReplay, JsonBody, Replay
from poller.server.control import DocumentResponse, InSinkControl, SinkControl
from poller.server.documents import (
    DeadLettersDocument,
    ReplayedDeadLettersDocument,
    ReplayedDocument,
    SinksDocument,
)
from poller.server.openapi import problems
from poller.server.problems import (
    INVALID,
    NOT_JSON,
    SLOW_BODY,
    TOO_LARGE,
    UNKNOWN_EVENT,
    UNKNOWN_SINK,
    UNREADABLE,
    Problem,
    invalid,
)
from poller.server.queries import KNOWN_PARAMETERS, DeadLetterQuery, EventId
from poller.server.views import show_dead_letter, show_sink
from poller.store.dead_letters import DeadLetterCursor, Selection, UnknownEvent

router = APIRouter(dependencies=[KNOWN_PARAMETERS])


@router.get(
    "/v1/sinks",
    tags=["sinks"],
    response_model=SinksDocument,
    summary="Show the state of each sink",
    responses={200: {"description": "All sinks, by name."}, **problems()},
)
async def list_sinks(control: InSinkControl) -> Response:
    """Show configured sinks, and those for which events still wait."""
    closed = control.closed_sinks()
    reports = await control.store.sinks()
    return DocumentResponse({"sinks": [show_sink(report, closed=closed) for report in reports]})


@router.get(
    "/v1/dead-letters",
    tags=["sinks"],
    response_model=DeadLettersDocument,
    summary="List what could not be delivered",
    responses={
        200: {"description": "A page, in commit order."},
        **problems(UNKNOWN_SINK, INVALID),
    },
)
async def list_dead_letters(
    control: InSinkControl, query: Annotated[DeadLetterQuery, Query()]
) -> Response:
    """List events that were given up; `next` is the cursor of the next page."""
    if query.sink is not None:
        await _check_sinks(control, [query.sink])
    if query.since is not None and query.until is not None and query.since >= query.until:
        raise invalid("since", "must be before until")
    selection = Selection(
        sink=query.sink,
        operation_id=query.operation,
        since=query.since,
        until=query.until,
    )
    found = await control.store.dead_letters(
        selection, limit=query.limit + 1, after=_cursor_of(query.cursor)
    )
    letters = found[: query.limit]
    following = letters[-1].cursor if len(found) > query.limit else None
    return DocumentResponse(
        {
            "deadLetters": [show_dead_letter(letter) for letter in letters],
            "next": _place_of(following),
        }
    )


@router.post(
    "/v1/dead-letters/replay",
    tags=["sinks"],
    status_code=202,
    response_model=ReplayedDeadLettersDocument,
    summary="Send dead letters again",
    responses={
        202: {"description": "They are sent again."},
        **problems(UNREADABLE, UNKNOWN_SINK, SLOW_BODY, TOO_LARGE, NOT_JSON, INVALID),
    },
)
async def replay_dead_letters(
    control: InSinkControl, body: Annotated[DeadLetterReplay, Depends(JsonBody(DeadLetterReplay))]
) -> Response:
    """Send the selected ones again, for up to three more days; at most 1,000 in one request.

    Repeat the request with `cursor` until `next` is null.
    """
    if body.sink is not None:
        await _check_sinks(control, [body.sink])
    selection = Selection(
        sink=body.sink, operation_id=body.operation, since=body.since, until=body.until
    )
    page = await control.replayer.replay_dead_letters(selection, after=_cursor_of(body.cursor))
    return DocumentResponse({"replayed": dict(page.replayed), "next": _place_of(page.next)}, 202)


def _cursor_of(place: str | None) -> DeadLetterCursor | None:
    position, _, sink = (place or "").partition(".")
    return DeadLetterCursor(position=int(position), sink=sink) if place else None


def _place_of(cursor: DeadLetterCursor | None) -> str | None:
    return None if cursor is None else f"{cursor.position}.{cursor.sink}"


@router.post(
    "/v1/events/{event_id}/replay",
    tags=["events"],
    status_code=202,
    response_model=ReplayedDocument,
    summary="Send an event again",
    responses={
        202: {"description": "The event is sent again."},
        **problems(
            UNREADABLE, UNKNOWN_EVENT, UNKNOWN_SINK, SLOW_BODY, TOO_LARGE, NOT_JSON, INVALID
        ),
    },
)
async def replay(
    control: InSinkControl,
    event_id: EventId,
    body: Annotated[Replay | None, Depends(JsonBody(Replay, required=False))],
) -> Response:
    """Send it to the named sinks, or to all sinks for which it was recorded.

    It is retried for up to three more days. The event keeps its id and may arrive out of order.
    """
    sinks = None if body is None else body.chosen
    await _check_sinks(control, sinks or ())
    try:
        sent = await control.replayer.replay_event(event_id, sinks)
    except UnknownEvent as error:
        raise Problem(UNKNOWN_EVENT, str(error)[:500]) from None
    return DocumentResponse({"event": event_id, "sinks": sent}, 202)


async def _check_sinks(control: SinkControl, sinks: Collection[str]) -> None:
    """Refuse a sink that is not configured and for which no event waits.

    :raises Problem: naming the first such sink, and the known ones.
    """
    if not sinks:
        return
    known = {report.name for report in await control.store.sinks()}
    unknown = sorted(set(sinks) - known)
    if unknown:
        raise Problem(
            UNKNOWN_SINK,
            f"the sink {unknown[0]!r} is not configured, and no event waits for it",
            hint=f"known sinks: {', '.join(sorted(known))}",
        )
