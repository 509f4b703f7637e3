"""Sinks and what they did not take."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from poller.server.control import Control, reply
from poller.server.described import answer, problems
from poller.server.documents import DeadLettersDocument, SinksDocument
from poller.server.events import check_sinks
from poller.server.invalid import KNOWN_PARAMETERS, invalid
from poller.server.params import DeadLetterQuery
from poller.server.problems import INVALID, UNKNOWN_SINK
from poller.server.views import show_dead_letter, show_sink
from poller.store.dead_letters import Selection

__all__ = ["sink_routes"]


def sink_routes(control: Control) -> APIRouter:
    """Make the routes of sinks and dead letters."""
    router = APIRouter(tags=["sinks"], dependencies=[KNOWN_PARAMETERS])

    @router.get(
        "/v1/sinks",
        response_model=SinksDocument,
        summary="Show how each sink is",
        responses={**answer(200, "All sinks, by name.", "sinks"), **problems()},
    )
    async def list_sinks() -> Response:
        closed = control.daemon.closed_sinks
        reports = await control.store.sinks()
        return reply({"sinks": [show_sink(report, closed=closed) for report in reports]})

    @router.get(
        "/v1/dead-letters",
        response_model=DeadLettersDocument,
        summary="List what could not be delivered",
        responses={
            **answer(200, "A page, in commit order.", "deadLetters"),
            **problems(UNKNOWN_SINK, INVALID),
        },
    )
    async def list_dead_letters(query: Annotated[DeadLetterQuery, Query()]) -> Response:
        if query.sink is not None:
            await check_sinks(control, [query.sink])
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
        return reply(
            {"deadLetters": [show_dead_letter(letter) for letter in letters], "next": cursor}
        )

    return router
