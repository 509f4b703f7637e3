"""The routes of operations and messages: register, list, show, stop watching."""

from collections.abc import Sequence
from typing import Annotated, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Response

from poller.comms.ids import InvalidId, check_watchable_id
from poller.server.bodies import BulkRegistration, JsonBody, RegistrationBody
from poller.server.control import Control, DocumentResponse, InControl
from poller.server.documents import (
    BulkItemDocument,
    BulkResultDocument,
    OperationDocument,
    OperationsDocument,
    OperationStoryDocument,
    SummaryDocument,
    TotalsDocument,
)
from poller.server.openapi import problems
from poller.server.problems import (
    CONFLICT,
    INVALID,
    NOT_JSON,
    SLOW_BODY,
    STORE,
    TOO_LARGE,
    UNKNOWN_OPERATION,
    UNREADABLE,
    Problem,
    invalid,
)
from poller.server.queries import (
    KNOWN_PARAMETERS,
    ChosenQuery,
    DetailQuery,
    OperationQuery,
    TotalsQuery,
    labels_of,
)
from poller.server.views import (
    show_detail,
    show_operation,
    show_registered,
    show_summary,
    show_totals,
)
from poller.store.registrations import Registered
from poller.store.reports import OperationFilter
from poller.tracking.lifecycle import LIFECYCLES
from poller.tracking.registration import BadRegistration, Registration, parse_registration
from poller.tracking.watch import SortOrder

router = APIRouter(tags=["operations"], dependencies=[KNOWN_PARAMETERS])

_LONGEST_ID_SHOWN: Final = 500
_STATUSES: Final = frozenset(status for one in LIFECYCLES.values() for status in one.events)


def _one_or_many(document: object) -> object:
    """Check the envelope of many registrations; a single one is checked by its parser.

    :raises Problem: where it is neither.
    :raises ValidationError: where the list of registrations is wrong.
    """
    if isinstance(document, list):
        raise invalid("operations", 'to register many write {"operations": […]}, not a bare list')
    if not isinstance(document, dict) or "operations" not in document:
        return document
    if len(document) > 1:
        raise invalid(
            "operations", "must be the only member: each item has its own kind and labels"
        )
    return BulkRegistration.model_validate(document)


@router.post(
    "/v1/operations",
    status_code=201,
    response_model=OperationDocument,
    summary="Register an operation or a message, or many",
    responses={
        201: {"description": "Watched from now on; durable."},
        200: {
            "description": "Already known; or, for many, one result for each.",
            "model": OperationDocument | BulkResultDocument,
        },
        **problems(UNREADABLE, SLOW_BODY, CONFLICT, TOO_LARGE, NOT_JSON, INVALID),
    },
)
async def register(
    control: InControl,
    document: Annotated[
        object, Depends(JsonBody(RegistrationBody, BulkRegistration, check=_one_or_many))
    ],
) -> Response:
    """Watch it until its end. A repeated registration adds its labels."""
    if isinstance(document, BulkRegistration):
        return DocumentResponse(await _register_many(control, document.operations))
    return await _register_one(control, document)


@router.get(
    "/v1/operations",
    response_model=OperationsDocument,
    summary="List operations and messages",
    responses={
        200: {"description": "A page, the latest registration first."},
        **problems(INVALID),
    },
)
async def list_operations(
    control: InControl, query: Annotated[OperationQuery, Query()]
) -> Response:
    """Of several values of one parameter any may match; `next` is the cursor of the next page."""
    wanted = await _filter(control, query)
    try:
        page = await control.store.list_operations(
            wanted, limit=query.limit, before=query.cursor, order=SortOrder(query.sort)
        )
    except ValueError as error:
        raise invalid("cursor", f"{error}; send it with the sort of its page") from None
    shown = [show_operation(watch) for watch in page.watches]
    return DocumentResponse({"operations": shown, "next": page.next_before})


@router.get(
    "/v1/summary",
    response_model=SummaryDocument,
    summary="Count operations and messages",
    responses={
        200: {"description": "How many are running, and how the others ended."},
        **problems(),
    },
)
async def count(control: InControl) -> Response:
    """Count operations and messages, watched or ended. The counts may be a few seconds old."""
    counts = await control.end_counts.get()
    if counts is None:
        raise Problem(STORE, "the store has not answered yet", hint="try again in a moment")
    return DocumentResponse(show_summary(counts))


