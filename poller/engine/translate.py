"""From the outcome of a request to what tracking, or a delivery, is told. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from poller.comms.errors import (
    CommsError,
    DeadlineExceeded,
    Forbidden,
    NetworkError,
    NonsensicalAnswer,
    NotFound,
    Rejected,
    Throttled,
    Unauthorized,
    Unavailable,
)
from poller.sinks.base import SinkOutcome, SinkVerdict
from poller.tracking import answer as answers
from poller.tracking.delivery import AttemptResult, DeliveryAttempt

__all__ = ["answer_of", "attempt_of"]

_RESULTS: Final[Mapping[SinkVerdict, AttemptResult]] = {
    SinkVerdict.DELIVERED: AttemptResult.DELIVERED,
    SinkVerdict.FAILED: AttemptResult.FAILED,
    SinkVerdict.REFUSED: AttemptResult.REFUSED,
    SinkVerdict.GONE: AttemptResult.GONE,
    SinkVerdict.CLOSED: AttemptResult.FAILED,
}


def answer_of(
    error: CommsError, *, begun_at: datetime, arrived_at: datetime
) -> answers.Answer | None:
    """Say what a failed request means for what was asked about; None where it means nothing.

    401 and 403 speak of the credentials, 429 of all that the account does: the request was never
    processed, and is sent again when the pause is over. 404 and 400 count only in the vendor's own
    envelope: a gateway's page says nothing about it.
    """
    match error:
        case Unauthorized() | Forbidden() | Throttled():
            return None
        case NotFound(enveloped=True):
            return answers.NotFoundAnswer(begun_at=begun_at, arrived_at=arrived_at)
        case Rejected(enveloped=True):
            return answers.RejectedAnswer(begun_at=begun_at, arrived_at=arrived_at)
        case NonsensicalAnswer():
            return answers.NonsenseAnswer(
                begun_at=begun_at, arrived_at=arrived_at, why=error.happened
            )
        case Unavailable() | NetworkError() | DeadlineExceeded():
            return answers.FailedAnswer(begun_at=begun_at, arrived_at=arrived_at)
        case _:
            return answers.FailedAnswer(begun_at=begun_at, arrived_at=arrived_at, answered=True)


def attempt_of(outcome: SinkOutcome, *, begun_at: datetime) -> DeliveryAttempt:
    """Say what a sink's outcome means for the delivery."""
    return DeliveryAttempt(
        result=_RESULTS[outcome.verdict],
        begun_at=begun_at,
        status=outcome.status,
        error=outcome.error,
        retry_after=outcome.retry_after,
    )
