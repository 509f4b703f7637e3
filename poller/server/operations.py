"""What is watched, operations and messages: register, list, show, forget."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response

from poller.comms.ids import InvalidId, check_watchable_id
from poller.server.control import Control, reply
from poller.server.described import answer, body, problems
from poller.server.documents import (
    BULK,
    REGISTRATION,
    BulkItemDocument,
    BulkResultDocument,
    OperationDocument,
    OperationsDocument,
    OperationStoryDocument,
)
from poller.server.invalid import KNOWN_PARAMETERS, invalid
from poller.server.limits import MOST_IN_BULK, read_json
from poller.server.params import OperationQuery, StoryQuery, labels_of
from poller.server.problems import (
    CONFLICT,
    INVALID,
    NOT_JSON,
    SLOW_BODY,
    TOO_LARGE,
    UNKNOWN_OPERATION,
    UNREADABLE,
    Problem,
)
from poller.server.views import show_operation, show_registered, show_story
from poller.store.reports import OperationFilter
from poller.store.watches import Registered
from poller.tracking.lifecycle import LIFECYCLES
from poller.tracking.registration import BadRegistration, Registration, parse_registration

__all__ = ["operation_routes"]

_PATH: Final = "/v1/operations"
_ONE: Final = f"{_PATH}/{{operation_id}}"
_SHOWN: Final = 500
_STATUSES: Final = frozenset(status for one in LIFECYCLES.values() for status in one.events)


def operation_routes(control: Control) -> APIRouter:
    """Make the routes of operations."""
    router = APIRouter(tags=["operations"], dependencies=[KNOWN_PARAMETERS])

    @router.post(
        _PATH,
        status_code=201,
        response_model=OperationDocument,
        summary="Register an operation or a message, or many",
        openapi_extra=body(
            {"oneOf": [REGISTRATION, BULK]},
            "registration",
            "messageRegistration",
            "bulk",
        ),
        responses={
            **answer(201, "Watched from now on; durable.", "operation", "message"),
            **answer(
                200,
                "Known already; or, for many, one result for each.",
                "operation",
                "bulkResult",
                model=OperationDocument | BulkResultDocument,
            ),
            **problems(UNREADABLE, SLOW_BODY, CONFLICT, TOO_LARGE, NOT_JSON, INVALID),
        },
    )
    async def register(request: Request) -> Response:
        document = await read_json(request, control.limits)
        if isinstance(document, list):
            raise invalid(
                "operations", 'to register many write {"operations": […]}, not a bare list'
            )
        if isinstance(document, dict) and "operations" in document:
            return reply(await _register_many(control, document))
        return await _register_one(control, document)

    @router.get(
        _PATH,
        response_model=OperationsDocument,
        summary="List operations and messages",
        responses={
            **answer(200, "A page, the latest registration first.", "operations"),
            **problems(INVALID),
        },
    )
    async def list_operations(query: Annotated[OperationQuery, Query()]) -> Response:
        wanted = OperationFilter(
            statuses=await _statuses(control, query.status),
            kinds=query.kind,
            phases=query.phase,
            outcomes=query.outcome,
            labels=labels_of(query.label),
        )
        page = await control.store.list_operations(wanted, limit=query.limit, before=query.cursor)
        shown = [show_operation(watch) for watch in page.watches]
        return reply({"operations": shown, "next": page.next_before})

    @router.get(
        _ONE,
        response_model=OperationStoryDocument,
        summary="Show an operation or a message, its events and where they are",
        responses={
            **answer(200, "It with its time line.", "story", "messageStory"),
            **problems(INVALID, UNKNOWN_OPERATION),
        },
    )
    async def show(operation_id: str, query: Annotated[StoryQuery, Query()]) -> Response:
        _check_id(operation_id)
        story = await control.store.find_operation(operation_id, latest=query.events)
        if story is None:
            raise _unknown(operation_id)
        return reply(show_story(story))

    @router.delete(
        _ONE,
        status_code=204,
        response_class=Response,
        summary="Stop watching an operation or a message",
        description="What was recorded still goes out. Repeating it is no error.",
        responses={**answer(204, "No longer watched."), **problems(INVALID, UNKNOWN_OPERATION)},
    )
    async def forget(operation_id: str) -> Response:
        _check_id(operation_id)
        if await control.daemon.forget(operation_id) is None:
            raise _unknown(operation_id)
        return Response(status_code=204)

    return router


async def _statuses(control: Control, asked: Sequence[str]) -> list[str]:
    """Return documented statuses in upper case, others as something that is known has them.

    :raises Problem: naming one that is neither: the vendor may add values, people mistype them.
    """
    others = {one for status in asked if status.upper() not in _STATUSES for one in _cases(status)}
    seen = await control.store.seen_statuses(others) if others else frozenset()
    found = []
    for status in asked:
        known = seen & _cases(status) or {status.upper()} & _STATUSES
        if not known:
            raise invalid(
                "status",
                f"nothing has the status {status!r}; documented are {', '.join(sorted(_STATUSES))}",
            )
        found += sorted(known)
    return found


def _cases(status: str) -> set[str]:
    return {status, status.upper()}


async def _register_one(control: Control, document: object) -> Response:
    wish = _parsed(document)
    if isinstance(wish, Problem):
        raise wish
    (registered,) = await control.daemon.register([wish])
    if registered.watch is None:
        raise Problem(CONFLICT, registered.conflict or "")
    return reply(show_operation(registered.watch), 201 if registered.is_new else 200)


async def _register_many(control: Control, document: dict[str, Any]) -> BulkResultDocument:
    """Register all that can be, in one transaction; one result for each item."""
    items = document["operations"]
    if len(document) > 1:
        raise invalid("operations", "stands alone: each item has its own kind and labels")
    if not isinstance(items, list) or len(items) > MOST_IN_BULK:
        raise invalid("operations", f"must be a list of up to {MOST_IN_BULK} registrations")
    # off the loop: thousands of them take a while
    parsed = await run_sync(lambda: [_parsed(item) for item in items])
    wishes = [wish for wish in parsed if isinstance(wish, Registration)]
    registered = iter(await control.daemon.register(wishes) if wishes else [])
    return {
        "results": [
            _problem_item(item, wish) if isinstance(wish, Problem) else _item(next(registered))
            for item, wish in zip(items, parsed, strict=True)
        ]
    }


def _parsed(document: object) -> Registration | Problem:
    try:
        return parse_registration(document)
    except BadRegistration as error:
        return invalid(error.field, error.fault)


def _item(registered: Registered) -> BulkItemDocument:
    if registered.watch is not None:
        return show_registered(registered, registered.watch)
    problem = Problem(CONFLICT, registered.conflict or "")
    return {"id": registered.id, "status": problem.kind.status, "problem": problem.document}


def _problem_item(item: object, problem: Problem) -> BulkItemDocument:
    given = item.get("id") if isinstance(item, dict) else None
    return {
        "id": given[:_SHOWN] if isinstance(given, str) else None,
        "status": problem.kind.status,
        "problem": problem.document,
    }


def _check_id(operation_id: str) -> None:
    try:
        check_watchable_id(operation_id)
    except InvalidId as error:
        raise Problem(UNKNOWN_OPERATION, str(error)) from None


def _unknown(operation_id: str) -> Problem:
    return Problem(
        UNKNOWN_OPERATION,
        f"{operation_id} is not known here",
        hint="register it with POST /v1/operations; what ended is remembered for "
        "store.retention and 14 days more",
    )