@router.get(
    "/v1/totals",
    response_model=TotalsDocument,
    summary="Sum up operations and messages by group or label",
    responses={
        200: {"description": "The sums of each value, the most failed recipients first."},
        **problems(INVALID),
    },
)
async def sum_up(control: InControl, query: Annotated[TotalsQuery, Query()]) -> Response:
    """Sum up what `GET /v1/operations` lists with the same filters. Reads all of it."""
    wanted = await _filter(control, query)
    kind, _, label = query.by.partition(":")
    counts = control.store.counts
    listing = await (
        counts.by_label(wanted, label, limit=query.limit)
        if kind == "label"
        else counts.by_group(wanted, limit=query.limit)
    )
    return DocumentResponse(show_totals(listing))


@router.get(
    "/v1/operations/{operation_id}",
    response_model=OperationStoryDocument,
    summary="Show an operation or a message, its events and their deliveries",
    responses={
        200: {"description": "The operation or message with its timeline."},
        **problems(INVALID, UNKNOWN_OPERATION),
    },
)
async def show(
    control: InControl, operation_id: str, query: Annotated[DetailQuery, Query()]
) -> Response:
    """Show the latest answer of the API, the events and the state of their deliveries."""
    _check_id(operation_id)
    detail = await control.store.find_operation(operation_id, latest=query.events)
    if detail is None:
        raise _unknown(operation_id)
    return DocumentResponse(show_detail(detail))


@router.delete(
    "/v1/operations/{operation_id}",
    status_code=204,
    response_class=Response,
    summary="Stop watching an operation or a message",
    responses={204: {"description": "No longer watched."}, **problems(INVALID, UNKNOWN_OPERATION)},
)
async def forget(control: InControl, operation_id: str) -> Response:
    """Events that are already recorded are still delivered. Repeating it is not an error."""
    _check_id(operation_id)
    if await control.daemon.forget(operation_id) is None:
        raise _unknown(operation_id)
    return Response(status_code=204)


async def _filter(control: Control, query: ChosenQuery) -> OperationFilter:
    return OperationFilter(
        statuses=await _statuses(control, query.status),
        ids=query.id,
        kinds=query.kind,
        phases=query.phase,
        outcomes=query.outcome,
        has_failures=query.with_failures,
        labels=labels_of(query.label),
        group=query.group,
        search=query.search,
    )


async def _statuses(control: Control, requested: Sequence[str]) -> list[str]:
    """Return documented statuses in upper case, others in the spelling of a known operation.

    The vendor may add statuses, and people mistype them.

    :raises Problem: naming one that is neither documented nor seen.
    """
    others = {
        one for status in requested if status.upper() not in _STATUSES for one in _cases(status)
    }
    seen = await control.store.seen_statuses(others) if others else frozenset()
    found = []
    for status in requested:
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
    registration = _parsed(document)
    if isinstance(registration, Problem):
        raise registration
    (registered,) = await control.daemon.register([registration])
    if registered.watch is None:
        raise Problem(CONFLICT, registered.conflict or "")
    return DocumentResponse(show_operation(registered.watch), 201 if registered.is_new else 200)


async def _register_many(control: Control, items: Sequence[object]) -> BulkResultDocument:
    """Register all valid items in one transaction; one result for each item."""
    # in a thread: thousands of items would stop the event loop for too long
    parsed = await run_sync(lambda: [_parsed(item) for item in items])
    registrations = [one for one in parsed if isinstance(one, Registration)]
    registered = iter(await control.daemon.register(registrations) if registrations else [])
    return {
        "results": [
            _refused_item(item, one) if isinstance(one, Problem) else _item(next(registered))
            for item, one in zip(items, parsed, strict=True)
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


def _refused_item(item: object, problem: Problem) -> BulkItemDocument:
    given = item.get("id") if isinstance(item, dict) else None
    return {
        "id": given[:_LONGEST_ID_SHOWN] if isinstance(given, str) else None,
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
        hint="register it with POST /v1/operations; ended operations are kept for "
        "store.retention and 14 more days",
    )
