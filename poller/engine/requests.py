"""What a look asks of the API, and what its outcome means for what is watched: a table."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

from poller.comms.client import LARGEST_PAGE, CommsClient
from poller.comms.errors import CommsError, NetworkError, Unavailable
from poller.comms.models import ErrorPage, Message, MessagePage
from poller.engine.meter import Request
from poller.engine.translate import answer_of
from poller.tracking import breakdown
from poller.tracking.answer import (
    Answer,
    BreakdownAnswer,
    FoundAnswer,
    NonsenseAnswer,
    NotFoundAnswer,
    ReceiptsAnswer,
    RejectedAnswer,
    ScheduleAnswer,
)
from poller.tracking.explaining import progress_of
from poller.tracking.watch import NextRequest, Watch

__all__ = ["Reading", "ask_about", "refusal_of", "request_of"]

_SCHEDULES_READ: Final = 100

Reading = Callable[..., Answer]
"""Makes the answer of what came; takes `begun_at` and `arrived_at` of the request."""


def ask_about(watch: Watch) -> Callable[[CommsClient], Awaitable[Reading]]:
    """Return the one request that the next look at `watch` consists of."""
    return partial(_QUESTIONS[watch.next_request], watch)


def request_of(watch: Watch) -> Request:
    """Name that request for the meter."""
    is_itself = watch.next_request in {NextRequest.OPERATION, NextRequest.MESSAGE}
    return Request.FETCH if is_itself else Request.DETAIL


def refusal_of(
    watch: Watch, error: CommsError, *, begun_at: datetime, arrived_at: datetime
) -> Answer | None:
    """Say what a failed request means for `watch`; None where it means nothing.

    Only a fetch of the thing itself can tell that there is no such thing. What else is refused
    for good is done without. A schedule is done without at any failure but of the line or of all
    the API: nobody asks for the operation until then.
    """
    answer = answer_of(error, begun_at=begun_at, arrived_at=arrived_at)
    is_refused = isinstance(answer, NotFoundAnswer | RejectedAnswer)
    match watch.next_request:
        case NextRequest.SCHEDULE if answer and not isinstance(error, NetworkError | Unavailable):
            return ScheduleAnswer(begun_at=begun_at, arrived_at=arrived_at)
        case NextRequest.RECEIPTS if is_refused:
            # an answer, which shows no end: what is too old must not be watched for ever
            return NonsenseAnswer(begun_at=begun_at, arrived_at=arrived_at, why=error.happened)
        case NextRequest.BREAKDOWN if is_refused and (asked := _request(watch)) is not None:
            return BreakdownAnswer(
                request=asked, found=None, begun_at=begun_at, arrived_at=arrived_at
            )
        case _:
            return answer


async def _operation(watch: Watch, client: CommsClient) -> Reading:
    return partial(FoundAnswer, found=await client.fetch_operation(watch.kind_spec, watch.id))


async def _schedule(watch: Watch, client: CommsClient) -> Reading:
    # schedules are per recipient: a page costs no more requests than one message
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
    match asked := _request(watch):
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
    return partial(BreakdownAnswer, request=asked, found=found)


def _request(watch: Watch) -> breakdown.Request | None:
    return breakdown.request(progress_of(watch))


_QUESTIONS: Final[Mapping[NextRequest, Callable[[Watch, CommsClient], Awaitable[Reading]]]] = {
    NextRequest.OPERATION: _operation,
    NextRequest.SCHEDULE: _schedule,
    NextRequest.MESSAGE: _message,
    NextRequest.RECEIPTS: _receipts,
    NextRequest.BREAKDOWN: _breakdown,
}
