"""Where events go: the sinks, the events that they did not take, and sending them again."""

from collections.abc import Collection
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from poller.server.bodies import JsonBody, Replay
from poller.server.control import Control, DocumentResponse, InControl
from poller.server.documents import DeadLettersDocument, ReplayedDocument, SinksDocument
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
from poller.store.dead_letters import Selection, UnknownEvent

router = APIRouter(dependencies=[KNOWN_PARAMETERS])


@router.get(
    "/v1/sinks",
    tags=["sinks"],
    response_model=SinksDocument,
    summary="Show the state of each sink",
    responses={200: {"description": "All sinks, by name."}, **problems()},
)
async def list_sinks(control: InControl) -> Response:
    """Show configured sinks, and those for which events still wait."""
    closed = control.daemon.closed_sinks
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
    control: InControl, query: Annotated[DeadLetterQuery, Query()]
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
    after, _, after_sink = (query.cursor or "0.").partition(".")
    found = await control.store.dead_letters(
        selection,
        limit=query.limit + 1,
        after=int(after),
        after_sink=after_sink or None,
    )
    letters = found[: query.limit]
    last = letters[-1] if len(found) > query.limit else None
    cursor = None if last is None else f"{last.position}.{last.sink}"
    return DocumentResponse(
        {"deadLetters": [show_dead_letter(letter) for letter in letters], "next": cursor}
    )


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
    control: InControl,
    event_id: EventId,
    body: Annotated[Replay | None, Depends(JsonBody(Replay, required=False))],
) -> Response:
    """Send it to the named sinks, or to all sinks for which it was recorded.

    Each of them has another three days to take it. The event keeps its id and may arrive late.
    """
    sinks = None if body is None else body.sinks
    await _check_sinks(control, sinks or ())
    try:
        sent = await control.daemon.replay(event_id, sinks)
    except UnknownEvent as error:
        raise Problem(UNKNOWN_EVENT, str(error)[:500]) from None
    return DocumentResponse({"event": event_id, "sinks": sent}, 202)


async def _check_sinks(control: Control, sinks: Collection[str]) -> None:
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
            hint=f"there are: {', '.join(sorted(known))}",
        )
