"""Which request a poll makes, and what its outcome means for the watch: a table."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from poller.comms.caller import ApiCaller, Request
from poller.comms.client import LARGEST_PAGE, CommsClient
from poller.comms.credentials import AnyCredentials
from poller.comms.errors import (
    CommsError,
    DeadlineExceeded,
    NetworkError,
    NonsensicalAnswer,
    NotFound,
    Rejected,
    Throttled,
    Unavailable,
)
from poller.comms.gate import RequestEnd
from poller.comms.models import ErrorPage, Message, MessagePage
from poller.comms.throttle import Change, Throttle
from poller.engine.log_events import log_pause_change
from poller.engine.meter import NO_METER, Meter
from poller.engine.supervision import attempt
from poller.store.store import Store
from poller.tracking.answer import (
    Answer,
    BreakdownAnswer,
    FailedAnswer,
    FoundAnswer,
    NonsenseAnswer,
    NotFoundAnswer,
    ReceiptsAnswer,
    RejectedAnswer,
    ScheduleAnswer,
)
from poller.tracking.breakdown import steps as breakdown
from poller.tracking.breakdown.reading import progress_of
from poller.tracking.watch import NextRequest, Watch

_SCHEDULES_READ: Final = 100

Reading = Callable[..., Answer]
"""Makes the answer; its arguments are `begun_at` and `arrived_at` of the request."""


def make_caller(
    *,
    client: CommsClient,
    throttle: Throttle,
    store: Store,
    credentials: Callable[[], AnyCredentials],
    refused: Callable[[CommsError], None],
    now: Callable[[], datetime],
    meter: Meter = NO_METER,
) -> ApiCaller:
    """Make the caller of a daemon: the meter counts its requests, the store keeps its pauses."""

    async def change_pause(outcome: RequestEnd) -> None:
        version = throttle.version
        throttle.adopt(await store.shared.change_pause(store.owner, outcome), version)

    async def keep(change: Change, *, kind: str, error: CommsError | None) -> None:
        log_pause_change(change, kind=kind, error=error)
        if change.outcome is not None:
            await attempt(partial(change_pause, change.outcome), name="poll")

    return ApiCaller(
        client=client,
        throttle=throttle,
        credentials=credentials,
        now=now,
        observer=meter,
        keep_pauses=keep,
        refused=refused,
    )


def call_for(watch: Watch) -> Callable[[CommsClient], Awaitable[Reading]]:
    """Return the call of the client that makes the next poll of `watch`."""
    return partial(_CALLS[watch.next_request], watch)


def request_of(watch: Watch) -> Request:
    """Name that request for the meter."""
    is_itself = watch.next_request in {NextRequest.OPERATION, NextRequest.MESSAGE}
    return Request.FETCH if is_itself else Request.DETAIL


def answer_of(error: CommsError, *, begun_at: datetime, arrived_at: datetime) -> Answer | None:
    """Return the answer that a failed request counts as; None where it counts for nothing.

    After 401, 403 and 429 the request was not processed, and is sent again when the pause is over.
    404 and 400 count only in the vendor's own envelope: a gateway's page says nothing about the
    operation.
    """
    if error.scope.is_refusal or isinstance(error, Throttled):
        return None
    match error:
        case NotFound(enveloped=True):
            return NotFoundAnswer(begun_at=begun_at, arrived_at=arrived_at)
        case Rejected(enveloped=True):
            return RejectedAnswer(begun_at=begun_at, arrived_at=arrived_at)
        case NonsensicalAnswer():
            return NonsenseAnswer(begun_at=begun_at, arrived_at=arrived_at, why=error.happened)
        case Unavailable() | NetworkError() | DeadlineExceeded():
            return FailedAnswer(begun_at=begun_at, arrived_at=arrived_at)
        case _:
            return FailedAnswer(begun_at=begun_at, arrived_at=arrived_at, answered=True)


def refusal_of(
    watch: Watch, error: CommsError, *, begun_at: datetime, arrived_at: datetime
) -> Answer | None:
    """Return the answer to the next request of `watch` that failed; None where it is sent again.

    Only a fetch of the operation or message itself can show that it does not exist. Other requests
    that are refused for good are skipped. A schedule is skipped at any failure except an outage,
    since the operation is not fetched before its schedule.
    """
    answer = answer_of(error, begun_at=begun_at, arrived_at=arrived_at)
    is_refused = isinstance(answer, NotFoundAnswer | RejectedAnswer)
    match watch.next_request:
        case NextRequest.SCHEDULE if answer and not isinstance(error, NetworkError | Unavailable):
            return ScheduleAnswer(begun_at=begun_at, arrived_at=arrived_at)
        case NextRequest.RECEIPTS if is_refused:
            # counts as an answer without an end, so that a watch that is too old expires
            return NonsenseAnswer(begun_at=begun_at, arrived_at=arrived_at, why=error.happened)
        case NextRequest.BREAKDOWN if is_refused and (request := _request(watch)) is not None:
            return BreakdownAnswer(
                request=request, found=None, begun_at=begun_at, arrived_at=arrived_at
            )
        case _:
            return answer


async def _operation(watch: Watch, client: CommsClient) -> Reading:
    return partial(FoundAnswer, found=await client.fetch_operation(watch.kind_spec, watch.id))


async def _schedule(watch: Watch, client: CommsClient) -> Reading:
    # schedules are per recipient: one page of them costs a single request, as one message would
    page = await client.list_messages(
        watch.kind_spec, operation_id=watch.id, page_size=_SCHEDULES_READ
    )
    return partial(ScheduleAnswer, messages=page.messages)


async def _message(watch: Watch, client: CommsClient) -> Reading:
    return partial(FoundAnswer, found=await client.fetch_message(watch.id))


async def _receipts(watch: Watch, client: CommsClient) -> Reading:
    page = await client.list_receipts(watch.id)
    if page.next_token is not None:
        return partial(NonsenseAnswer, why=f"a group of more than {LARGEST_PAGE} recipients")
    if page.problems:
        return partial(NonsenseAnswer, why=page.problems[0])
    return partial(ReceiptsAnswer, statuses=page.statuses)


async def _breakdown(watch: Watch, client: CommsClient) -> Reading:
    found: ErrorPage | MessagePage | Message
    match request := _request(watch):
        case breakdown.ReadErrors(token=token):
            found = await client.list_errors(watch.kind_spec, watch.id, page_token=token)
        case breakdown.ReadMessages(status=status, token=token):
            found = await client.list_messages(
                watch.kind_spec, operation_id=watch.id, status=status, page_token=token
            )
        case breakdown.ReadMessage(message_id=message_id):
            found = await client.fetch_message(message_id)
        case None:
            raise ValueError(f"nothing is left to be read of {watch.id}")
    return partial(BreakdownAnswer, request=request, found=found)


def _request(watch: Watch) -> breakdown.Request | None:
    return breakdown.request(progress_of(watch))


_CALLS: Final[Mapping[NextRequest, Callable[[Watch, CommsClient], Awaitable[Reading]]]] = {
    NextRequest.OPERATION: _operation,
    NextRequest.SCHEDULE: _schedule,
    NextRequest.MESSAGE: _message,
    NextRequest.RECEIPTS: _receipts,
    NextRequest.BREAKDOWN: _breakdown,
}
